//! Connection URLs with several hosts: `postgres://app:secret@a:5432,b:5432,c:5432/ledger?sslmode=require`.
//!
//! Parsed here, because neither sqlx nor the `url` crate knows more than one host. What libpq accepts and we can't
//! keep is refused with the reason; an unknown parameter is an error that names it and the nearest known one. No error
//! holds the URL.

use std::fmt;
use std::time::Duration;

use hafnium_core::config::{Duration as WrittenDuration, Environment};
use sqlx::postgres::PgConnectOptions;

use super::certificates::Files;
use super::parameter;
use super::session::{Balance, SessionAttrs};
use super::tls::Tls;

/// Where one node is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Host {
    pub(crate) name: String,
    pub(crate) port: u16,
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.contains(':') {
            write!(f, "[{}]:{}", self.name, self.port)
        } else {
            write!(f, "{}:{}", self.name, self.port)
        }
    }
}

/// What is wrong with a URL. Never holds the URL or a part of it that may be secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UrlError {
    /// The scheme is another one.
    #[error("url: must start with postgres:// or postgresql://")]
    Scheme,
    /// A part could not be read.
    #[error("url: {0}")]
    Malformed(&'static str),
    /// A parameter that no one knows.
    #[error("url: unknown parameter \"{parameter}\"{}", nearest.map_or_else(String::new, |nearest| format!("; did you mean {nearest}?")))]
    #[non_exhaustive]
    UnknownParameter {
        /// The parameter.
        parameter: String,
        /// A known one that is spelt nearly so.
        nearest: Option<&'static str>,
    },
    /// A parameter that is known and can't be kept.
    #[error("url: parameter \"{parameter}\": {reason}")]
    Parameter {
        /// The parameter.
        parameter: &'static str,
        /// What is accepted, or why it can't be kept.
        reason: &'static str,
    },
    /// A file that a parameter names is not there, or is not what it is for.
    #[error("url: parameter \"{parameter}\": {path} {reason}")]
    #[non_exhaustive]
    File {
        /// The parameter.
        parameter: &'static str,
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// A parsed URL without its user and password, which may change: [`login`] reads them.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) hosts: Vec<Host>,
    database: Option<String>,
    tls: Tls,
    pub(crate) attrs: SessionAttrs,
    pub(crate) balance: Balance,
    pub(crate) application_name: Option<String>,
    /// libpq's name for programs to give; that of the settings wins.
    pub(crate) fallback_application_name: Option<String>,
    pub(crate) connect_timeout: Option<Duration>,
    options: Vec<(String, String)>,
}

impl Target {
    pub(crate) fn parse(url: &str) -> Result<Self, UrlError> {
        let Parts {
            hosts,
            database,
            query,
            ..
        } = Parts::of(url)?;
        login(url)?;
        let mut target = Self {
            hosts: hosts.split(',').map(host).collect::<Result<_, _>>()?,
            database: non_empty(decode(database)?),
            tls: Tls::default(),
            attrs: SessionAttrs::default(),
            balance: Balance::default(),
            application_name: None,
            fallback_application_name: None,
            connect_timeout: None,
            options: Vec::new(),
        };
        for (key, value) in url::form_urlencoded::parse(query.as_bytes()) {
            match target.parameter(&key, value.into_owned()) {
                // What follows a bare question mark in a password looks like a parameter.
                Err(UrlError::UnknownParameter { .. }) if query.contains('@') || key.contains(['@', '/']) => {
                    return Err(UrlError::Malformed(
                        "an unknown parameter, or a \"?\" in the password: write it as %3F, and an \"@\" after it as %40",
                    ));
                }
                result => result?,
            }
        }
        Ok(target)
    }

    /// With what the URL leaves to the environment: how much TLS there is at least.
    pub(crate) fn settled(mut self, environment: Environment) -> Result<Self, UrlError> {
        self.tls.settle(environment)?;
        Ok(self)
    }

    fn parameter(&mut self, key: &str, value: String) -> Result<(), UrlError> {
        let refuse = |parameter, reason| Err(UrlError::Parameter { parameter, reason });
        if self.tls.parameter(key, &value)? {
            return Ok(());
        }
        match key {
            "target_session_attrs" => match SessionAttrs::read(&value) {
                Some(attrs) => self.attrs = attrs,
                None => return refuse("target_session_attrs", SessionAttrs::ACCEPTED),
            },
            "load_balance_hosts" => match Balance::read(&value) {
                Some(balance) => self.balance = balance,
                None => return refuse("load_balance_hosts", Balance::ACCEPTED),
            },
            "connect_timeout" => {
                let seconds = value.parse().ok().filter(|seconds| *seconds > 0);
                let Some(seconds) = seconds else {
                    return refuse("connect_timeout", "expected a number of seconds greater than 0");
                };
                self.connect_timeout = Some(Duration::from_secs(seconds));
            }
            "application_name" => self.application_name = Some(value),
            "fallback_application_name" => self.fallback_application_name = Some(value),
            "options" => self.options.extend(options(&value)?),
            _ => return parameter::harmless(key, &value).unwrap_or_else(|| Err(parameter::refusal(key))),
        }
        Ok(())
    }

    /// The files that a login to `host` needs.
    pub(crate) fn files(&self, host: &Host) -> Files {
        self.tls.files(host.name.starts_with('/'))
    }

    /// Whether it names settings of the server.
    pub(crate) fn sets_options(&self) -> bool {
        !self.options.is_empty()
    }

    /// What sqlx needs to log in to `host`, apart from who logs in. Settings of the server that the URL names win over `defaults`.
    pub(crate) fn connect_options(&self, host: &Host, defaults: &[(&str, String)]) -> PgConnectOptions {
        let mut options = PgConnectOptions::new_without_pgpass()
            .port(host.port)
            // The server's own since PostgreSQL 12, and poolers refuse parameters that they do not know.
            .extra_float_digits(None);
        options = if host.name.starts_with('/') {
            options.socket(&host.name)
        } else {
            options.host(&host.name)
        };
        if let Some(database) = &self.database {
            options = options.database(database);
        }
        options = self.tls.apply(options, host.name.starts_with('/'));
        let defaults = defaults.iter().map(|(key, value)| (*key, value.as_str()));
        let own = self.options.iter().map(|(key, value)| (&**key, &**value));
        // Without any, not even an empty one is sent: a pooler would refuse it.
        for setting in defaults.chain(own) {
            options = options.options([setting]);
        }
        options
    }
}

/// A URL in its parts, as they are written.
#[derive(PartialEq, Eq)]
struct Parts<'a> {
    user: &'a str,
    password: &'a str,
    hosts: &'a str,
    database: &'a str,
    query: &'a str,
}

