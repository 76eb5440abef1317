//! One key out of a JSON document.

use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use crate::secret::document::Document;

/// The value of `key` in the object that `text` holds. The error shows nothing of the text.
pub(super) fn value(text: &SecretString, key: &str) -> Result<SecretString, String> {
    // serde's own words may quote the document.
    let mut document: Document = serde_json::from_str(text.expose_secret())
        .map_err(|_| format!("no JSON document, so there is no key {key:?} in it"))?;
    let Value::Object(entries) = &mut document.0 else {
        return Err(format!("no JSON object, so there is no key {key:?} in it"));
    };
    match entries.remove(key) {
        Some(Value::String(value)) => Ok(value.into()),
        Some(value @ (Value::Number(_) | Value::Bool(_))) => Ok(value.to_string().into()),
        Some(_) => Err(format!("the key {key:?} holds no text")),
        None => Err(format!("there is no key {key:?} in the JSON document")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_taken_out_as_text() {
        let text = SecretString::from(r#"{"password":"p\"w","port":5432,"ssl":true,"list":[],"none":null}"#);
        let of = |key| value(&text, key).map(|value| value.expose_secret().to_owned());
        assert_eq!(of("password").unwrap(), "p\"w");
        assert_eq!(
            (of("port").unwrap(), of("ssl").unwrap()),
            ("5432".into(), "true".into())
        );
        for key in ["list", "none", "pasword"] {
            assert!(of(key).unwrap_err().contains(key));
        }
    }

    #[test]
    fn what_is_no_document_is_not_shown() {
        for text in ["c4n4ry", "\"c4n4ry\"", "{\"a\":c4n4ry}"] {
            let error = value(&text.into(), "a").unwrap_err();
            assert!(!error.contains("c4n4ry"), "{error}");
        }
    }
}
