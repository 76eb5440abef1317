//! How a name becomes addresses.

use std::io;
use std::net::SocketAddr;

use crate::component::BoxFuture;

/// Looks names up. The system's resolver is [`SystemResolver`]; another one is given with
/// [`Upstream::with_resolver`](super::Upstream::with_resolver).
///
/// An implementor may fail at any time: the last addresses stay in use. Lookups of one upstream never overlap, and each
/// is given up after 5 s.
pub trait Resolve: Send + Sync + 'static {
    /// All addresses of `host` at present, each with `port` unless the resolver knows a better one.
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>>;
}

/// The system's resolver (`getaddrinfo`, on tokio's blocking threads). It reads `/etc/hosts` and the search domains as
/// every other program here does, and does not tell how long its answer holds.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) })
    }
}
