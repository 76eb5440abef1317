//! libpq's variables as a URL: `PGHOST`, `PGPORT`, `PGUSER`, `PGPASSWORD`, `PGDATABASE`, `PGSSLMODE` and others.
//!
//! Where `DATABASE_URL` (or the key's own variable) says the URL, they complete what it leaves out, as libpq does, and
//! must not say anything else. Without `PGHOST` or `PGHOSTADDR` there is no URL to make.

use hafnium_core::config::{ComposeError, Composed, Parts};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// What may stand in any part of a URL as it is.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Variables that become a parameter behind the `?`.
const PARAMETERS: [(&str, &str); 8] = [
    ("PGSSLMODE", "sslmode"),
    ("PGSSLROOTCERT", "sslrootcert"),
    ("PGSSLCERT", "sslcert"),
    ("PGSSLKEY", "sslkey"),
    ("PGAPPNAME", "application_name"),
    ("PGCONNECT_TIMEOUT", "connect_timeout"),
    ("PGOPTIONS", "options"),
    ("PGTARGETSESSIONATTRS", "target_session_attrs"),
];

/// The variables of libpq for the key `url`.
pub(super) const LIBPQ: Composed = Composed {
    variables: &[
        "PGHOST",
        "PGHOSTADDR",
        "PGPORT",
        "PGUSER",
        "PGPASSWORD",
        "PGDATABASE",
        "PGSSLMODE",
        "PGSSLROOTCERT",
        "PGSSLCERT",
        "PGSSLKEY",
        "PGAPPNAME",
        "PGCONNECT_TIMEOUT",
        "PGOPTIONS",
        "PGTARGETSESSIONATTRS",
        "PGSERVICE",
    ],
    key: "url",
    compose,
};

/// A URL in its parts, as they are written; each may be missing.
#[derive(Default)]
struct Url {
    user: Option<String>,
    password: Option<String>,
    hosts: Option<String>,
    database: Option<String>,
    parameters: Vec<(String, String)>,
}

fn compose(parts: &Parts<'_>) -> Result<Option<String>, ComposeError> {
    if parts.get("PGSERVICE").is_some() {
        return Err(refused(
            "PGSERVICE",
            "service files are not read; set PGHOST and the others, or DATABASE_URL",
        ));
    }
    let variables = Url::of_variables(parts)?;
    match parts.stated() {
        None if variables.hosts.is_none() => Ok(None),
        None => Ok(Some(variables.write())),
        Some(stated) => match Url::read(stated) {
            Some(url) => url.completed(parts, variables).map(Some),
            // A reference: what it stands for can't be completed, and is not contradicted by a login of its own.
            None if variables.hosts.is_some() => Err(ComposeError::Contradicts("PGHOST")),
            None => Ok(None),
        },
    }
}

fn refused(variable: &'static str, reason: &'static str) -> ComposeError {
    ComposeError::Refused { variable, reason }
}

impl Url {
    fn of_variables(parts: &Parts<'_>) -> Result<Self, ComposeError> {
        let escaped = |name: &str| {
            parts
                .get(name)
                .map(|text| utf8_percent_encode(text, ESCAPED).to_string())
        };
        let parameters = PARAMETERS.iter().filter_map(|(name, key)| {
            let value = parts.get(name)?;
            Some(((*key).to_owned(), utf8_percent_encode(value, ESCAPED).to_string()))
        });
        Ok(Self {
            user: escaped("PGUSER"),
            password: escaped("PGPASSWORD"),
            hosts: hosts(parts)?,
            database: escaped("PGDATABASE"),
            parameters: parameters.collect(),
        })
    }

