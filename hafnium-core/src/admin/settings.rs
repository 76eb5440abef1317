//! The configuration of the operator listener.

use std::net::{IpAddr, Ipv4Addr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::component::StartError;
use crate::config::Section;
use crate::http::Bound;
use crate::secret::Secret;

/// The section `admin`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct AdminSettings {
    /// The address to listen on. Default `0.0.0.0`, so that a kubelet and a metrics scraper reach it.
    pub address: IpAddr,
    /// The port. Default `8080`; `0` takes a free one.
    pub port: u16,
    /// Lets callers of other hosts see `/config` and see and change `/loglevel`, with the header
    /// `Authorization: Bearer <token>`. Default none: only callers on the same host (`kubectl port-forward`,
    /// `kubectl exec`) may. An empty token lets nobody in.
    ///
    /// A caller counts as on the same host if it comes over loopback, asks for `localhost` or an address of loopback,
    /// and carries no header of a proxy or a mesh (`Forwarded`, `Via`, `X-Forwarded-*`, `X-Envoy-*`, `l5d-*` and such).
    pub token: Option<Secret>,
    /// Asks callers on the same host for the token too: for pods with a sidecar whose requests come over loopback and
    /// may carry none of the known headers. Default `false`. Without a token it lets nobody in.
    pub require_token: bool,
}

impl Default for AdminSettings {
    fn default() -> Self {
        Self {
            address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            port: 8080,
            token: None,
            require_token: false,
        }
    }
}

impl Section for AdminSettings {
    const KEY: &'static str = "admin";
    type Settings = Self;
}

impl AdminSettings {
    /// Claims the address of the operator listener.
    ///
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`StartError::Configuration`] that names `admin.port` and the address when it is in use or not ours.
    pub fn bind(&self) -> Result<Bound, StartError> {
        Bound::claim("admin", self.address, self.port)
    }
}
