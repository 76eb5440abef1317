//! Who asked, when proxies stand between: `Forwarded` (RFC 7239) and `X-Forwarded-*`, taken from trusted proxies only.
//!
//! Anyone can write a header, so the chain is read from its right end, where the nearest proxy wrote: as long as an
//! address is one of the trusted proxies', the one to the left of it is believed. The first that is not is the client.
//! What stands further left was written by the client itself, if at all. Where a proxy says that it does not know
//! (`unknown`, `_hidden`), or writes what can't be read, nothing further left is believed either.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use http::header::{FORWARDED, HeaderName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::network::Network;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// More proxies than that do not stand between two machines; what is written further left is not looked at.
const MAX_HOPS: usize = 32;

/// Which headers the trusted proxies write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ForwardedBy {
    /// `X-Forwarded-For` and `X-Forwarded-Proto`, and `X-Forwarded-Host` where `http.forwarded_host` says so.
    #[default]
    XForwarded,
    /// `Forwarded` of RFC 7239.
    Forwarded,
}

/// How the client spoke to the first of us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Scheme {
    /// In plain text.
    Http,
    /// Over TLS.
    Https,
}

impl Scheme {
    /// `http` or `https`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        if text.eq_ignore_ascii_case("https") {
            Some(Self::Https)
        } else if text.eq_ignore_ascii_case("http") {
            Some(Self::Http)
        } else {
            None
        }
    }
}

/// Who asked; in the extensions of every request of the application listener.
///
/// ```
/// use axum::Extension;
/// use hafnium_core::http::Caller;
///
/// async fn whoami(Extension(caller): Extension<Caller>) -> String {
///     format!("{} over {}", caller.address, caller.scheme.as_str())
/// }
/// # let _: axum::Router = axum::Router::new().route("/", axum::routing::get(whoami));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Caller {
    /// The client's address; that of the connection where no trusted proxy says another one.
    pub address: IpAddr,
    /// How the client spoke to the first proxy, or to us.
    pub scheme: Scheme,
    /// The host that the client asked for, where a trusted proxy says so; else it is in the header `Host`.
    pub host: Option<String>,
}

impl Caller {
    /// The peer of a connection itself.
    pub(super) fn direct(peer: IpAddr, scheme: Scheme) -> Self {
        Self {
            address: peer.to_canonical(),
            scheme,
            host: None,
        }
    }
}

/// Whose word is taken, and where it is written.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trust {
    pub(crate) proxies: Vec<Network>,
    pub(crate) by: ForwardedBy,
    /// The proxies write `X-Forwarded-Host` too. Many do not, and pass on what the client wrote there.
    pub(crate) host: bool,
}

impl Trust {
    /// Whether there is anybody whose word is taken.
    pub(super) fn trusts_any(&self) -> bool {
        !self.proxies.is_empty()
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.proxies.iter().any(|network| network.contains(address))
    }

    /// Who asked, over a connection from `peer` that spoke `scheme` to us.
    pub(crate) fn caller(&self, peer: IpAddr, scheme: Scheme, headers: &HeaderMap) -> Caller {
        let direct = Caller::direct(peer, scheme);
        if !self.trusts(peer) {
            return direct;
        }
        match self.by {
            ForwardedBy::XForwarded => self.x_forwarded(direct, headers),
            ForwardedBy::Forwarded => self.forwarded(direct, headers),
        }
    }

    fn x_forwarded(&self, mut caller: Caller, headers: &HeaderMap) -> Caller {
        let mut hops = 0;
        for text in from_the_right(headers, &X_FORWARDED_FOR) {
            let Some(address) = address(text) else { break };
            caller.address = address;
            hops += 1;
            if !self.trusts(address) {
                break;
            }
        }
        // Proxies set these or add to them. Where they were added to as often as the addresses were, the same place
        // counts; else what the nearest proxy wrote.
        let at_hop = |name: HeaderName| {
            let values: Vec<&str> = from_the_right(headers, &name).collect();
            let place = if values.len() >= hops { hops.max(1) - 1 } else { 0 };
            values.get(place).copied()
        };
        caller.scheme = at_hop(X_FORWARDED_PROTO)
            .and_then(Scheme::parse)
            .unwrap_or(caller.scheme);
        if self.host {
            caller.host = at_hop(X_FORWARDED_HOST).and_then(host);
        }
        caller
    }

