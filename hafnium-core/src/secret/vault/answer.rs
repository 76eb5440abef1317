//! What Vault's answers mean. Pure.
//!
//! The status alone says little: 403 has three texts of which one means *log in again*, 404 has four forms, a wrong
//! login is 400. The forms are those of Vault 1.21; OpenBao follows them.

use std::time::Duration;

use http::StatusCode;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::Value;

use super::super::document::Document;
use super::super::{FetchError, FetchErrorKind};

/// The envelope of every answer; absent parts are null.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Envelope {
    pub(super) lease_id: String,
    pub(super) lease_duration: u64,
    pub(super) renewable: bool,
    pub(super) data: Data,
    pub(super) auth: Option<Auth>,
    warnings: Option<Vec<String>>,
    errors: Option<Vec<String>>,
}

/// The part of a login's or a renewal's answer that is about the token.
#[derive(Deserialize)]
pub(super) struct Auth {
    #[serde(default)]
    pub(super) client_token: Option<SecretString>,
    #[serde(default)]
    pub(super) lease_duration: u64,
    #[serde(default)]
    pub(super) renewable: bool,
}

/// The data of an answer: secrets, mostly.
#[derive(Deserialize, Default)]
#[serde(transparent)]
pub(super) struct Data(pub(super) Document);

impl Data {
    pub(super) fn text(&self, field: &str) -> Option<&str> {
        self.0.0.get(field)?.as_str()
    }

    pub(super) fn secs(&self, field: &str) -> Option<Duration> {
        self.0.0.get(field)?.as_u64().map(Duration::from_secs)
    }

    pub(super) fn flag(&self, field: &str) -> bool {
        self.0.0.get(field).and_then(Value::as_bool).unwrap_or_default()
    }

    /// A user and a password, as both kinds of database credentials have them.
    pub(super) fn login(&self) -> Option<(String, SecretString)> {
        let user = self.text("username").filter(|text| !text.is_empty())?;
        let password = self.text("password").filter(|text| !text.is_empty())?;
        Some((user.to_owned(), SecretString::from(password)))
    }
}

impl Auth {
    /// The token of a login; a renewal repeats it.
    pub(super) fn token(self) -> Option<SecretString> {
        self.client_token
            .filter(|token| !token.expose_secret().is_empty())
    }
}

/// Why an answer is not what was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// The server does not know the token: expired, revoked, never given out.
    InvalidToken,
    /// The token may not do this.
    Denied,
    /// There is no engine at that mount.
    NoMount,
    /// There is nothing at that path.
    Missing,
    /// The version was deleted; it can be undeleted.
    Deleted,
    /// The version was destroyed.
    Destroyed,
    /// The engine there is not KV version 2.
    NotVersioned,
    /// The request is wrong in the server's eyes.
    Rejected(String),
    /// A quota is used up, with the pause that is asked for.
    Throttled(Option<Duration>),
    /// The server can't answer now: sealed, on standby, overloaded, not reachable, not understandable.
    Unavailable(String),
}

/// What is said of a `200` or `204`.
pub(super) fn envelope(body: &[u8]) -> Result<Envelope, Failure> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Envelope::default());
    }
    serde_json::from_slice(body).map_err(|_| {
        Failure::Unavailable("it answered with something that is not an answer of Vault's".to_owned())
    })
}

/// What is said of every other status.
pub(super) fn failure(status: StatusCode, retry_after: Option<Duration>, body: &[u8]) -> Failure {
    let said: Option<Envelope> = serde_json::from_slice(body).ok();
    match status.as_u16() {
        403 => denied(said),
        404 => missing(said),
        // A standby of a performance tier that forwards nothing, a disaster recovery secondary: another node is active.
        472 | 473 => Failure::Unavailable(format!("it is a standby ({})", status.as_u16())),
        412 => Failure::Unavailable("it has not caught up with the active node (412)".to_owned()),
        429 => Failure::Throttled(retry_after),
        500..=599 => Failure::Unavailable(text(status, said)),
        _ => Failure::Rejected(text(status, said)),
    }
}

