//! How Patroni's REST API is reached.

use hafnium_core::secret::Secret;
use hafnium_core::tls::client::ClientTls;
use schemars::JsonSchema;
use serde::Deserialize;

/// What is below `patroni` of a database. Without `urls` it is not asked.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct PatroniSettings {
    /// The REST API of one or more members, such as `["https://pg-0.pg:8008", "https://pg-1.pg:8008"]`; default none. One
    /// that answers is asked for `/cluster` once a second, the next one when it fails. What it says is a hint: which node
    /// to ask more often, and which members `url` lacks.
    pub urls: Vec<String>,
    /// The user for basic authentication, where a proxy before it demands one; default none.
    pub user: Option<String>,
    /// The password of `user`.
    pub password: Option<Secret>,
    /// Trusted authorities, and our certificate. Needs the feature `tls`.
    pub tls: ClientTls,
}