    fn forwarded(&self, mut caller: Caller, headers: &HeaderMap) -> Caller {
        for element in from_the_right(headers, &FORWARDED) {
            let Some(element) = Element::parse(element) else {
                break;
            };
            // What one proxy says of the connection it accepted.
            caller.scheme = element.proto.and_then(Scheme::parse).unwrap_or(caller.scheme);
            caller.host = element.host.and_then(host).or(caller.host);
            let Some(address) = element.from.and_then(address) else {
                break;
            };
            caller.address = address;
            if !self.trusts(address) {
                break;
            }
        }
        caller
    }
}

/// The elements of a list that may be spread over several headers, the last one first.
fn from_the_right<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> + use<'a> {
    let values: Vec<&str> = headers
        .get_all(name)
        .iter()
        .map(|value| value.to_str().unwrap_or("unreadable"))
        .collect();
    values
        .into_iter()
        .rev()
        .flat_map(|value| value.rsplit(','))
        .map(str::trim)
        .filter(|element| !element.is_empty())
        .take(MAX_HOPS)
}

/// An address, with or without a port: `192.0.2.1`, `192.0.2.1:443`, `2001:db8::1`, `[2001:db8::1]:443`.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let address = match bare {
        Some(bare) => bare.parse::<std::net::Ipv6Addr>().ok().map(IpAddr::V6),
        None => text.parse::<IpAddr>().ok(),
    };
    let address = address.or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip()));
    address.map(|address| address.to_canonical())
}

/// A host name or address with or without a port: nothing that could be taken for more when it is put into a link.
fn host(text: &str) -> Option<String> {
    let fit = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    ((1..=255).contains(&text.len()) && text.bytes().all(fit)).then(|| text.to_owned())
}

/// What one proxy says.
#[derive(Debug, Default, PartialEq)]
struct Element<'a> {
    from: Option<&'a str>,
    proto: Option<&'a str>,
    host: Option<&'a str>,
}

