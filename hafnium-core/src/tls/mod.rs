//! TLS by rustls: towards servers ([`client`]).
//!
//! Settings are always there, so that a configuration means the same with any features; what uses them needs the
//! feature `tls`.

pub mod client;
