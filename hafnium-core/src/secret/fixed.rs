//! Secrets that no rotation reaches: what `check` tells about them.

use std::fmt;
use std::path::{Path, PathBuf};

use super::source::Source;
use crate::config::Config;

/// Where Linux says what is mounted.
const MOUNTS: &str = "/proc/self/mountinfo";

/// A secret that keeps its value for as long as the process runs, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fixed {
    /// The key, such as `postgres.ledger.url`.
    pub key: String,
    /// Where the value comes from.
    pub source: Source,
    /// Why it never changes, and what to do where it should.
    pub reason: &'static str,
}

impl fmt::Display for Fixed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.key, self.source, self.reason)
    }
}

/// The secrets of `config` that never change while the process runs: those in environment variables, and files that are
/// mounted each by itself, as `subPath` does. Reads what is mounted and may block as files do.
pub fn fixed(config: &Config) -> Vec<Fixed> {
    let mounts = std::fs::read_to_string(MOUNTS).unwrap_or_default();
    let mounts = mount_points(&mounts);
    let secrets = config.secrets();
    let fixed = secrets.into_iter().filter_map(|one| {
        let source = one.leaf.secret.source();
        Some(Fixed {
            reason: reason(source, &mounts)?,
            source: source.clone(),
            key: one.key,
        })
    });
    fixed.collect()
}

fn reason(source: &Source, mounts: &[PathBuf]) -> Option<&'static str> {
    match source {
        Source::Variable(_) => Some(
            "an environment variable never changes while the process runs: a rotation needs a restart; a mounted \
             file is followed",
        ),
        Source::File(path) if is_mount(path, mounts) => Some(
            "this one file is mounted by itself (subPath), and such a mount never updates: a rotation needs a \
             restart; mount its directory",
        ),
        _ => None,
    }
}

fn is_mount(path: &Path, mounts: &[PathBuf]) -> bool {
    let real = std::fs::canonicalize(path);
    mounts
        .iter()
        .any(|mount| mount == path || real.as_ref().is_ok_and(|real| mount == real))
}

/// The fifth field of each line of `mountinfo`, in which blanks are written as `\040`.
fn mount_points(mountinfo: &str) -> Vec<PathBuf> {
    let fields = mountinfo.lines().filter_map(|line| line.split(' ').nth(4));
    let plain = |field: &str| {
        [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
            .iter()
            .fold(field.to_owned(), |text, (escape, plain)| {
                text.replace(escape, plain)
            })
    };
    fields.map(|field| PathBuf::from(plain(field))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTINFO: &str = "\
22 1 0:21 / / rw,relatime - overlay overlay rw
640 22 0:55 / /etc/secrets rw,relatime - tmpfs tmpfs rw
641 22 254:1 /var/lib/kubelet/pods/1/volume-subpaths/db/app/0 /etc/db\\040password ro,relatime - ext4 /dev/vda1 rw
";

    #[test]
    fn a_file_that_is_mounted_by_itself_never_updates() {
        let mounts = mount_points(MOUNTINFO);
        let of = |path: &str| reason(&Source::File(path.into()), &mounts);
        assert!(of("/etc/db password").unwrap().contains("subPath"));
        assert_eq!(of("/etc/secrets/password"), None);
    }

    #[test]
    fn a_variable_never_changes_and_a_literal_is_not_worth_a_word() {
        let variable = Source::Variable("PASSWORD".to_owned());
        assert!(reason(&variable, &[]).unwrap().contains("needs a restart"));
        assert_eq!(reason(&Source::Literal, &[]), None);
    }
}
