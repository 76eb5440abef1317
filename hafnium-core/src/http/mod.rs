//! The application listener: HTTP/1.1 and h2c on one port, with limits and a drain that fails no request.
//!
//! ```no_run
//! # async fn example(cx: hafnium_core::Context, probes: hafnium_core::admin::Probes) -> Result<(), hafnium_core::StartError> {
//! use hafnium_core::http::{HttpSettings, envelope, mount_probes};
//!
//! let settings = HttpSettings::default();
//! let bound = settings.bind()?;                      // the port is ours, and still refuses connections
//! let router = axum::Router::new();
//! let router = envelope(router, &settings, cx.metrics());
//! let router = mount_probes(router, &probes);
//! let server = settings.serve(bound, router, &cx)?;  // listening
//! # Ok(()) }
//! ```

mod activity;
mod bind;
mod connection;
mod envelope;
mod loopback;
mod mount;
mod request_id;
mod server;
mod settings;

pub(crate) use activity::Limits;
pub use bind::Bound;
pub use envelope::envelope;
pub use mount::mount_probes;
pub use request_id::{REQUEST_ID, RequestId};
pub use server::Server;
pub use settings::HttpSettings;
