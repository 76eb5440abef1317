//! Declares and makes the upstreams of a service.

use std::sync::Arc;

use hafnium_core::config::Config;
use hafnium_core::upstream::{Resolve, SystemResolver, Upstream, UpstreamSettings};
use hafnium_core::{BoxFuture, Context};

use crate::ending::Ending;

/// A declared upstream.
#[derive(Clone)]
#[must_use]
pub struct UpstreamDeclaration {
    name: String,
    resolver: Shared,
}

/// One resolver for each time that the service is assembled.
#[derive(Clone)]
struct Shared(Arc<dyn Resolve>);

impl Resolve for Shared {
    fn resolve<'a>(
        &'a self,
        host: &'a str,
        port: u16,
    ) -> BoxFuture<'a, std::io::Result<Vec<std::net::SocketAddr>>> {
        self.0.resolve(host, port)
    }
}

impl UpstreamDeclaration {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            resolver: Shared(Arc::new(SystemResolver)),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Looks the host up with `resolver` instead of the system's.
    pub fn resolver(mut self, resolver: impl Resolve) -> Self {
        self.resolver = Shared(Arc::new(resolver));
        self
    }
}

/// Makes the client of every declared upstream.
pub(crate) fn assemble(
    declared: &[UpstreamDeclaration],
    config: &Config,
    cx: &Context,
) -> Result<Vec<(String, Upstream)>, Ending> {
    let make = |declaration: &UpstreamDeclaration| {
        let name = declaration.name.as_str();
        let settings = config.named::<UpstreamSettings>(name)?;
        let client = Upstream::with_resolver(name, &settings, cx, declaration.resolver.clone())
            .map_err(|error| Ending::new(hafnium_core::exit::Exit::Configuration, error))?;
        Ok((name.to_owned(), client))
    };
    declared.iter().map(make).collect()
}
