//! Parameters of a URL that libpq knows and this client does not keep, each with the reason; and the nearest known one
//! to a parameter that nobody knows.

use super::url::UrlError;

/// Everything that is kept.
const KEPT: [&str; 13] = [
    "target_session_attrs",
    "load_balance_hosts",
    "connect_timeout",
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "application_name",
    "fallback_application_name",
    "options",
    "client_encoding",
    "gssencmode",
    "channel_binding",
];

const SOCKET: &str =
    "the driver gives no access to the socket; the monitor finds dead peers within about a second";
const IN_THE_URL: &str = "it has its own place in a URL: postgres://user:password@host:port/database";
const BY_THE_LIBRARY: &str = "the TLS library decides on it";

/// What is refused, and why.
const REFUSED: [(&str, &str); 34] = [
    ("keepalives", SOCKET),
    ("keepalives_idle", SOCKET),
    ("keepalives_interval", SOCKET),
    ("keepalives_count", SOCKET),
    ("tcp_user_timeout", SOCKET),
    ("host", IN_THE_URL),
    ("port", IN_THE_URL),
    ("dbname", IN_THE_URL),
    ("user", IN_THE_URL),
    ("password", IN_THE_URL),
    (
        "hostaddr",
        "name the address as the host, or set `resolver` to ask name servers of your own",
    ),
    (
        "passfile",
        "password files are not read; use the password of the URL or a secret reference",
    ),
    ("service", "service files are not read; say it in the URL"),
    ("servicefile", "service files are not read; say it in the URL"),
    ("replication", "replication connections are not made"),
    (
        "require_auth",
        "the server decides on the method of authentication",
    ),
    ("requirepeer", "the owner of a socket is not checked"),
    (
        "sslnegotiation",
        "the driver asks for TLS in the way of PostgreSQL 16 and before",
    ),
    (
        "sslcompression",
        "compression under TLS is unsafe and not offered",
    ),
    ("sslpassword", "keys with a password are not read"),
    (
        "sslcertmode",
        "a certificate is sent when sslcert names one and the server asks",
    ),
    ("sslcrl", "revocation lists are not read"),
    ("sslcrldir", "revocation lists are not read"),
    ("sslsni", "the name of the server is always sent"),
    ("sslkeylogfile", "keys are not written down"),
    ("ssl_min_protocol_version", BY_THE_LIBRARY),
    ("ssl_max_protocol_version", BY_THE_LIBRARY),
    ("min_protocol_version", "the driver speaks protocol 3.0"),
    ("max_protocol_version", "the driver speaks protocol 3.0"),
    ("krbsrvname", "Kerberos is not offered"),
    ("gsslib", "Kerberos is not offered"),
    ("gssdelegation", "Kerberos is not offered"),
    ("scram_client_key", "a password is needed"),
    ("scram_server_key", "a password is needed"),
];

/// What to say of a parameter that is not kept.
pub(crate) fn refusal(key: &str) -> UrlError {
    if let Some((parameter, reason)) = REFUSED.iter().find(|(known, _)| *known == key) {
        return UrlError::Parameter { parameter, reason };
    }
    let all = KEPT.iter().chain(REFUSED.iter().map(|(known, _)| known));
    let nearest = all
        .map(|known| (strsim::damerau_levenshtein(key, known), *known))
        .min()
        // Farther than that it is a guess.
        .filter(|(distance, known)| *distance <= known.len().div_ceil(3))
        .map(|(_, known)| known);
    UrlError::UnknownParameter {
        parameter: key.to_owned(),
        nearest,
    }
}

/// Parameters of which one value asks for nothing: those are kept, the others refused.
pub(crate) fn harmless(key: &str, value: &str) -> Option<Result<(), UrlError>> {
    let (parameter, accepted, reason): (_, &[&str], _) = match key {
        "client_encoding" => (
            "client_encoding",
            &["auto", "utf8", "utf-8", "unicode"],
            "the driver speaks UTF8 only",
        ),
        "gssencmode" => (
            "gssencmode",
            &["disable", "prefer"],
            "Kerberos is not offered; say disable",
        ),
        "channel_binding" => (
            "channel_binding",
            &["disable", "prefer"],
            "the driver has no channel binding; sslmode=verify-full proves who the server is",
        ),
        _ => return None,
    };
    Some(if accepted.contains(&value.to_ascii_lowercase().as_str()) {
        Ok(())
    } else {
        Err(UrlError::Parameter { parameter, reason })
    })
}
