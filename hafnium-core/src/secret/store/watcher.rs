//! Watches the directories of files, and goes on watching when a directory is replaced.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;

use super::files::volume;

/// Wakes when something changes in one of the directories. Works as well as it can: what it misses, the poll finds.
pub(super) struct Watcher {
    inner: Option<RecommendedWatcher>,
    /// What is watched, and which directory that was: a path may come to lead to another.
    armed: BTreeMap<PathBuf, (u64, u64)>,
}

impl Watcher {
    pub(super) fn new(wake: Arc<Notify>) -> Self {
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Reading the files is no change; it would wake us for ever.
            if event.is_ok_and(|event| !event.kind.is_access()) {
                wake.notify_one();
            }
        });
        let inner = watcher.inspect_err(|error| {
            tracing::warn!(%error, "files can't be watched; they are read every 10 s");
        });
        Self {
            inner: inner.ok(),
            armed: BTreeMap::new(),
        }
    }

    /// Watches the directories of these files: where they stand, and where links lead. A directory that was replaced
    /// since the last call is watched anew. Blocks.
    pub(super) fn arm(&mut self, files: &BTreeSet<PathBuf>) {
        let Some(watcher) = &mut self.inner else { return };
        let wanted: BTreeSet<_> = files.iter().flat_map(|file| directories(file)).collect();
        let identity = |path: &Path| {
            let metadata = std::fs::metadata(path).ok()?;
            Some((metadata.dev(), metadata.ino()))
        };
        self.armed.retain(|path, known| {
            let keep = wanted.contains(path) && identity(path).as_ref() == Some(known);
            if !keep {
                // Where the directory is gone, so is its watch.
                let _ = watcher.unwatch(path);
            }
            keep
        });
        for path in wanted {
            if self.armed.contains_key(&path) {
                continue;
            }
            let Some(identity) = identity(&path) else { continue };
            match watcher.watch(&path, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.armed.insert(path, identity);
                }
                Err(error) => tracing::debug!(path = %path.display(), %error, "not watched"),
            }
        }
    }
}

/// The directory that a file stands in, the one that it really is in, and the one in which its volume is swapped.
fn directories(file: &Path) -> Vec<PathBuf> {
    let mut directories = Vec::new();
    directories.extend(file.parent().map(Path::to_owned));
    directories.push(volume(file).to_owned());
    let real = std::fs::canonicalize(file).ok();
    directories.extend(real.and_then(|real| real.parent().map(Path::to_owned)));
    directories
}