    /// A URL of one of the schemes; none for anything else, such as a reference.
    fn read(text: &str) -> Option<Self> {
        let rest = text
            .strip_prefix("postgres://")
            .or_else(|| text.strip_prefix("postgresql://"))?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        let parameters = pairs.map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (key.to_owned(), value.to_owned())
        });
        Some(Self {
            user: some(user),
            password: some(password),
            hosts: some(hosts),
            database: some(database),
            parameters: parameters.collect(),
        })
    }

    /// This URL with what it leaves out; what both say must be the same.
    fn completed(mut self, parts: &Parts<'_>, other: Self) -> Result<String, ComposeError> {
        let host = if parts.get("PGHOST").is_some() {
            "PGHOST"
        } else {
            "PGHOSTADDR"
        };
        agree(&mut self.hosts, other.hosts, host)?;
        agree(&mut self.user, other.user, "PGUSER")?;
        agree(&mut self.password, other.password, "PGPASSWORD")?;
        agree(&mut self.database, other.database, "PGDATABASE")?;
        for ((variable, key), (_, value)) in PARAMETERS.iter().filter_map(|pair| {
            other
                .parameters
                .iter()
                .find(|(key, _)| key == pair.1)
                .map(|found| (*pair, found))
        }) {
            let mut said = self
                .parameters
                .iter()
                .find(|(known, _)| known == key)
                .map(|(_, said)| said.clone());
            let missing = said.is_none();
            agree(&mut said, Some(value.clone()), variable)?;
            if missing {
                self.parameters.push((key.to_owned(), value.clone()));
            }
        }
        Ok(self.write())
    }

    fn write(&self) -> String {
        let login = match (&self.user, &self.password) {
            (None, None) => String::new(),
            (user, None) => format!("{}@", user.as_deref().unwrap_or_default()),
            (user, Some(password)) => format!("{}:{password}@", user.as_deref().unwrap_or_default()),
        };
        let hosts = self.hosts.as_deref().unwrap_or_default();
        let database = self
            .database
            .as_ref()
            .map(|name| format!("/{name}"))
            .unwrap_or_default();
        let pairs: Vec<_> = self
            .parameters
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        let query = if pairs.is_empty() {
            String::new()
        } else {
            format!("?{}", pairs.join("&"))
        };
        format!("postgres://{login}{hosts}{database}{query}")
    }
}

/// Takes over what is missing; what both say must mean the same.
fn agree(
    held: &mut Option<String>,
    other: Option<String>,
    variable: &'static str,
) -> Result<(), ComposeError> {
    let decoded = |text: &str| percent_decode_str(text).collect::<Vec<u8>>();
    match (&held, other) {
        (Some(held), Some(other)) if decoded(held) != decoded(&other) => {
            Err(ComposeError::Contradicts(variable))
        }
        (None, other) => {
            *held = other;
            Ok(())
        }
        _ => Ok(()),
    }
}

/// `PGHOST` with `PGPORT`: lists of equal length, or one port for all.
fn hosts(parts: &Parts<'_>) -> Result<Option<String>, ComposeError> {
    let (variable, hosts) = match (parts.get("PGHOST"), parts.get("PGHOSTADDR")) {
        (Some(_), Some(_)) => {
            return Err(refused("PGHOSTADDR", "set PGHOST or PGHOSTADDR, not both"));
        }
        (Some(hosts), None) => ("PGHOST", hosts),
        (None, Some(hosts)) => ("PGHOSTADDR", hosts),
        (None, None) => return Ok(None),
    };
    let hosts: Vec<_> = hosts.split(',').map(str::trim).collect();
    let ports: Vec<_> = parts
        .get("PGPORT")
        .unwrap_or("5432")
        .split(',')
        .map(str::trim)
        .collect();
    if hosts.iter().any(|host| host.is_empty()) {
        return Err(refused(variable, "a host is missing"));
    }
    if ports.len() != 1 && ports.len() != hosts.len() {
        return Err(refused(
            "PGPORT",
            "expected one port, or as many as there are hosts",
        ));
    }
    if ports
        .iter()
        .any(|port| !port.parse::<u16>().is_ok_and(|port| port > 0))
    {
        return Err(refused("PGPORT", "a port is no number from 1 to 65535"));
    }
    let of_host = ports.iter().cycle();
    let hosts = hosts.iter().zip(of_host).map(|(host, port)| {
        if host.contains(':') {
            format!("[{}]:{port}", host.trim_matches(['[', ']']))
        } else {
            format!("{}:{port}", utf8_percent_encode(host, ESCAPED))
        }
    });
    Ok(Some(hosts.collect::<Vec<_>>().join(",")))
}
