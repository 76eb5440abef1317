//! Where the server's programs are.

use std::path::{Path, PathBuf};

use crate::Error;

/// The directory with `postgres`, `initdb`, `pg_basebackup` and `pg_rewind`.
#[derive(Clone, Debug)]
pub(crate) struct Installation(PathBuf);

impl Installation {
    /// The newest of `/usr/lib/postgresql/<major>/bin` (Debian keeps several there), else what `pg_config` names.
    pub(crate) fn find() -> Result<Installation, Error> {
        newest(Path::new("/usr/lib/postgresql"))
            .or_else(by_pg_config)
            .map(Installation)
            .ok_or_else(|| Error::Missing {
                what: "a PostgreSQL server".into(),
                hint: "apt-get install postgresql, or put pg_config on the PATH".into(),
            })
    }

    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

fn newest(root: &Path) -> Option<PathBuf> {
    std::fs::read_dir(root)
        .ok()?
        .flatten()
        .filter_map(|entry| {
            Some((
                entry.file_name().to_str()?.parse::<u32>().ok()?,
                entry.path().join("bin"),
            ))
        })
        .filter(|(_, bin)| bin.join("postgres").exists())
        .max_by_key(|(major, _)| *major)
        .map(|(_, bin)| bin)
}

fn by_pg_config() -> Option<PathBuf> {
    let output = std::process::Command::new("pg_config")
        .arg("--bindir")
        .output()
        .ok()?;
    let bin = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
    bin.join("postgres").exists().then_some(bin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_is_a_number_and_not_a_word() {
        let root = tempfile::tempdir().unwrap();
        for (version, whole) in [("9", true), ("15", true), ("17", false), ("old", true)] {
            let bin = root.path().join(version).join("bin");
            std::fs::create_dir_all(&bin).unwrap();
            if whole {
                std::fs::write(bin.join("postgres"), "").unwrap();
            }
        }
        assert_eq!(newest(root.path()), Some(root.path().join("15/bin")));
    }
}
