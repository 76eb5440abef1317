//! The application listener: HTTP/1.1 and h2c on one port, with limits and a drain that fails no request.
//!
//! ```no_run
//! # async fn example(cx: hafnium_core::Context, probes: hafnium_core::admin::Probes) -> Result<(), hafnium_core::StartError> {
//! use hafnium_core::http::{HttpSettings, envelope, mount_probes};
//!
//! let settings = HttpSettings::default();
//! let bound = settings.bind()?;                      // the port is ours, and still refuses connections
//! let router = axum::Router::new();
//! let router = envelope(router, &settings, &cx);
//! let router = mount_probes(router, &probes);
//! let server = settings.serve(bound, router, &cx)?;  // listening
//! # Ok(()) }
//! ```

mod accept;
mod activity;
mod answering;
mod answers;
mod bind;
mod body;
mod check;
mod compress;
mod connection;
mod envelope;
mod exchange;
mod forwarded;
mod gate;
mod loopback;
mod mount;
mod network;
mod reload;
mod request_id;
mod rules;
mod server;
mod settings;
mod tls_settings;
mod tracked;
mod watched;

pub(crate) use activity::Limits;
pub use answering::Answering;
pub use bind::Bound;
pub use envelope::{Envelope, EnvelopeLayer, envelope};
pub use forwarded::{Caller, ForwardedBy, Scheme};
pub use mount::mount_probes;
pub use network::{Network, NetworkError};
pub use request_id::{REQUEST_ID, RequestId};
pub use server::Server;
pub(crate) use server::Serving;
pub use settings::HttpSettings;
pub use tls_settings::{ClientCertificate, TlsSettings, TlsVersion};
