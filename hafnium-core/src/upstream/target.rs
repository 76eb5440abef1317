//! The URL of an upstream, taken apart.

use std::net::IpAddr;

use http::Uri;
use http::uri::{Authority, PathAndQuery, Scheme};

/// Where an upstream is.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) scheme: Scheme,
    pub(super) authority: Authority,
    /// The host without brackets, as it is looked up.
    pub(super) host: String,
    pub(super) port: u16,
    /// What is put before each path, without a slash at its end.
    base: String,
}

/// Why a URL can't be an upstream's, without the URL: it may hold what is not to be shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("url: {0}")]
pub(super) struct BadUrl(pub(super) &'static str);

impl Target {
    pub(super) fn parse(url: &str) -> Result<Self, BadUrl> {
        let uri: Uri = url.parse().map_err(|_| BadUrl("not a URL of one host"))?;
        let parts = uri.into_parts();
        let scheme = parts.scheme.ok_or(BadUrl("`http://` or `https://` is missing"))?;
        let authority = parts.authority.ok_or(BadUrl("the host is missing"))?;
        let default = match scheme.as_str() {
            "http" => 80,
            "https" => 443,
            _ => return Err(BadUrl("neither `http` nor `https`")),
        };
        if authority.as_str().contains('@') {
            return Err(BadUrl("credentials have no place in it; send them in a header"));
        }
        let path = parts.path_and_query;
        if path.as_ref().is_some_and(|path| path.query().is_some()) {
            return Err(BadUrl("a query has no place in it"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(BadUrl("the host is missing"));
        }
        Ok(Self {
            host: host.to_owned(),
            port: authority.port_u16().unwrap_or(default),
            base: path.map_or_else(String::new, |path| path.path().trim_end_matches('/').to_owned()),
            scheme,
            authority,
        })
    }

    /// The address, where the host is one.
    pub(super) fn literal(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }

    /// The URL of `path`, which begins with a slash.
    pub(super) fn url(&self, path: &str) -> Option<Uri> {
        if !path.starts_with('/') {
            return None;
        }
        let path = match self.base.as_str() {
            "" => PathAndQuery::try_from(path),
            base => PathAndQuery::try_from(format!("{base}{path}")),
        };
        Uri::builder()
            .scheme(self.scheme.clone())
            .authority(self.authority.clone())
            .path_and_query(path.ok()?)
            .build()
            .ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_path_goes_before_each_path() {
        let target = Target::parse("https://scoring.internal/v2/").unwrap();
        assert_eq!((target.host.as_str(), target.port), ("scoring.internal", 443));
        let url = target.url("/scores/17?full=1").unwrap();
        assert_eq!(url, "https://scoring.internal/v2/scores/17?full=1");
        assert_eq!(target.url("scores"), None);
    }

    #[test]
    fn an_address_needs_no_lookup() {
        let target = Target::parse("http://[::1]:8080").unwrap();
        assert_eq!(target.literal(), "::1".parse().ok());
        assert_eq!(target.port, 8080);
        assert_eq!(Target::parse("http://one").unwrap().literal(), None);
    }

    #[test]
    fn what_can_not_be_an_upstream_is_refused_without_repeating_it() {
        for url in [
            "canary",
            "/canary",
            "ftp://canary",
            "http://u:canary@host",
            "http://host/?canary",
            "http://",
        ] {
            let error = Target::parse(url).unwrap_err().to_string();
            assert!(!error.contains("canary"), "{error}");
        }
    }
}
