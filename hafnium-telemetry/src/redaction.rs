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
    (0..name.len()).any(|at| match name[at..] {
        // Most places end here: all marks begin with one of these pairs.
        [first, second, ..] if begins_mark(first | 0x20, second | 0x20) => {
            let rest = &name[at..];
            MARKS.iter().any(|mark| {
                rest.len() >= mark.len() && rest[..mark.len()].eq_ignore_ascii_case(mark.as_bytes())
            })
        }
        _ => false,
    })
}

/// Whether any mark begins with these letters, in lower case.
fn begins_mark(first: u8, second: u8) -> bool {
    matches!(
        (first, second),
        (b'p', b'a' | b'w' | b'r')
            | (b's', b'e')
            | (b't', b'o')
            | (b'a', b'u' | b'p' | b'c')
            | (b'c', b'r' | b'o')
    )
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

    #[test]
    fn every_mark_is_looked_for_at_its_first_letters_whatever_their_case() {
        for mark in MARKS {
            assert!(is_secret(mark), "{mark}");
            assert!(is_secret(&format!("my.{}", mark.to_uppercase())), "{mark}");
        }
    }
}