fn errors(said: Option<Envelope>) -> Vec<String> {
    said.and_then(|envelope| envelope.errors.clone())
        .unwrap_or_default()
}

/// Three texts, of which only one means that the token is not known. Without a text of Vault's it is some gateway's.
fn denied(said: Option<Envelope>) -> Failure {
    if errors(said).iter().any(|error| error.contains("invalid token")) {
        Failure::InvalidToken
    } else {
        Failure::Denied
    }
}

/// Four forms: no mount, nothing there, a version that is deleted or destroyed, a path of KV version 1.
fn missing(said: Option<Envelope>) -> Failure {
    let Some(said) = said else {
        return Failure::Unavailable("it answered 404 without a word of Vault's".to_owned());
    };
    if let Some(warnings) = &said.warnings
        && warnings.iter().any(|warning| warning.contains("versioned"))
    {
        return Failure::NotVersioned;
    }
    if let Some(metadata) = said.data.0.0.get("metadata") {
        let destroyed = metadata.get("destroyed").and_then(Value::as_bool);
        return if destroyed == Some(true) {
            Failure::Destroyed
        } else {
            Failure::Deleted
        };
    }
    if errors(Some(said))
        .iter()
        .any(|error| error.contains("no handler for route"))
    {
        return Failure::NoMount;
    }
    Failure::Missing
}

/// The server's own text, in one line and cut. It names paths and roles; what a secret engine's database said of a
/// statement is cut off, because it may quote the statement and with it a password.
fn text(status: StatusCode, said: Option<Envelope>) -> String {
    const LONGEST: usize = 160;
    let errors = errors(said).join("; ");
    let quoted = errors.find("at or near").unwrap_or(errors.len());
    let line: String = errors[..quoted]
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .chars()
        .take(LONGEST)
        .collect();
    match line.as_str() {
        "" => format!("status {}", status.as_u16()),
        line => format!("status {}: {line}", status.as_u16()),
    }
}

impl Failure {
    /// For whoever asked for `what`, which is an address or the name of a step.
    pub(super) fn of(self, what: impl std::fmt::Display) -> FetchError {
        use FetchErrorKind::{Denied, Invalid, Missing, Unavailable};
        let (kind, why) = match self {
            Self::InvalidToken => (Denied, "Vault does not know the token: it expired or was revoked".to_owned()),
            Self::Denied => (Denied, "Vault denied it: no policy of the token allows it".to_owned()),
            Self::NoMount => (Missing, "Vault has no engine at that mount".to_owned()),
            Self::Missing => (Missing, "there is nothing at that path".to_owned()),
            Self::Deleted => (Missing, "the newest version was deleted (it can be undeleted)".to_owned()),
            Self::Destroyed => (Missing, "the newest version was destroyed".to_owned()),
            Self::NotVersioned => (
                Invalid,
                "the engine there is KV version 1, which has no versions: KV version 2 is needed (vault kv enable-versioning)"
                    .to_owned(),
            ),
            Self::Rejected(text) => (Invalid, format!("Vault refused the request, {text}")),
            Self::Throttled(_) => (Unavailable, "a quota of Vault's is used up (429)".to_owned()),
            Self::Unavailable(text) => (Unavailable, format!("Vault can't answer now: {text}")),
        };
        FetchError {
            kind,
            message: format!("{what}: {why}"),
        }
    }

    /// Whether the same request may be answered a moment later.
    pub(super) fn is_outage(&self) -> bool {
        matches!(self, Self::Throttled(_) | Self::Unavailable(_))
    }

    /// The pause that the server asked for.
    pub(super) fn pause(&self) -> Option<Duration> {
        match self {
            Self::Throttled(pause) => *pause,
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
