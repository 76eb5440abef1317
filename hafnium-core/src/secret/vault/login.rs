//! How a token is had: one is given, or a role logs in.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::zeroize::Zeroize;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use super::answer::{Envelope, Failure};
use super::client::{Ask, Client};
use super::settings::{VaultError, VaultSettings};
use super::token::Grant;
use crate::deadline::Deadline;
use crate::secret::Secret;

/// What a service account's token may measure; real ones are below 4 KiB.
const JWT_LIMIT: u64 = 64 << 10;

/// The way of logging in that the settings say.
pub(super) enum Login {
    /// A token that is given to us.
    Given(Secret),
    /// AppRole.
    Role {
        mount: String,
        role_id: String,
        secret_id: Option<Secret>,
    },
    /// The pod's service account.
    Pod {
        mount: String,
        role: String,
        jwt_path: PathBuf,
    },
}

impl Login {
    pub(super) fn new(settings: &VaultSettings) -> Result<Self, VaultError> {
        let mut ways = Vec::new();
        if let Some(token) = &settings.token {
            ways.push(("vault.token", Self::Given(token.clone())));
        }
        if let Some(role) = &settings.approle {
            let way = Self::Role {
                mount: mount("vault.approle.mount", &role.mount)?,
                role_id: role.role_id.clone(),
                secret_id: role.secret_id.clone(),
            };
            ways.push(("vault.approle", way));
        }
        if let Some(pod) = &settings.kubernetes {
            let way = Self::Pod {
                mount: mount("vault.kubernetes.mount", &pod.mount)?,
                role: pod.role.clone(),
                jwt_path: pod.jwt_path.clone(),
            };
            ways.push(("vault.kubernetes", way));
        }
        let (first, second) = (ways.pop(), ways.pop());
        match (first, second) {
            (Some((_, way)), None) => Ok(way),
            (Some((key, _)), Some((other, _))) => {
                let reason = format!("{other} is set as well: keep one of them");
                Err(VaultError::new(key, reason))
            }
            (None, _) => Err(VaultError::new(
                "vault",
                "one of vault.token, vault.approle and vault.kubernetes says how to log in",
            )),
        }
    }

    /// Whether a token other than `used` lies where one is given to us.
    pub(super) fn has_other(&self, used: &SecretString) -> bool {
        match self {
            Self::Given(token) => expose(token, |text| text.trim() != used.expose_secret()),
            Self::Role { .. } | Self::Pod { .. } => false,
        }
    }

    /// Whether the tokens are ours, to be revoked when we end.
    pub(super) fn owns(&self) -> bool {
        !matches!(self, Self::Given(_))
    }

    /// A token, and what is known of it.
    pub(super) async fn log_in(
        &self,
        client: &Client,
        deadline: Deadline,
    ) -> Result<(SecretString, Grant), Failure> {
        let ask = match self {
            Self::Given(token) if token.is_pending() => {
                return Err(Failure::Unavailable("it was not fetched yet".to_owned()));
            }
            Self::Given(token) => return look_up(client, token, deadline).await,
            Self::Role {
                mount,
                role_id,
                secret_id,
            } => {
                let mut body = json!({ "role_id": role_id });
                if let Some(secret_id) = secret_id {
                    if secret_id.is_pending() {
                        return Err(Failure::Unavailable(
                            "its secret id was not fetched yet".to_owned(),
                        ));
                    }
                    body["secret_id"] = expose(secret_id, |text| json!(text));
                }
                Ask::post(login_at(mount), body)
            }
            Self::Pod {
                mount,
                role,
                jwt_path,
            } => {
                let jwt = read_jwt(jwt_path).await?;
                Ask::post(
                    login_at(mount),
                    json!({ "role": role, "jwt": jwt.expose_secret() }),
                )
            }
        };
        granted(client.ask(ask, deadline).await?)
    }
}

fn mount(key: &'static str, text: &str) -> Result<String, VaultError> {
    let mount = text.trim_matches('/');
    match mount.split('/').any(|part| matches!(part, "" | "." | "..")) {
        true => Err(VaultError::new(
            key,
            "expected the name of a mount, such as approle",
        )),
        false => Ok(mount.to_owned()),
    }
}

fn login_at(mount: &str) -> impl Iterator<Item = &str> {
    std::iter::once("auth").chain(mount.split('/')).chain(["login"])
}

fn expose<T>(secret: &Secret, read: impl FnOnce(&str) -> T) -> T {
    read(secret.current().expose())
}

/// What is known of a token that is given. Without a policy that lets it look at itself nothing is, and it is used as
/// long as the server takes it.
async fn look_up(
    client: &Client,
    token: &Secret,
    deadline: Deadline,
) -> Result<(SecretString, Grant), Failure> {
    let token = expose(token, |text| SecretString::from(text.trim()));
    let ask = Ask::get(["auth", "token", "lookup-self"]).token(&token);
    let grant = match client.ask(ask, deadline).await {
        Ok(Envelope { data, .. }) => {
            let secs = |field| data.secs(field).unwrap_or_default();
            let period = secs("period");
            Grant {
                ttl: secs("ttl"),
                asked: if period.is_zero() {
                    secs("creation_ttl")
                } else {
                    period
                },
                renewable: data.flag("renewable"),
            }
        }
        Err(Failure::Denied) => {
            tracing::warn!("the policies of Vault's token don't let it look at itself: it can't be renewed");
            Grant {
                ttl: Duration::ZERO,
                asked: Duration::ZERO,
                renewable: false,
            }
        }
        Err(failure) => return Err(failure),
    };
    Ok((token, grant))
}

/// What a login or a renewal granted.
pub(super) fn granted(envelope: Envelope) -> Result<(SecretString, Grant), Failure> {
    let nothing = || Failure::Unavailable("its answer to a login holds no token".to_owned());
    let auth = envelope.auth.ok_or_else(nothing)?;
    let ttl = Duration::from_secs(auth.lease_duration);
    let grant = Grant {
        ttl,
        asked: ttl,
        renewable: auth.renewable,
    };
    Ok((auth.token().ok_or_else(nothing)?, grant))
}

/// Read at every login: the kubelet replaces the file long before the token in it ends.
async fn read_jwt(path: &Path) -> Result<SecretString, Failure> {
    use tokio::io::AsyncReadExt;
    let unreadable = |error: std::io::Error| {
        Failure::Unavailable(format!(
            "the service account's token in {} can't be read ({})",
            path.display(),
            error.kind()
        ))
    };
    let file = tokio::fs::File::open(path).await.map_err(unreadable)?;
    // Room for everything from the start: a buffer that grows leaves copies behind.
    let mut text = String::with_capacity(JWT_LIMIT as usize);
    file.take(JWT_LIMIT)
        .read_to_string(&mut text)
        .await
        .map_err(unreadable)?;
    let token = SecretString::from(text.trim());
    text.zeroize();
    Ok(token)
}

impl fmt::Display for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given(_) => f.write_str("the token that is given"),
            Self::Role { mount, .. } => write!(f, "the login at auth/{mount} (AppRole)"),
            Self::Pod { mount, role, .. } => write!(f, "the login at auth/{mount} as {role} (Kubernetes)"),
        }
    }
}
