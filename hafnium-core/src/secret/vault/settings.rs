//! The settings of Vault: section `vault`.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::{Alias, Duration, Section};
use crate::secret::Secret;
use crate::tls::client::ClientTls;

/// What is below `vault`. One of `token`, `approle` and `kubernetes` says how to log in.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct VaultSettings {
    /// Where the server is, such as `https://vault.example:8200`. Default: none, and then nothing is fetched from
    /// Vault.
    #[schemars(extend("x-url-schemes" = ["http", "https"]))]
    pub address: Option<String>,
    /// The namespace of every request (Vault Enterprise, HCP, OpenBao). Default: the root namespace.
    pub namespace: Option<String>,
    /// A token that is given to us, such as one that an agent keeps in a file (`file:/path`): it is renewed, and read
    /// anew when the file changes, but no other can be had.
    pub token: Option<Secret>,
    /// Log in as a role of AppRole.
    pub approle: Option<AppRole>,
    /// Log in with the token of the pod's service account.
    pub kubernetes: Option<Kubernetes>,
    /// A file with the certificates to trust instead of the system's roots, as PEM; read at the start. `tls.ca` is the
    /// same as a secret, and followed. Default: the system's roots.
    pub ca: Option<PathBuf>,
    /// TLS towards the server.
    pub tls: ClientTls,
    /// Under which names engines are mounted.
    pub mounts: Mounts,
    /// The longest one request may take, redirects and repetitions included; default 5 s.
    pub timeout: Duration,
}

impl Default for VaultSettings {
    fn default() -> Self {
        Self {
            address: None,
            namespace: None,
            token: None,
            approle: None,
            kubernetes: None,
            ca: None,
            tls: ClientTls::default(),
            mounts: Mounts::default(),
            timeout: Duration::from_secs(5),
        }
    }
}

/// A login with AppRole.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct AppRole {
    /// The id of the role.
    pub role_id: String,
    /// The secret id, read at every login; none for a role without `bind_secret_id`. An id of a limited number of
    /// uses ends with them: a service logs in again at least as often as its tokens reach their longest life.
    #[serde(default)]
    pub secret_id: Option<Secret>,
    /// The mount of the method; default `approle`.
    #[serde(default = "defaults::approle")]
    pub mount: String,
}

/// A login with the token of a service account.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Kubernetes {
    /// The role at Vault.
    pub role: String,
    /// The file with the projected token, read at every login because the kubelet renews it; default
    /// `/var/run/secrets/kubernetes.io/serviceaccount/token`.
    #[serde(default = "defaults::jwt_path")]
    pub jwt_path: PathBuf,
    /// The mount of the method; default `kubernetes`.
    #[serde(default = "defaults::kubernetes")]
    pub mount: String,
}

/// The names of mounts, where they are not the usual ones.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Mounts {
    /// Mounts of KV version 2 whose names hold a `/`, such as `teams/risk`. Of every other path the first part is the
    /// mount. Default: none.
    pub kv: Vec<String>,
    /// The mount of the database engine, for references that name none; default `database`.
    pub database: String,
}

impl Default for Mounts {
    fn default() -> Self {
        Self {
            kv: Vec::new(),
            database: "database".to_owned(),
        }
    }
}

mod defaults {
    use std::path::PathBuf;

    pub(super) fn approle() -> String {
        "approle".to_owned()
    }
    pub(super) fn kubernetes() -> String {
        "kubernetes".to_owned()
    }
    pub(super) fn jwt_path() -> PathBuf {
        "/var/run/secrets/kubernetes.io/serviceaccount/token".into()
    }
}

impl VaultSettings {
    /// The server at `address`, with every default and no login yet.
    pub fn new(address: impl Into<String>) -> Self {
        Self {
            address: Some(address.into()),
            ..Self::default()
        }
    }
}

impl AppRole {
    /// The role of that id, at the usual mount.
    pub fn new(role_id: impl Into<String>, secret_id: Option<Secret>) -> Self {
        Self {
            role_id: role_id.into(),
            secret_id,
            mount: defaults::approle(),
        }
    }
}

impl Kubernetes {
    /// The role of that name, at the usual mount, with the usual file.
    pub fn new(role: impl Into<String>) -> Self {
        Self {
            role: role.into(),
            jwt_path: defaults::jwt_path(),
            mount: defaults::kubernetes(),
        }
    }
}

/// The section `vault` of the configuration.
#[derive(Debug, Clone, Copy)]
pub struct VaultSection;

impl Section for VaultSection {
    const KEY: &'static str = "vault";
    type Settings = VaultSettings;

    fn aliases() -> &'static [Alias] {
        const fn alias(variable: &'static str, key: &'static str) -> Alias {
            Alias { variable, key }
        }
        const ALIASES: [Alias; 4] = [
            alias("VAULT_ADDR", "address"),
            alias("VAULT_TOKEN", "token"),
            alias("VAULT_NAMESPACE", "namespace"),
            alias("VAULT_CACERT", "ca"),
        ];
        &ALIASES
    }
}

/// Why the section can't be used. Names the key, never repeats a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {reason}")]
#[non_exhaustive]
pub struct VaultError {
    /// The key, such as `vault.address`.
    pub key: &'static str,
    /// What is wrong with it.
    pub reason: String,
}

impl VaultError {
    pub(super) fn new(key: &'static str, reason: impl Into<String>) -> Self {
        Self {
            key,
            reason: reason.into(),
        }
    }
}