impl<'a> Element<'a> {
    /// `for=192.0.2.60;proto=http;by=203.0.113.43`. A quoted text with a comma or an escape in it holds neither an address
    /// nor a host, so it need not be understood: it is not a pair of quotes any more and ends the chain.
    fn parse(text: &'a str) -> Option<Self> {
        let mut element = Self::default();
        for pair in text.split(';').map(str::trim).filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=')?;
            let value = match value.strip_prefix('"') {
                Some(quoted) => quoted.strip_suffix('"')?,
                None => value,
            };
            if value.contains(['"', '\\']) {
                return None;
            }
            let place = match name.to_ascii_lowercase().as_str() {
                "for" => &mut element.from,
                "proto" => &mut element.proto,
                "host" => &mut element.host,
                _ => continue,
            };
            // Each may be there once; who says two things says nothing.
            if place.replace(value).is_some() {
                return None;
            }
        }
        Some(element)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn trust(by: ForwardedBy) -> Trust {
        let proxies = ["10.0.0.0/8", "fd00::/8"];
        Trust {
            proxies: proxies.iter().map(|text| text.parse().unwrap()).collect(),
            by,
            host: true,
        }
    }

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    fn seen(by: ForwardedBy, peer: &str, lines: &[(&'static str, &str)]) -> (String, &'static str, String) {
        let caller = trust(by).caller(peer.parse().unwrap(), Scheme::Http, &headers(lines));
        (
            caller.address.to_string(),
            caller.scheme.as_str(),
            caller.host.unwrap_or_default(),
        )
    }

    #[test]
    fn a_stranger_is_never_believed_whatever_it_writes() {
        let lines = [
            ("x-forwarded-for", "1.2.3.4"),
            ("forwarded", "for=1.2.3.4;proto=https"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "bank.example"),
        ];
        for by in [ForwardedBy::XForwarded, ForwardedBy::Forwarded] {
            let expected = ("198.51.100.7".to_owned(), "http", String::new());
            assert_eq!(seen(by, "198.51.100.7", &lines), expected);
            let nobody = Trust::default().caller("10.0.0.1".parse().unwrap(), Scheme::Http, &headers(&lines));
            assert_eq!(nobody.address.to_string(), "10.0.0.1");
        }
    }

    #[test]
    fn the_rightmost_untrusted_address_is_the_client() {
        let by = ForwardedBy::XForwarded;
        for (chain, client) in [
            ("192.0.2.1", "192.0.2.1"),
            ("6.6.6.6, 192.0.2.1", "192.0.2.1"),
            ("6.6.6.6, 192.0.2.1, 10.0.0.9", "192.0.2.1"),
            ("10.0.0.8, 10.0.0.9", "10.0.0.8"),
            ("6.6.6.6, 2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]:4711, fd00::3", "2001:db8::1"),
            ("192.0.2.1:4711", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            // The nearest proxy does not know, or it can't be read: nothing further left is believed.
            ("6.6.6.6, unknown", "10.0.0.1"),
            ("6.6.6.6, unknown, 10.0.0.9", "10.0.0.9"),
            ("6.6.6.6, 1.2.3.4.5", "10.0.0.1"),
            ("", "10.0.0.1"),
            (" , ,", "10.0.0.1"),
        ] {
            let line = [("x-forwarded-for", chain)];
            assert_eq!(seen(by, "10.0.0.1", &line).0, client, "{chain}");
        }
        let two = [("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "192.0.2.1")];
        assert_eq!(seen(by, "10.0.0.1", &two).0, "192.0.2.1", "over two headers");
        assert_eq!(seen(by, "::ffff:10.0.0.1", &two).0, "192.0.2.1", "dual stack");
    }

    #[test]
    fn only_the_headers_that_the_proxies_write_are_read() {
        let lines = [("x-forwarded-for", "192.0.2.1"), ("forwarded", "for=6.6.6.6")];
        assert_eq!(seen(ForwardedBy::XForwarded, "10.0.0.1", &lines).0, "192.0.2.1");
        assert_eq!(seen(ForwardedBy::Forwarded, "10.0.0.1", &lines).0, "6.6.6.6");
    }

    #[test]
    fn scheme_and_host_are_those_of_the_clients_own_connection() {
        let by = ForwardedBy::XForwarded;
        let set = [
            ("x-forwarded-for", "192.0.2.1, 10.0.0.9"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "shop.example:8443"),
        ];
        assert_eq!(
            seen(by, "10.0.0.1", &set),
            ("192.0.2.1".into(), "https", "shop.example:8443".into())
        );
        let added = [
            ("x-forwarded-for", "6.6.6.6, 192.0.2.1, 10.0.0.9"),
            ("x-forwarded-proto", "http, https, http"),
        ];
        assert_eq!(seen(by, "10.0.0.1", &added).1, "https");
        let odd = [("x-forwarded-proto", "gopher"), ("x-forwarded-host", "a/b")];
        assert_eq!(
            seen(by, "10.0.0.1", &odd),
            ("10.0.0.1".into(), "http", String::new())
        );
    }

    #[test]
    fn a_host_that_the_proxies_are_not_said_to_write_is_the_clients_own_and_not_believed() {
        let lines = headers(&[
            ("x-forwarded-for", "192.0.2.1"),
            ("x-forwarded-host", "evil.example"),
        ]);
        let trust = Trust {
            host: false,
            ..trust(ForwardedBy::XForwarded)
        };
        let caller = trust.caller("10.0.0.1".parse().unwrap(), Scheme::Http, &lines);
        assert_eq!(
            (caller.address.to_string().as_str(), caller.host),
            ("192.0.2.1", None)
        );
    }

    #[test]
    fn the_standard_header_is_read_with_its_quotes_and_cases() {
        let by = ForwardedBy::Forwarded;
        let client = |line: &str| seen(by, "10.0.0.1", &[("forwarded", line)]);
        let full = "for=192.0.2.60;proto=https;by=203.0.113.43;host=shop.example";
        assert_eq!(
            client(full),
            ("192.0.2.60".into(), "https", "shop.example".into())
        );
        assert_eq!(client("For=\"[2001:db8:cafe::17]:4711\"").0, "2001:db8:cafe::17");
        assert_eq!(
            client("for=6.6.6.6, for=192.0.2.60 , for=10.0.0.3").0,
            "192.0.2.60"
        );
        for hidden in [
            "for=unknown",
            "for=_gazonk",
            "for=\"1.2.3.4",
            "for=1.2.3.4;for=2.3.4.5",
            "for",
        ] {
            let line = format!("for=6.6.6.6, {hidden}");
            assert_eq!(client(&line).0, "10.0.0.1", "{hidden}");
        }
    }

    proptest! {
        /// Whatever a client writes to the left of what the proxy adds changes nothing.
        #[test]
        fn what_a_client_writes_itself_changes_nothing(forged in "[ -~]{0,60}") {
            for by in [ForwardedBy::XForwarded, ForwardedBy::Forwarded] {
                let (name, mine) = match by {
                    ForwardedBy::Forwarded => ("forwarded", "for=192.0.2.1;proto=https"),
                    ForwardedBy::XForwarded => ("x-forwarded-for", "192.0.2.1"),
                };
                let line = format!("{forged}, {mine}");
                prop_assert_eq!(seen(by, "10.0.0.1", &[(name, &line)]).0, "192.0.2.1");
            }
        }
    }
}
