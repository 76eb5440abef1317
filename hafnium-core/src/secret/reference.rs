//! What a secret's text in a configuration stands for.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use secrecy::SecretString;
use secrecy::zeroize::Zeroize;

use super::address;
use super::provider::Address;

/// The most a secret's file may hold: far above any key or certificate chain, far below what would hurt.
const FILE_LIMIT_BYTES: usize = 1 << 20;

/// A secret's text, read as what it refers to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reference<'a> {
    /// The text is the value.
    Literal,
    /// `env:NAME`.
    Variable(&'a str),
    /// `file:/path`.
    File(&'a str),
    /// A place elsewhere, such as `vault:kv/db#password`.
    Remote(Address),
    /// Begins as a reference and can't be one, or this build has no source for it; says why. Taking it as a value would
    /// send it to a server.
    Refused(String),
}

impl<'a> Reference<'a> {
    pub(crate) fn parse(text: &'a str) -> Self {
        if let Some(name) = text.strip_prefix("env:") {
            return Self::Variable(name);
        }
        if let Some(path) = text.strip_prefix("file:") {
            return Self::File(path);
        }
        match address::parse(text) {
            Some(Ok(address)) => Self::Remote(address),
            Some(Err(reason)) => Self::Refused(reason),
            None => Self::Literal,
        }
    }
}

/// Reads the secret a file holds, without the newline at its end. The error says why and holds nothing of the file.
pub(crate) fn read_file(path: &Path) -> Result<SecretString, String> {
    if !path.is_absolute() {
        return Err("the path of a secret file must be absolute".to_owned());
    }
    let describe = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => "the file does not exist".to_owned(),
        io::ErrorKind::PermissionDenied => "the file may not be read by this user".to_owned(),
        _ => format!("the file can't be read ({})", error.kind()),
    };
    let file = File::open(path).map_err(describe)?;
    // Room for everything from the start: a buffer that grows leaves copies of the secret behind.
    let mut bytes = Vec::with_capacity(FILE_LIMIT_BYTES + 1);
    let read = file.take(FILE_LIMIT_BYTES as u64 + 1).read_to_end(&mut bytes);
    let secret = match read {
        Err(error) => Err(describe(error)),
        Ok(count) if count > FILE_LIMIT_BYTES => Err("the file is larger than 1MiB".to_owned()),
        Ok(_) => match std::str::from_utf8(&bytes) {
            Err(_) => Err("the file is not UTF-8 text".to_owned()),
            Ok(text) => match trim_newline(text) {
                "" => Err("the file is empty".to_owned()),
                text => Ok(SecretString::from(text)),
            },
        },
    };
    bytes.zeroize();
    secret
}

/// Without one newline at the end, as editors and `echo` leave it; everything else may belong to the value.
pub(crate) fn trim_newline(text: &str) -> &str {
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.strip_suffix('\r').unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_told_from_a_value() {
        assert_eq!(
            Reference::parse("env:DB_PASSWORD"),
            Reference::Variable("DB_PASSWORD")
        );
        assert_eq!(
            Reference::parse("file:/run/secrets/db"),
            Reference::File("/run/secrets/db")
        );
        for text in ["vault:kv/db#password", "vault-db:ledger"] {
            match Reference::parse(text) {
                Reference::Remote(address) if cfg!(feature = "vault") => {
                    assert_eq!(address.to_string(), text)
                }
                Reference::Refused(reason) => assert!(reason.contains("no source"), "{reason}"),
                other => panic!("{text}: {other:?}"),
            }
        }
        for value in [
            "",
            "hunter2",
            "postgres://u:p@host/db",
            "environment:x",
            "filed:/x",
            " env:X",
        ] {
            assert_eq!(Reference::parse(value), Reference::Literal, "{value}");
        }
    }

    #[test]
    fn one_newline_is_trimmed_and_nothing_else() {
        for (text, trimmed) in [
            ("a\n", "a"),
            ("a\r\n", "a"),
            ("a\n\n", "a\n"),
            (" a ", " a "),
            ("\n", ""),
        ] {
            assert_eq!(trim_newline(text), trimmed);
        }
    }
}
