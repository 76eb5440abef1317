//! Checks of values that are URLs, and how such a value shows without what may be secret in it.

/// Why `text` is no URL of one of these schemes; any scheme does when none is named. Never repeats the value.
///
/// Several hosts are accepted (`postgres://one:5432,two:5432/db`), as the clients of replicated servers take them;
/// the `url` crate does not.
pub(crate) fn reject(text: &str, schemes: &[&str]) -> Option<String> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return Some("not a URL: there is no `scheme://`".to_owned());
    };
    let well_formed = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    if !well_formed {
        return Some("not a URL: the scheme is malformed".to_owned());
    }
    if !schemes.is_empty() && !schemes.contains(&scheme) {
        return Some("a URL of another scheme".to_owned());
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let hosts = authority.rsplit_once('@').map_or(authority, |(_, hosts)| hosts);
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Some("not a URL: it holds a blank or a control character".to_owned());
    }
    hosts.split(',').find_map(reject_host).map(str::to_owned)
}

fn reject_host(host: &str) -> Option<&'static str> {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((name, "")) => (name, None),
            Some((name, port)) => (name, Some(port.strip_prefix(':').unwrap_or(port))),
            None => return Some("not a URL: an IPv6 address lacks its `]`"),
        },
        None => match host.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (host, None),
        },
    };
    if name.is_empty() {
        return Some("not a URL: a host is missing");
    }
    match port.map(str::parse::<u16>) {
        None => None,
        Some(Ok(port)) if port != 0 => None,
        Some(_) => Some("not a URL: a port is no number from 1 to 65535"),
    }
}

/// The text with `***` for a user, a password and the values behind `?`.
pub(crate) fn redact(text: &str) -> String {
    let (text, query) = match text.split_once('?') {
        Some((text, _)) => (text, "?***"),
        None => (text, ""),
    };
    let start = text.find("://").map_or(0, |at| at + 3);
    match text.rfind('@') {
        Some(at) if at >= start => format!("{}***{}{query}", &text[..start], &text[at..]),
        _ => format!("{text}{query}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_one_or_several_hosts_are_accepted() {
        for url in [
            "postgres://user:p%40ss@one:5432,two:5433/db?sslmode=disable",
            "redis://[::1]:6379/0",
            "http://collector",
            "postgres://user:p@ss@host/db",
        ] {
            assert_eq!(reject(url, &[]), None, "{url}");
        }
    }

    #[test]
    fn a_bad_url_is_explained_without_repeating_it() {
        for (url, reason) in [
            ("canary", "scheme://"),
            ("mysql://canary@host", "another scheme"),
            ("postgres://canary@host:54x2/db", "port"),
            ("postgres://canary@host:0/db", "port"),
            ("postgres://canary@host:70000/db", "port"),
            ("postgres://canary@/db", "host is missing"),
            ("postgres://canary@one,,two/db", "host is missing"),
            ("postgres://canary@[::1/db", "IPv6"),
            ("postgres://canary x@host/db", "blank"),
            ("9p://canary@host", "malformed"),
        ] {
            let message = reject(url, &["postgres", "9p"]).unwrap();
            assert!(message.contains(reason), "{url}: {message}");
            assert!(!message.contains("canary"), "{message}");
        }
    }

    #[test]
    fn what_shows_of_a_url_holds_no_credentials() {
        assert_eq!(
            redact("http://u:canary@host/a?token=canary"),
            "http://***@host/a?***"
        );
        assert_eq!(redact("http://host/a"), "http://host/a");
        assert_eq!(redact("u:canary@host"), "***@host");
    }
}
