//! A JSON document that holds secrets, and is wiped from memory when it is dropped.

use secrecy::zeroize::Zeroize;
use serde::Deserialize;
use serde_json::Value;

/// A document whose texts are wiped.
#[derive(Deserialize, Default)]
#[serde(transparent)]
pub(super) struct Document(pub(super) Value);

impl Drop for Document {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(items) => items.iter_mut().for_each(wipe),
        Value::Object(fields) => fields.values_mut().for_each(wipe),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_is_wiped_however_deep_it_lies() {
        let mut value = serde_json::json!({"a": "one", "b": ["two", {"c": "three"}], "d": 4});
        wipe(&mut value);
        assert_eq!(value, serde_json::json!({"a": "", "b": ["", {"c": ""}], "d": 4}));
    }
}
