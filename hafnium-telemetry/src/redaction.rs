//! Fields whose name says that they hold a secret never leave the process, neither in a log line nor in a span.

/// What stands in the place of a secret.
pub(crate) const REDACTED: &str = "***";

/// Parts of a name that mean a secret. Rather a harmless field too many than a secret too few: `token_count` is
/// redacted as well, and can be named otherwise.
const MARKS: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "secret",
    "token",
    "authorization",
    "api_key",
    "api-key",
    "apikey",
    "private_key",
    "access_key",
    "credential",
    "cookie",
];

/// Whether a field of that name is redacted. Case does not matter.
pub(crate) fn is_secret(name: &str) -> bool {
    let name = name.as_bytes();
    (0..name.len()).any(|at| {
        let rest = &name[at..];
        MARKS
            .iter()
            .any(|mark| rest.len() >= mark.len() && rest[..mark.len()].eq_ignore_ascii_case(mark.as_bytes()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_means_a_secret_is_found_in_any_spelling() {
        for name in [
            "password",
            "db.PASSWORD",
            "x-api-key",
            "apiKey",
            "access_token",
            "Set-Cookie",
            "clientSecret",
        ] {
            assert!(is_secret(name), "{name}");
        }
        for name in [
            "",
            "user",
            "passenger",
            "key",
            "http.route",
            "author",
            "partition_key",
        ] {
            assert!(!is_secret(name), "{name}");
        }
    }
}
