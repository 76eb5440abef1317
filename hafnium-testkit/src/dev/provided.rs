//! What a climb came to.

use std::fmt;

use super::ladder::Rung;

/// Where a dependency is, for as long as the [`DevServices`](super::DevServices) that provided it lives.
#[derive(Clone)]
#[non_exhaustive]
pub struct Provided {
    /// For Postgres and Redis a URL with credentials, for Kafka `host:port`.
    pub url: String,
    /// The rung that provided it.
    pub rung: Rung,
    /// Why this rung: what is behind it, and why the ones above were passed over.
    pub why: String,
}

impl Provided {
    /// The URL without its password, for logs.
    pub fn redacted_url(&self) -> String {
        redacted(&self.url)
    }
}

impl fmt::Debug for Provided {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provided")
            .field("url", &self.redacted_url())
            .field("rung", &self.rung)
            .field("why", &self.why)
            .finish()
    }
}

/// `scheme://user:***@host`; what has no password is returned as it is.
pub(crate) fn redacted(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let authority_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(authority_end);
    // A password may itself hold an unescaped '@': the host starts after the last one.
    match authority.rsplit_once('@') {
        Some((credentials, host)) => match credentials.split_once(':') {
            Some((user, _)) => format!("{scheme}://{user}:***@{host}{path}"),
            None => url.to_owned(),
        },
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        assert_eq!(
            redacted("postgres://app:s3cret@127.0.0.1:5432/l?x=1"),
            "postgres://app:***@127.0.0.1:5432/l?x=1"
        );
        assert_eq!(redacted("redis://:p@ss@h:1"), "redis://:***@h:1");
        assert_eq!(redacted("127.0.0.1:9092"), "127.0.0.1:9092");
        let provided = Provided {
            url: "redis://:s3cret@h:1".into(),
            rung: Rung::Local,
            why: String::new(),
        };
        assert!(!format!("{provided:?}").contains("s3cret"));
    }
}
