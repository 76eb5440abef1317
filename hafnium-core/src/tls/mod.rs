//! TLS by rustls: towards servers ([`client`]), and on the application listener (section `http.tls`), where a handler
//! finds who the client proved to be: [`PeerIdentity`].
//!
//! Settings are always there, so that a configuration means the same with any features; what uses them needs the
//! feature `tls`.

pub mod client;
#[cfg(feature = "tls")]
mod identity;
#[cfg(feature = "tls")]
mod server;

#[cfg(feature = "tls")]
pub use identity::PeerIdentity;
#[cfg(feature = "tls")]
pub(crate) use server::Acceptor;