impl<'a> Parts<'a> {
    fn of(url: &'a str) -> Result<Self, UrlError> {
        let rest = url
            .strip_prefix("postgres://")
            .or_else(|| url.strip_prefix("postgresql://"))
            .ok_or(UrlError::Scheme)?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        Ok(Self {
            user,
            password,
            hosts,
            database,
            query,
        })
    }
}

/// The user and the password that a URL names.
pub(crate) fn login(url: &str) -> Result<(Option<String>, Option<String>), UrlError> {
    let Parts { user, password, .. } = Parts::of(url)?;
    Ok((non_empty(decode(user)?), non_empty(decode(password)?)))
}

/// Whether two URLs differ in nothing but the user and the password.
pub(crate) fn same_place(one: &str, other: &str) -> bool {
    let place = |url| {
        Parts::of(url).map(|parts| Parts {
            user: "",
            password: "",
            ..parts
        })
    };
    matches!((place(one), place(other)), (Ok(one), Ok(other)) if one == other)
}

fn non_empty(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

/// Reads a host, with the port of Postgres where none is said.
pub(crate) fn host(text: &str) -> Result<Host, UrlError> {
    let (name, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (name, after) = rest
                .split_once(']')
                .ok_or(UrlError::Malformed("an IPv6 address lacks its closing bracket"))?;
            (name, after.strip_prefix(':'))
        }
        None => match text.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (text, None),
        },
    };
    let name = decode(name)?;
    if name.is_empty() {
        return Err(UrlError::Malformed("a host is missing"));
    }
    let port = match port {
        Some(port) => port
            .parse()
            .map_err(|_| UrlError::Malformed("a port is not a number below 65536"))?,
        None => 5432,
    };
    Ok(Host { name, port })
}

fn decode(text: &str) -> Result<String, UrlError> {
    const ERROR: UrlError = UrlError::Malformed("a percent-encoded part is not valid");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        if byte == b'%' {
            let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
            let digits = digits.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
            bytes.push(u8::from_str_radix(digits.ok_or(ERROR)?, 16).map_err(|_| ERROR)?);
            rest = &after[2..];
        } else {
            bytes.push(byte);
            rest = after;
        }
    }
    String::from_utf8(bytes).map_err(|_| ERROR)
}

/// Reads `-c key=value -c key=value`, the form of libpq's `options` that names settings.
fn options(text: &str) -> Result<Vec<(String, String)>, UrlError> {
    let mut settings = Vec::new();
    let mut words = text.split_whitespace();
    while let Some(word) = words.next() {
        let setting = match word {
            "-c" => words.next(),
            _ => word.strip_prefix("-c").or_else(|| word.strip_prefix("--")),
        };
        let pair = setting.and_then(|setting| setting.split_once('='));
        let Some((key, value)) = pair else {
            return Err(UrlError::Parameter {
                parameter: "options",
                reason: "expected \"-c name=value\", without blanks in the value",
            });
        };
        settings.push((key.to_owned(), value.to_owned()));
    }
    Ok(settings)
}

