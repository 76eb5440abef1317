//! How values appear in reports and listings.

use super::catalogue::Shape;
use super::tree::{Node, Value};
use super::url;

/// The most of a wrong value that a report repeats.
const LENGTH: usize = 60;

/// A found value as a report names it: text in quotes, other scalars as they are written, the rest by its kind.
pub(crate) fn found(node: &Node, shape: Shape<'_>) -> String {
    if shape.holds_secret() {
        return kind(node).to_owned();
    }
    match &node.value {
        Value::Text(text) | Value::String(text) => {
            let mut text = url::redact(text);
            if text.chars().count() > LENGTH {
                text = text.chars().take(LENGTH).chain(['…']).collect();
            }
            format!("{text:?}")
        }
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Bool(value) => value.to_string(),
        Value::List(_) | Value::Table(_) | Value::Secret(_) => kind(node).to_owned(),
    }
}

/// A found value by its kind alone.
pub(crate) fn kind(node: &Node) -> &'static str {
    match node.value {
        Value::Text(_) | Value::String(_) => "text",
        Value::Integer(_) | Value::Float(_) => "a number",
        Value::Bool(_) => "a boolean",
        Value::List(_) => "a list",
        Value::Table(_) => "a table",
        Value::Secret(_) => "a secret",
    }
}

/// An effective value as a listing shows it.
pub(crate) fn effective(node: &Node, shape: Option<Shape<'_>>) -> String {
    match &node.value {
        Value::Text(text) | Value::String(text) if shape.is_some_and(is_url) => url::redact(text),
        Value::Text(text) | Value::String(text) => text.clone(),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Bool(value) => value.to_string(),
        Value::Secret(_) => "***".to_owned(),
        Value::List(items) => {
            let below = shape.and_then(|shape| shape.plain().items());
            let items: Vec<_> = items.iter().map(|item| effective(item, below)).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Table(entries) => {
            let entries = entries.iter().map(|(key, node)| {
                let below = shape.and_then(|shape| shape.plain().child(key));
                format!("{key} = {}", effective(node, below))
            });
            format!("{{ {} }}", entries.collect::<Vec<_>>().join(", "))
        }
    }
}

fn is_url(shape: Shape<'_>) -> bool {
    let shape = shape.plain();
    shape.format() == Some("uri") || shape.keyword("x-url-schemes").is_some()
}

/// What a shape accepts, in words.
pub(crate) fn accepted(shape: Shape<'_>) -> String {
    let shape = shape.plain();
    if let Some(names) = shape.names() {
        let names: Vec<_> = names.iter().map(|name| format!("{name:?}")).collect();
        return match names.as_slice() {
            [only] => only.clone(),
            names => format!("one of {}", names.join(", ")),
        };
    }
    let alternatives = shape.alternatives();
    if !alternatives.is_empty() && !shape.is_table() {
        let each: Vec<_> = alternatives.iter().map(|option| accepted(*option)).collect();
        return each.join(", or ");
    }
    if let Some(schemes) = schemes(shape) {
        return match schemes.as_slice() {
            [] => "a URL such as \"http://host:4318\"".to_owned(),
            schemes => format!("a URL that begins with {}://", schemes.join(":// or ")),
        };
    }
    match shape.format() {
        Some("duration") => return super::Duration::EXPECTED.to_owned(),
        Some("byte-size") => return super::ByteSize::EXPECTED.to_owned(),
        Some("ratio") => return super::Ratio::EXPECTED.to_owned(),
        Some("secret") => return "a secret, or a reference such as env:NAME or file:/path".to_owned(),
        Some("uri") => return "a URL such as \"http://host:4318\"".to_owned(),
        Some("network") => return "a network such as \"10.0.0.0/8\", or an IP address".to_owned(),
        Some("ip") => return "an IP address".to_owned(),
        Some("ipv4") => return "an IPv4 address".to_owned(),
        Some("ipv6") => return "an IPv6 address".to_owned(),
        _ => {}
    }
    let types = shape.types();
    let kind = types.iter().find(|kind| **kind != "null").copied();
    match kind {
        Some("integer") => match shown_bounds(shape) {
            (Some(low), Some(high)) => format!("a whole number from {low} to {high}"),
            (Some(low), None) => format!("a whole number of at least {low}"),
            (None, Some(high)) => format!("a whole number of at most {high}"),
            (None, None) => "a whole number".to_owned(),
        },
        Some("number") => "a number".to_owned(),
        Some("boolean") => "true or false".to_owned(),
        Some("array") => match shape.items() {
            Some(items) => format!("a list, each item {}", accepted(items)),
            None => "a list".to_owned(),
        },
        Some("object") => {
            let keys: Vec<_> = shape.properties().into_iter().map(|(name, _)| name).collect();
            match keys.as_slice() {
                [] => "a table".to_owned(),
                keys => format!("a table with the keys {}", keys.join(", ")),
            }
        }
        _ => "text".to_owned(),
    }
}

/// The schemes that `x-url-schemes` names.
pub(crate) fn schemes(shape: Shape<'_>) -> Option<Vec<&str>> {
    let schemes = shape.keyword("x-url-schemes")?.as_array()?;
    Some(schemes.iter().filter_map(serde_json::Value::as_str).collect())
}

/// The bounds of whole numbers that say something: those of 64 bits are left out.
fn shown_bounds(shape: Shape<'_>) -> (Option<i128>, Option<i128>) {
    let (low, high) = bounds(shape);
    (
        Some(low).filter(|low| *low > i64::MIN.into()),
        Some(high).filter(|high| *high < i64::MAX.into()),
    )
}

/// The lowest and the highest accepted whole number; the range of the type where the schema names none.
pub(crate) fn bounds(shape: Shape<'_>) -> (i128, i128) {
    let (low, high) = match shape.format() {
        Some("int8") => (i8::MIN.into(), i8::MAX.into()),
        Some("int16") => (i16::MIN.into(), i16::MAX.into()),
        Some("int32") => (i32::MIN.into(), i32::MAX.into()),
        Some("int64" | "int") => (i64::MIN.into(), i64::MAX.into()),
        Some("uint8") => (0, u8::MAX.into()),
        Some("uint16") => (0, u16::MAX.into()),
        Some("uint32") => (0, u32::MAX.into()),
        Some("uint64" | "uint") => (0, u64::MAX.into()),
        _ => (i128::MIN, i128::MAX),
    };
    let number = |name: &str| shape.keyword(name).and_then(whole);
    let low = number("minimum").map_or(low, |stated| stated.max(low));
    let high = number("maximum").map_or(high, |stated| stated.min(high));
    let low = number("exclusiveMinimum").map_or(low, |stated| low.max(stated.saturating_add(1)));
    let high = number("exclusiveMaximum").map_or(high, |stated| high.min(stated.saturating_sub(1)));
    (low, high)
}

fn whole(number: &serde_json::Value) -> Option<i128> {
    let number = number.as_number()?;
    match number.as_i128() {
        Some(number) => Some(number),
        None => number.as_f64().map(|number| number as i128),
    }
}
