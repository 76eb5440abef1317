//! Secrets that no rotation reaches: what `check` tells about them.

use std::ffi::OsStr;
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
/// or their directory is, mounted by `subPath`. Reads what is mounted and may block as files do.
pub fn fixed(config: &Config) -> Vec<Fixed> {
    let mounts = std::fs::read_to_string(MOUNTS).unwrap_or_default();
    let mounts = read(&mounts);
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

/// One line of `mountinfo`.
struct Mount {
    /// What of its file system is mounted.
    root: PathBuf,
    point: PathBuf,
}

fn reason(source: &Source, mounts: &[Mount]) -> Option<&'static str> {
    match source {
        Source::Variable(_) => Some(
            "an environment variable never changes while the process runs: a rotation needs a restart; a mounted \
             file is followed",
        ),
        Source::File(path) if is_mount(path, mounts) => Some(
            "this one file is mounted by itself (subPath), and such a mount never updates: a rotation needs a \
             restart; mount its directory",
        ),
        Source::File(path) if is_frozen(path, mounts) => Some(
            "one directory of a volume is mounted by itself (subPath), and such a mount never updates: a rotation \
             needs a restart; mount the whole volume",
        ),
        _ => None,
    }
}

/// The path as it is written, and where it really leads.
fn places(path: &Path) -> impl Iterator<Item = PathBuf> {
    [Some(path.to_owned()), std::fs::canonicalize(path).ok()]
        .into_iter()
        .flatten()
}

fn is_mount(path: &Path, mounts: &[Mount]) -> bool {
    places(path).any(|place| mounts.iter().any(|mount| mount.point == place))
}

/// Whether the file lies in a directory that a kubelet mounted out of one state of a volume, such as `..2026_11_21.1`:
/// the next state is another directory, which nobody mounts there. (The root of a whole volume may be another than `/`
/// as well, where it lies on the node's disk.)
fn is_frozen(path: &Path, mounts: &[Mount]) -> bool {
    let is_state = |part: &OsStr| part.as_encoded_bytes().starts_with(b"..") && part.len() > 2;
    places(path).any(|place| {
        // Of two mounts on one place the later one is seen.
        let under = mounts.iter().filter(|mount| place.starts_with(&mount.point));
        let mount = under.max_by_key(|mount| mount.point.components().count());
        mount.is_some_and(|mount| mount.root.iter().any(is_state))
    })
}

/// The fourth and fifth field of each line of `mountinfo`, in which blanks are written as `\040`.
fn read(mountinfo: &str) -> Vec<Mount> {
    let plain = |field: &str| {
        [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
            .iter()
            .fold(field.to_owned(), |text, (escape, plain)| {
                text.replace(escape, plain)
            })
    };
    let mounts = mountinfo.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(3).map(plain).map(PathBuf::from);
        Some(Mount {
            root: fields.next()?,
            point: fields.next()?,
        })
    });
    mounts.collect()
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
        let mounts = read(MOUNTINFO);
        let of = |path: &str| reason(&Source::File(path.into()), &mounts);
        assert!(of("/etc/db password").unwrap().contains("subPath"));
        assert_eq!(of("/etc/secrets/password"), None);
    }

    #[test]
    fn a_file_in_a_directory_that_is_mounted_by_itself_never_updates() {
        // A Secret lies in memory and a ConfigMap on the node's disk; of each the whole and a directory.
        let mounts = read("\
22 1 0:21 / / rw,relatime - overlay overlay rw
640 22 0:55 / /etc/whole rw,relatime - tmpfs tmpfs rw
641 22 0:55 /..2026_11_21_15_00_00.1000/tls /etc/part rw,relatime - tmpfs tmpfs rw
642 22 254:1 /var/lib/kubelet/pods/1/volumes/kubernetes.io~configmap/app /etc/disk rw - ext4 /dev/vda1 rw
643 22 254:1 /var/lib/kubelet/pods/1/volumes/kubernetes.io~configmap/app/..2026.1/tls /etc/disk/part rw - ext4 /dev/vda1 rw
644 641 0:56 / /etc/part/whole rw,relatime - tmpfs tmpfs rw
");
        let of = |path: &str| reason(&Source::File(path.into()), &mounts);
        for path in [
            "/etc/part/tls.key",
            "/etc/part/below/tls.key",
            "/etc/disk/part/tls.key",
        ] {
            assert!(of(path).unwrap().contains("directory of a volume"), "{path}");
        }
        for path in [
            "/etc/whole/tls.key",
            "/etc/disk/tls.key",
            "/etc/partly/tls.key",
            "/etc/part/whole/tls.key",
        ] {
            assert_eq!(of(path), None, "{path}");
        }
    }

    #[test]
    fn a_variable_never_changes_and_a_literal_is_not_worth_a_word() {
        let variable = Source::Variable("PASSWORD".to_owned());
        assert!(reason(&variable, &[]).unwrap().contains("needs a restart"));
        assert_eq!(reason(&Source::Literal, &[]), None);
    }
}