/// A setting of the server in its own unit; 0 switches the limit off.
pub(crate) fn milliseconds(limit: WrittenDuration) -> String {
    limit.get().as_millis().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(url: &str) -> UrlError {
        match Target::parse(url) {
            Ok(_) => panic!("accepted: {url}"),
            Err(error) => error,
        }
    }

    #[test]
    fn several_hosts_a_percent_encoded_password_and_parameters_are_read() {
        let url = "postgres://app:p%40ss%2Fw@a:5433,b,[::1]:5434/ledger?target_session_attrs=read-write\
                   &sslmode=disable&application_name=risk&connect_timeout=3&options=-c%20search_path%3Drisk";
        let target = Target::parse(url).unwrap();
        let hosts: Vec<_> = target.hosts.iter().map(ToString::to_string).collect();
        assert_eq!(hosts, ["a:5433", "b:5432", "[::1]:5434"]);
        assert_eq!(
            login(url).unwrap(),
            (Some("app".to_owned()), Some("p@ss/w".to_owned()))
        );
        assert_eq!(target.database.as_deref(), Some("ledger"));
        assert_eq!(target.application_name.as_deref(), Some("risk"));
        assert_eq!(target.connect_timeout, Some(Duration::from_secs(3)));
        assert_eq!(target.options, [("search_path".to_owned(), "risk".to_owned())]);
        let options = target.connect_options(&target.hosts[2], &[]);
        assert_eq!((options.get_host(), options.get_port()), ("::1", 5434));
    }

    #[test]
    fn an_unknown_parameter_is_named_with_the_nearest_known_one() {
        let error = error("postgres://app@a/db?sslmodus=off");
        assert_eq!(
            error.to_string(),
            "url: unknown parameter \"sslmodus\"; did you mean sslmode?"
        );
        let error = self::error("postgres://app@a/db?target_session_attr=any").to_string();
        assert!(error.ends_with("did you mean target_session_attrs?"), "{error}");
        let error = self::error("postgres://app@a/db?bogus=1").to_string();
        assert_eq!(error, "url: unknown parameter \"bogus\"");
    }

    #[test]
    fn what_can_not_be_kept_is_refused_with_the_reason() {
        for (query, word) in [
            ("tcp_user_timeout=5", "socket"),
            ("keepalives_idle=5", "socket"),
            ("target_session_attrs=readwrite", "prefer-standby"),
            ("hostaddr=::1", "`resolver`"),
            ("channel_binding=require", "verify-full"),
            ("gssencmode=require", "Kerberos"),
            ("client_encoding=latin1", "UTF8"),
            ("dbname=x", "own place"),
            ("sslcrl=/x", "revocation"),
            ("sslmode=allow", "never use TLS"),
            ("connect_timeout=0", "greater than 0"),
            ("load_balance_hosts=sometimes", "disable or random"),
            ("options=search_path", "-c name=value"),
        ] {
            let error = error(&format!("postgres://app@a/db?{query}")).to_string();
            assert!(error.contains(word), "{query}: {error}");
        }
    }

    #[test]
    fn what_asks_for_nothing_is_accepted() {
        let url = "postgres://app@a/db?channel_binding=prefer&gssencmode=disable&client_encoding=UTF8\
                   &fallback_application_name=risk&load_balance_hosts=random&target_session_attrs=prefer-standby";
        let target = Target::parse(url).unwrap();
        assert_eq!(target.attrs, SessionAttrs::PreferStandby);
        assert_eq!(target.balance, Balance::Random);
        assert_eq!(target.fallback_application_name.as_deref(), Some("risk"));
    }

    #[test]
    fn a_place_is_a_url_without_its_user_and_password() {
        let place = "postgres://one:first@a,b:5433/db?sslmode=disable";
        assert!(same_place(
            place,
            "postgres://two:sec%40nd@a,b:5433/db?sslmode=disable"
        ));
        assert!(same_place(place, "postgresql://a,b:5433/db?sslmode=disable"));
        for other in [
            "postgres://one:first@a/db?sslmode=disable",
            "postgres://one:first@a,b:5433/other?sslmode=disable",
            "postgres://one:first@a,b:5433/db",
            "mysql://one:first@a,b:5433/db?sslmode=disable",
        ] {
            assert!(!same_place(place, other), "{other}");
        }
    }

    #[test]
    fn no_error_shows_the_password() {
        for url in [
            "mysql://app:hunter2@a/db",
            "postgres://app:hunter2@/db",
            "postgres://app:hunter2@a:99999/db",
            "postgres://app:hunter2%zz@a/db",
            "postgres://app:hunter2%@a/db",
            "postgres://app:hunter2@[::1/db",
            "postgres://app:hunter2@a,,b/db",
            "postgres://app:hunter2@a/db?bogus=hunter2",
            "postgres://app:hunter2@a/db?sslmode=hunter2",
            "postgres://app:12?hunter2@a/db",
            "postgres://app:12?hunter2=1@a/db",
            "postgres://app:12?hunter2&34@a/db",
            "postgres://app:1/2?hunter2&34@a/db",
            "postgres://app:12?hunter2%2F34",
        ] {
            let error = error(url);
            assert!(
                !format!("{error} {error:?}").contains("hunter2"),
                "{url}: {error}"
            );
        }
    }
}
