//! What a KV version 2 document and a rotated login give. Pure.

use std::time::{Duration, SystemTime};

use secrecy::SecretString;
use serde_json::Value;

use super::super::{Address, FetchError, FetchErrorKind, Fetched, Material, Version};
use super::answer::{Envelope, Failure};
use super::timestamp;

/// The value of `key` in a document, or that of its only key.
pub(super) fn read(address: &Address, key: Option<&str>, envelope: &Envelope) -> Result<Fetched, FetchError> {
    let invalid = |why: String| FetchError {
        kind: FetchErrorKind::Invalid,
        message: format!("{address}: {why}"),
    };
    let (Some(fields), Some(metadata)) = (envelope.data.0.0.get("data"), envelope.data.0.0.get("metadata"))
    else {
        return Err(invalid(
            "what lies there is no document of KV version 2".to_owned(),
        ));
    };
    let Some(fields) = fields.as_object() else {
        return Err(Failure::Deleted.of(address));
    };
    let value = match key {
        Some(key) => fields
            .get(key)
            .ok_or_else(|| invalid(format!("the document has no key `{key}`")))?,
        None => match fields.values().next() {
            Some(only) if fields.len() == 1 => only,
            _ => {
                let count = fields.len();
                return Err(invalid(format!(
                    "the document has {count} keys: say which one after `#`"
                )));
            }
        },
    };
    let text = match value {
        Value::String(text) => SecretString::from(text.as_str()),
        Value::Number(_) | Value::Bool(_) => SecretString::from(value.to_string()),
        _ => return Err(invalid("the value is neither a text nor a number".to_owned())),
    };
    let number = metadata.get("version").and_then(Value::as_u64);
    let created = metadata.get("created_time").and_then(Value::as_str);
    let number = number.ok_or_else(|| invalid("the document has no version".to_owned()))?;
    Ok(Fetched {
        material: Material::Text(text),
        // A document that was removed with its metadata and written again begins at 1 again.
        version: Version(format!("{number} of {}", created.unwrap_or_default())),
        refresh_after: None,
        expires_after: None,
        changed: created.and_then(timestamp::parse),
    })
}

/// A login whose password Vault rotates.
pub(super) fn rotated(
    address: &Address,
    envelope: &Envelope,
    now: SystemTime,
) -> Result<Fetched, FetchError> {
    let data = &envelope.data;
    let (Some((user, password)), Some(rotation)) = (data.login(), data.text("last_vault_rotation")) else {
        return Err(FetchError {
            kind: FetchErrorKind::Invalid,
            message: format!("{address}: what Vault answered is no login of a static role"),
        });
    };
    let left = data.secs("ttl").unwrap_or_default();
    let changed = timestamp::parse(rotation);
    let due = changed
        .zip(data.secs("rotation_period"))
        .map(|(at, period)| at + period);
    Ok(Fetched {
        material: Material::Login { user, password },
        version: Version(rotation.to_owned()),
        refresh_after: Some(ask_again(left, due, now)),
        // The old password works until Vault rotates it, however late that is.
        expires_after: None,
        changed,
    })
}

/// When to look for the next password: when it is due. While a rotation is late Vault says that nothing is left, and
/// the old password still works; then soon, and ever more patiently the later it is.
fn ask_again(left: Duration, due: Option<SystemTime>, now: SystemTime) -> Duration {
    const SOON: Duration = Duration::from_millis(500);
    const LONGEST: Duration = Duration::from_secs(10);
    if !left.is_zero() {
        return left;
    }
    let late = due
        .and_then(|due| now.duration_since(due).ok())
        .unwrap_or_default();
    (late / 4).clamp(SOON, LONGEST)
}

#[cfg(test)]
mod tests;
