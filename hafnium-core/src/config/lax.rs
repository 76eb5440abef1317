//! What is accepted and should not stay so in production: no TLS, logs for people.
//!
//! A key says itself which of its values are lax: `x-lax` in its schema maps them to the reason. For URLs the scheme
//! tells.

use std::net::IpAddr;

use super::catalogue::Shape;
use super::check::join;
use super::effective::Config;
use super::entry;
use super::problem::Problem;
use super::show;
use super::tree::{Node, Value};

/// The schema keyword of a key with lax values.
const LAX: &str = "x-lax";
/// How deep the keys are followed.
const DEPTH: usize = 16;

impl Config {
    /// The values that are lax, each with the reason: meant for `prod` and `dr`. No value of a secret is shown.
    pub fn lax(&self) -> Vec<Problem> {
        let mut found = Vec::new();
        walk(
            "",
            Some(&self.inner().tree),
            self.inner().catalogue.root(),
            DEPTH,
            &mut found,
        );
        found.sort_by(|one, other| one.key().cmp(other.key()));
        found
    }
}

fn walk(key: &str, node: Option<&Node>, shape: Shape<'_>, depth: usize, found: &mut Vec<Problem>) {
    let outer = shape;
    let shape = shape.plain();
    if let Some(reason) = reason(node, outer) {
        let problem = Problem::new(key, reason);
        found.push(match node {
            Some(node) => problem.at(node.origin.clone()),
            None => problem,
        });
    }
    let Some(depth) = depth.checked_sub(1) else { return };
    let table = match node.map(|node| &node.value) {
        Some(Value::Table(table)) => Some(table),
        Some(_) => None,
        // What is optional and not set has no values of its own.
        None if outer.types().contains(&"null") || !outer.alternatives().is_empty() => return,
        None => None,
    };
    let properties = shape.properties();
    for (name, below) in &properties {
        let node = table.and_then(|table| table.get(*name));
        walk(&join(key, name), node, *below, depth, found);
    }
    let others = table.into_iter().flatten();
    for (name, node) in others.filter(|(name, _)| !properties.iter().any(|(known, _)| known == name)) {
        if let Some(below) = shape.additional() {
            walk(&join(key, name), Some(node), below, depth, found);
        }
    }
}

/// Why what stands here, or its default, is lax.
fn reason(node: Option<&Node>, shape: Shape<'_>) -> Option<String> {
    if let Some(Value::Secret(leaf)) = node.map(|node| &node.value) {
        let is_url = show::schemes(shape)
            .or_else(|| show::schemes(shape.plain()))
            .is_some();
        return of_url(leaf.secret.current().expose())
            .filter(|_| is_url)
            .map(str::to_owned);
    }
    let value = match node {
        Some(node) => match &node.value {
            Value::Table(_) => return None,
            _ => show::effective(node, None),
        },
        None => entry::plain(shape.default().or_else(|| shape.plain().default())?),
    };
    let listed = shape.keyword(LAX).or_else(|| shape.plain().keyword(LAX));
    let listed = listed
        .and_then(|lax| lax.get(&value))
        .and_then(serde_json::Value::as_str);
    if let Some(reason) = listed {
        return Some(format!("is {value}: {reason}"));
    }
    let is_url = show::schemes(shape)
        .or_else(|| show::schemes(shape.plain()))
        .is_some();
    of_url(&value).filter(|_| is_url).map(str::to_owned)
}

/// Why a URL is lax; never for what stays on this host.
fn of_url(text: &str) -> Option<&'static str> {
    let (scheme, rest) = text.split_once("://")?;
    let (authority, query) = rest.split_once('?').unwrap_or((rest, ""));
    let authority = authority.split('/').next().unwrap_or_default();
    let hosts = authority.rsplit_once('@').map_or(authority, |(_, hosts)| hosts);
    if hosts.split(',').all(is_here) {
        return None;
    }
    match scheme {
        "http" | "redis" | "redis+sentinel" => {
            Some("TLS is off: everything, also passwords, can be read on the way")
        }
        "postgres" | "postgresql" => {
            let mode = query.split('&').find_map(|pair| pair.strip_prefix("sslmode="));
            match mode {
                // Said by nobody it is verify-full outside `dev`.
                None | Some("verify-full" | "verify-ca") => None,
                Some("require") => {
                    Some("sslmode=require encrypts to whoever answers: verify-full knows the server")
                }
                Some("disable") => Some("TLS is off: everything, also passwords, can be read on the way"),
                Some(_) => Some(
                    "TLS is not insisted on: without sslmode=verify-full a server or an attacker can do without",
                ),
            }
        }
        _ => None,
    }
}

/// Whether a host of a URL is this one.
fn is_here(host: &str) -> bool {
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((name, _)) => name,
        None => host.split(':').next().unwrap_or_default(),
    };
    // A socket's path is written with its slashes escaped.
    name == "localhost"
        || name.starts_with("%2F")
        || name.starts_with("%2f")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_lax_where_it_leaves_the_host_without_a_verified_peer() {
        for (url, lax) in [
            ("http://collector:4318", true),
            ("http://localhost:4318", false),
            ("https://collector:4318", false),
            ("redis://:p@cache", true),
            ("redis+sentinel://s1,s2/main", true),
            ("rediss://cache", false),
            ("redis://[::1]:6379", false),
            ("postgres://u:p@db/x", false),
            ("postgres://u:p@db/x?sslmode=prefer", true),
            ("postgres://u:p@127.0.0.1,[::1]:5433/x?sslmode=disable", false),
            ("postgres://u:p@127.0.0.1,db/x?sslmode=disable", true),
            ("postgres://u:p@db/x?sslmode=require", true),
            (
                "postgres://u:p@db/x?application_name=a&sslmode=verify-full",
                false,
            ),
            ("postgres://%2Frun%2Fpostgresql/x", false),
            ("no url", false),
        ] {
            assert_eq!(of_url(url).is_some(), lax, "{url}");
        }
    }
}
