//! Secrets in files: read again when their directory changes and every ten seconds besides, a mounted volume as a
//! whole.
//!
//! Kubernetes swaps the link `..data` to a new directory, so all files of a volume change in one instant, also those in
//! directories below it: they are read between two looks at that link and published together, or not at all. In any
//! other directory each file stands for itself.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use secrecy::SecretString;
use tokio::sync::Notify;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::Instant;

use super::Shared;
use super::clock::Clock;
use super::entry::Entry;
use super::watcher::Watcher;
use crate::secret::provider::{FetchError, FetchErrorKind, Material};
use crate::secret::reference::read_file;
use crate::secret::slot::publish_together;
use crate::secret::source::Source;
use crate::secret::value::Value;

/// How often files are read without a sign of a change: some file systems give none.
const EVERY: Duration = Duration::from_secs(10);

/// How long after the first sign of a change files are read: a file that is written in place is empty at first.
const SETTLE: Duration = Duration::from_millis(50);

/// The link that a kubelet swaps.
const SWAPPED: &str = "..data";

/// How long reading may take before what is held counts as out of reach: a network's file system may never answer.
const LIMIT: Duration = Duration::from_secs(5);

/// Reads the files of the store for as long as it is there.
pub(super) async fn run(store: Weak<Shared>, wake: Arc<Notify>) {
    let mut watcher = Watcher::new(wake.clone());
    loop {
        let Some(shared) = store.upgrade() else { return };
        let entries = shared.inner().entries.clone();
        let is_file = |entry: &Arc<Entry>| matches!(entry.secret.source(), Source::File(_));
        let entries: Vec<_> = entries.into_iter().filter(is_file).collect();
        if entries.is_empty() {
            drop(shared);
            wake.notified().await;
            continue;
        }
        let paths: BTreeSet<_> = entries.iter().map(|entry| path(entry).to_owned()).collect();
        let reading = tokio::task::spawn_blocking(move || {
            // Armed before it is read: a change in between is seen.
            watcher.arm(&paths);
            let snapshots = read(paths);
            (watcher, snapshots)
        });
        let snapshots;
        (watcher, snapshots) = match end(reading, &entries, shared.clock).await {
            Ok(read) => read,
            // A panic here is one of this task, which ends the service: nothing else would follow the files.
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => return,
            },
        };
        for snapshot in snapshots {
            take(snapshot, &entries, shared.clock);
        }
        drop(shared);
        tokio::select! {
            () = wake.notified() => tokio::time::sleep(SETTLE).await,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

/// Waits until the files are read, however long it takes, and says of the entries each [`LIMIT`] that their files can't
/// be reached.
async fn end<T>(mut reading: JoinHandle<T>, entries: &[Arc<Entry>], clock: Clock) -> Result<T, JoinError> {
    loop {
        if let Ok(read) = tokio::time::timeout(LIMIT, &mut reading).await {
            return read;
        }
        let now = Instant::now();
        for entry in entries {
            let late = FetchError {
                kind: FetchErrorKind::Unavailable,
                message: format!("secret file {:?}: not read within {LIMIT:?}", path(entry)),
            };
            entry.asks(now);
            let settled = entry.settle(Err(late), None, None, now, clock);
            entry.land(settled.err());
        }
    }
}

/// The directory whose files change together with this one: the nearest one above it that a kubelet swaps, or the one
/// it stands in.
pub(super) fn volume(path: &Path) -> &Path {
    let mut above = path.ancestors().skip(1);
    let swapped = above.find(|directory| std::fs::read_link(directory.join(SWAPPED)).is_ok());
    swapped.or(path.parent()).unwrap_or(path)
}

fn path(entry: &Entry) -> &Path {
    match entry.secret.source() {
        Source::File(path) => path,
        _ => Path::new(""),
    }
}

/// The files of one directory or volume, as they were in one instant where that can be known.
struct Snapshot {
    /// Whether they are to change together.
    whole: bool,
    files: Vec<(PathBuf, Result<Content, String>)>,
}

struct Content {
    text: SecretString,
    changed: Option<SystemTime>,
}

/// Reads the files, directory by directory. Blocks.
fn read(paths: BTreeSet<PathBuf>) -> Vec<Snapshot> {
    let mut directories: BTreeMap<PathBuf, Vec<PathBuf>> = BTreeMap::new();
    for path in paths {
        let directory = volume(&path).to_owned();
        directories.entry(directory).or_default().push(path);
    }
    let snapshots = directories.into_iter().map(|(directory, paths)| {
        let link = directory.join(SWAPPED);
        let mut before = std::fs::read_link(&link).ok();
        // A swap in the middle of the reading makes one more try; a directory that is swapped without end does not
        // exist, and what was read last is taken piece by piece then.
        for _ in 0..3 {
            let files = paths.iter().map(|path| (path.clone(), content(path))).collect();
            let after = std::fs::read_link(&link).ok();
            if before == after {
                let whole = after.is_some();
                return Snapshot { whole, files };
            }
            before = after;
        }
        let torn = || Err("the directory changes while it is read".to_owned());
        Snapshot {
            whole: true,
            files: paths.into_iter().map(|path| (path, torn())).collect(),
        }
    });
    snapshots.collect()
}

fn content(path: &Path) -> Result<Content, String> {
    let changed = std::fs::metadata(path).and_then(|metadata| metadata.modified());
    Ok(Content {
        text: read_file(path)?,
        changed: changed.ok(),
    })
}

/// Publishes what was read and is good: of a snapshot that is to change together all or nothing.
fn take(snapshot: Snapshot, entries: &[Arc<Entry>], clock: Clock) {
    let mut values = Vec::new();
    for (path, content) in &snapshot.files {
        // One file may be read both as a text and as a login.
        for entry in entries.iter().filter(|entry| self::path(entry) == path) {
            values.push((entry, value(entry, path, content)));
        }
    }
    let bad = values
        .iter()
        .find_map(|(entry, value)| Some((entry.keys().join(", "), value.as_ref().err()?)));
    if let Some((key, _)) = bad.filter(|_| snapshot.whole) {
        for (entry, value) in &mut values {
            let is_new = |value: &Value| entry.held().as_ref() != Some(value.version());
            if value.as_ref().is_ok_and(is_new) {
                *value = Err(invalid(
                    path(entry),
                    &format!("not taken without {key}, which is mounted with it"),
                ));
            }
        }
    }
    let now = Instant::now();
    let published = publish_together(|| {
        let values = values.into_iter();
        let published = values.map(|(entry, value)| (entry, value.map(|value| entry.slot().publish(value))));
        published.collect::<Vec<_>>()
    });
    for (entry, published) in published {
        entry.asks(now);
        let settled = entry.settle(published, None, None, now, clock);
        entry.land(settled.err());
    }
}

/// What a file's content is to the keys that hold it.
fn value(entry: &Entry, path: &Path, content: &Result<Content, String>) -> Result<Value, FetchError> {
    let content = content.as_ref().map_err(|reason| invalid(path, reason))?;
    let material = Material::Text(content.text.clone());
    let value = entry.slot().form.read(material, None, content.changed);
    entry.admit(value.map_err(|reason| invalid(path, &reason))?)
}

fn invalid(path: &Path, reason: &str) -> FetchError {
    FetchError {
        kind: FetchErrorKind::Invalid,
        message: format!("secret file {path:?}: {reason}"),
    }
}
