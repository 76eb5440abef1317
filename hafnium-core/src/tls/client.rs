//! TLS towards a server: trusted roots, a client certificate, and connections that follow their rotation.
//!
//! ```
//! # #[cfg(feature = "tls")] {
//! use hafnium_core::tls::client::{ClientTls, Connector, TlsClient};
//! use hyper_util::client::legacy::Client;
//! use hyper_util::rt::TokioExecutor;
//!
//! # fn example() -> Result<(), hafnium_core::tls::client::TlsError> {
//! let tls = TlsClient::new(&ClientTls::default())?; // the system's roots, no certificate of our own
//! let client = Client::builder(TokioExecutor::new()).build::<_, String>(Connector::tls(tls));
//! # drop(client); Ok(()) }
//! # }
//! ```

#[cfg(feature = "tls")]
mod config;
mod connection;
mod connector;
mod error;
#[cfg(feature = "tls")]
mod explain;
#[cfg(feature = "tls")]
mod material;
mod settings;

#[cfg(feature = "tls")]
pub use config::{TlsClient, TlsWatch};
pub use connection::Connection;
pub use connector::Connector;
pub use error::ConnectError;
#[cfg(feature = "tls")]
pub use error::TlsError;
#[cfg(feature = "tls")]
pub(crate) use explain::refusal;
pub use settings::ClientTls;
