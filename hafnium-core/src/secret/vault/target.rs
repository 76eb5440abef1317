//! What a reference means to Vault: a key of a document, or a role of the database engine. Pure.

use super::super::{Address, FetchError, FetchErrorKind};
use super::settings::Mounts;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// A key of a KV version 2 document; its only key when none is named.
    Document {
        mount: String,
        path: String,
        key: Option<String>,
    },
    /// A login that is made for us and lent.
    Lent { mount: String, role: String },
    /// A login whose password Vault rotates.
    Rotated { mount: String, role: String },
}

impl Target {
    /// Reads a reference.
    ///
    /// # Errors
    /// [`FetchErrorKind::Invalid`] with what is accepted.
    pub(super) fn parse(address: &Address, mounts: &Mounts) -> Result<Self, FetchError> {
        let invalid = |why: &str| FetchError {
            kind: FetchErrorKind::Invalid,
            message: format!("{address}: {why}"),
        };
        let path = address.path.trim_matches('/');
        if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(invalid("a path has no empty parts and none of `.` and `..`"));
        }
        match address.scheme.as_str() {
            "vault" => {
                let (mount, path) =
                    split_mount(path, &mounts.kv).ok_or_else(|| invalid("expected vault:mount/path#key"))?;
                // The API's own path, which `vault kv get -output-policy` and policies show.
                if path.starts_with("data/") {
                    return Err(invalid("leave out `data/` after the mount"));
                }
                Ok(Self::Document {
                    mount,
                    path,
                    key: address.key.clone(),
                })
            }
            scheme @ ("vault-db" | "vault-static") => {
                if address.key.is_some() {
                    return Err(invalid(
                        "a database login has no keys: leave out what follows `#`",
                    ));
                }
                let (mount, role) = path.rsplit_once('/').unwrap_or((&mounts.database, path));
                let (mount, role) = (mount.trim_matches('/').to_owned(), role.to_owned());
                Ok(match scheme {
                    "vault-db" => Self::Lent { mount, role },
                    _ => Self::Rotated { mount, role },
                })
            }
            _ => Err(invalid("not a reference to Vault")),
        }
    }
}

/// The longest of the named mounts that the path begins with, else its first part.
fn split_mount(path: &str, named: &[String]) -> Option<(String, String)> {
    let below = |mount: &str| {
        let mount = mount.trim_matches('/');
        let rest = path.strip_prefix(mount)?.strip_prefix('/')?;
        (!mount.is_empty()).then(|| (mount.to_owned(), rest.to_owned()))
    };
    named
        .iter()
        .filter_map(|mount| below(mount))
        .max_by_key(|(mount, _)| mount.len())
        .or_else(|| {
            let (mount, rest) = path.split_once('/')?;
            Some((mount.to_owned(), rest.to_owned()))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(scheme: &str, path: &str, key: Option<&str>) -> Result<Target, FetchError> {
        let mounts = Mounts {
            kv: vec!["teams/risk".to_owned(), "teams".to_owned()],
            ..Mounts::default()
        };
        let address = Address {
            scheme: scheme.to_owned(),
            path: path.to_owned(),
            key: key.map(str::to_owned),
        };
        Target::parse(&address, &mounts)
    }

    fn document(mount: &str, path: &str, key: Option<&str>) -> Target {
        Target::Document {
            mount: mount.to_owned(),
            path: path.to_owned(),
            key: key.map(str::to_owned),
        }
    }

    #[test]
    fn the_mount_is_the_first_part_or_the_longest_named_one() {
        let parse = |path| parse("vault", path, Some("k")).unwrap();
        assert_eq!(parse("kv/app/db"), document("kv", "app/db", Some("k")));
        assert_eq!(parse("teams/risk/db"), document("teams/risk", "db", Some("k")));
        assert_eq!(parse("teams/other"), document("teams", "other", Some("k")));
        assert_eq!(parse("teamsters/x"), document("teamsters", "x", Some("k")));
    }

    #[test]
    fn a_role_may_name_its_mount() {
        let role = |mount: &str| (mount.to_owned(), "app".to_owned());
        let (mount, app) = role("database");
        assert_eq!(
            parse("vault-db", "app", None),
            Ok(Target::Lent { mount, role: app })
        );
        let (mount, app) = role("db/eu");
        assert_eq!(
            parse("vault-static", "db/eu/app", None),
            Ok(Target::Rotated { mount, role: app })
        );
    }

    #[test]
    fn what_would_ask_for_something_else_is_refused() {
        for (scheme, path, key) in [
            ("vault", "onlymount", Some("k")),
            ("vault", "kv/a//b", Some("k")),
            ("vault", "kv/../sys/seal", Some("k")),
            ("vault", "kv/./a", Some("k")),
            ("vault", "kv/data/app", Some("k")),
            ("vault-db", "app", Some("password")),
            ("vault-db", "", None),
            ("aws-sm", "x", None),
        ] {
            let error = parse(scheme, path, key).unwrap_err();
            assert_eq!(error.kind, FetchErrorKind::Invalid, "{scheme}:{path}");
        }
    }
}
