//! Where a store is, as its URL says.

use redis::{ConnectionAddr, RedisConnectionInfo};
use url::{Host, Url};

/// Why a URL was not understood. Never shows the URL itself: it may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0}; accepted are redis://host:6379/0, rediss://host:6379/0 and redis+sentinel://s1:26379,s2:26379/mymaster/0"
)]
pub struct TargetError(String);

/// Where a store is and how to log in to its data nodes.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) flavour: Flavour,
    pub(crate) login: RedisConnectionInfo,
}

/// How the primary is found.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Flavour {
    /// One address, which is the primary.
    Standalone(ConnectionAddr),
    /// Sentinels that know the primary by name.
    Sentinel {
        sentinels: Vec<(String, u16)>,
        master: String,
    },
}

impl Target {
    /// Reads a URL.
    pub(crate) fn parse(text: &str) -> Result<Self, TargetError> {
        let (scheme, rest) = text
            .split_once("://")
            .ok_or_else(|| TargetError("the URL has no scheme".into()))?;
        match scheme {
            "redis" | "rediss" => standalone(text, scheme == "rediss"),
            "redis+sentinel" => sentinel(rest),
            other => Err(TargetError(format!("the scheme {other:?} is not known"))),
        }
    }
}

fn standalone(text: &str, tls: bool) -> Result<Target, TargetError> {
    let url = Url::parse(text).map_err(|error| TargetError(format!("the URL is malformed ({error})")))?;
    if url.query().is_some() {
        return Err(TargetError("the URL has parameters, and none is known".into()));
    }
    let host = match url.host() {
        Some(Host::Domain(host)) => host.to_owned(),
        Some(Host::Ipv4(address)) => address.to_string(),
        Some(Host::Ipv6(address)) => address.to_string(),
        None => return Err(TargetError("the URL has no host".into())),
    };
    let port = url.port().unwrap_or(6379);
    let address = match tls {
        #[cfg(feature = "tls")]
        true => ConnectionAddr::TcpTls {
            host,
            port,
            insecure: false,
            tls_params: None,
        },
        #[cfg(not(feature = "tls"))]
        true => return Err(TargetError("rediss:// needs the feature `tls`".into())),
        false => ConnectionAddr::Tcp(host, port),
    };
    let login = login(url.username(), url.password(), url.path().trim_start_matches('/'))?;
    Ok(Target {
        flavour: Flavour::Standalone(address),
        login,
    })
}

fn sentinel(rest: &str) -> Result<Target, TargetError> {
    let (user_info, rest) = match rest.rsplit_once('@') {
        Some((user_info, rest)) => (user_info, rest),
        None => ("", rest),
    };
    let (user, password) = match user_info.split_once(':') {
        Some((user, password)) => (user, Some(password)),
        None => (user_info, None),
    };
    let mut path = rest.split('/');
    let sentinels = path
        .next()
        .unwrap_or_default()
        .split(',')
        .filter(|host| !host.is_empty())
        .map(host_and_port)
        .collect::<Result<Vec<_>, _>>()?;
    if sentinels.is_empty() {
        return Err(TargetError("the URL names no sentinel".into()));
    }
    let master = path.next().filter(|name| !name.is_empty());
    let master = master.ok_or_else(|| TargetError("the URL names no master after the sentinels".into()))?;
    let login = login(user, password, path.next().unwrap_or_default())?;
    Ok(Target {
        flavour: Flavour::Sentinel {
            sentinels,
            master: master.to_owned(),
        },
        login,
    })
}

fn host_and_port(text: &str) -> Result<(String, u16), TargetError> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !host.ends_with(':') => (host, port),
        _ => (text, "26379"),
    };
    let port = port
        .parse()
        .map_err(|_| TargetError("a sentinel's port is not a number".into()))?;
    Ok((host.trim_matches(['[', ']']).to_owned(), port))
}

fn login(user: &str, password: Option<&str>, database: &str) -> Result<RedisConnectionInfo, TargetError> {
    let decode = |text: &str| {
        percent_encoding::percent_decode_str(text)
            .decode_utf8()
            .map(|text| text.into_owned())
            .map_err(|_| TargetError("the user or password is not percent-encoded UTF-8".into()))
    };
    let mut login = RedisConnectionInfo::default();
    if !user.is_empty() {
        login = login.set_username(decode(user)?);
    }
    if let Some(password) = password {
        login = login.set_password(decode(password)?);
    }
    if !database.is_empty() {
        let number = database
            .parse()
            .map_err(|_| TargetError("the database is not a number".into()))?;
        login = login.set_db(number);
    }
    Ok(login)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentinel_url_names_sentinels_master_login_and_database() {
        let target = Target::parse("redis+sentinel://app:p%40ss@a:1,[::1]:2,c/mymaster/3").unwrap();
        let sentinels = vec![("a".into(), 1), ("::1".into(), 2), ("c".into(), 26379)];
        assert_eq!(
            target.flavour,
            Flavour::Sentinel {
                sentinels,
                master: "mymaster".into()
            }
        );
        assert_eq!(target.login.username(), Some("app"));
        assert_eq!(target.login.password(), Some("p@ss"));
        assert_eq!(target.login.db(), 3);
    }

    #[test]
    fn a_bad_url_is_an_error_that_says_what_is_accepted_and_never_shows_the_password() {
        for url in [
            "canary",
            "http://:canary@host",
            "redis://:canary@host/zero",
            "redis://:canary@host?canary=1",
            "redis+sentinel://:canary@/mymaster",
            "redis+sentinel://:canary@host:26379",
            "redis+sentinel://:canary@host:port/mymaster",
        ] {
            let error = Target::parse(url).unwrap_err().to_string();
            assert!(error.contains("redis+sentinel://s1:26379"), "{error}");
            assert!(!error.contains("canary"), "{error}");
        }
    }
}
