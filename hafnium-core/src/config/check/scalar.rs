//! Numbers, booleans, text and the formats of text.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::super::catalogue::Shape;
use super::super::problem::{Problem, ProblemKind};
use super::super::tree::{Node, Value};
use super::super::{ByteSize, Duration, Ratio, show, url};
use super::{Checker, nearest};
use crate::http::Network;

impl Checker<'_> {
    pub(super) fn scalar(&mut self, key: &str, node: &mut Node, shape: Shape<'_>) {
        let types = shape.types();
        let accepts = |kind: &str| types.contains(&kind);
        if let Value::Text(text) = &node.value {
            match typed(text, &types) {
                Some(value) => node.value = value,
                None => return self.mismatch(ProblemKind::Type, key, node, shape),
            }
        }
        let (right_type, right_value) = match &node.value {
            Value::String(text) if accepts("string") => (true, self.text(key, text, node, shape)),
            Value::Integer(number) if accepts("integer") => {
                let (low, high) = show::bounds(shape);
                (true, (low..=high).contains(number))
            }
            Value::Integer(number) if accepts("number") => (true, within(*number as f64, shape)),
            Value::Float(number) if accepts("number") => (true, within(*number, shape)),
            Value::Bool(_) => (accepts("boolean"), true),
            _ => (false, false),
        };
        match (right_type, right_value) {
            (true, true) => {}
            (true, false) => self.mismatch(ProblemKind::Value, key, node, shape),
            (false, _) => self.mismatch(ProblemKind::Type, key, node, shape),
        }
    }

    /// A string that must be one of some names.
    pub(super) fn name(&mut self, key: &str, node: &mut Node, shape: Shape<'_>, names: &[&str]) {
        let name = match &mut node.value {
            Value::Text(text) | Value::String(text) => std::mem::take(text),
            _ => return self.mismatch(ProblemKind::Type, key, node, shape),
        };
        node.value = Value::String(name.clone());
        if names.contains(&name.as_str()) {
            return;
        }
        let reason = match nearest(&name, names.iter().copied()) {
            Some(nearest) => format!("not accepted; did you mean \"{nearest}\"?"),
            None => "not accepted".to_owned(),
        };
        let problem = Problem::of(ProblemKind::Value, key, reason)
            .at(node.origin.clone())
            .found(show::found(node, shape))
            .accepted(show::accepted(shape));
        self.problems.push(problem);
    }

    /// Whether text keeps to its format; what a URL lacks is reported here.
    fn text(&mut self, key: &str, text: &str, node: &Node, shape: Shape<'_>) -> bool {
        if let Some(reason) = reject_url(text, shape) {
            let problem = Problem::of(ProblemKind::Value, key, reason)
                .at(node.origin.clone())
                .found(show::found(node, shape))
                .accepted(show::accepted(shape));
            self.problems.push(problem);
            return true;
        }
        let length = text.chars().count() as u64;
        let limit = |name: &str| shape.keyword(name).and_then(serde_json::Value::as_u64);
        if limit("minLength").is_some_and(|least| length < least) {
            return false;
        }
        if limit("maxLength").is_some_and(|most| length > most) {
            return false;
        }
        match shape.format() {
            Some("duration") => text.parse::<Duration>().is_ok(),
            Some("byte-size") => text.parse::<ByteSize>().is_ok(),
            Some("ratio") => text.parse::<Ratio>().is_ok(),
            Some("network") => text.parse::<Network>().is_ok(),
            Some("ip") => text.parse::<IpAddr>().is_ok(),
            Some("ipv4") => text.parse::<Ipv4Addr>().is_ok(),
            Some("ipv6") => text.parse::<Ipv6Addr>().is_ok(),
            _ => true,
        }
    }
}

/// Why `text` is not the URL its key wants; none where none is wanted.
pub(super) fn reject_url(text: &str, shape: Shape<'_>) -> Option<String> {
    match (show::schemes(shape), shape.format()) {
        (Some(schemes), _) => url::reject(text, &schemes),
        (None, Some("uri")) => url::reject(text, &[]),
        _ => None,
    }
}

/// Text as the type its key has.
fn typed(text: &str, types: &[&str]) -> Option<Value> {
    let accepts = |kind: &str| types.contains(&kind);
    if accepts("string") {
        return Some(Value::String(text.to_owned()));
    }
    let text = text.trim();
    if accepts("boolean") {
        match text {
            "true" => return Some(Value::Bool(true)),
            "false" => return Some(Value::Bool(false)),
            _ => {}
        }
    }
    if (accepts("integer") || accepts("number"))
        && let Ok(number) = text.parse()
    {
        return Some(Value::Integer(number));
    }
    if accepts("number") {
        return text
            .parse()
            .ok()
            .filter(|number: &f64| number.is_finite())
            .map(Value::Float);
    }
    None
}

fn within(number: f64, shape: Shape<'_>) -> bool {
    let bound = |name: &str| shape.keyword(name).and_then(serde_json::Value::as_f64);
    bound("minimum").is_none_or(|low| number >= low)
        && bound("maximum").is_none_or(|high| number <= high)
        && bound("exclusiveMinimum").is_none_or(|low| number > low)
        && bound("exclusiveMaximum").is_none_or(|high| number < high)
}
