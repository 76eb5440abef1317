//! The lock file: which containers a run owns, so that the next one can remove those of a run that was killed.
//!
//! A name is written before its container is created: there is no moment at which a kill leaves an unknown one.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::Error;
use crate::process::{ProcessId, ProcessState};

#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Content {
    pid: u32,
    /// Start time of the process: a pid is reused.
    started: u64,
    /// A container outlives a reboot, its owner does not.
    boot: String,
    containers: Vec<String>,
}

/// Removed on drop.
#[derive(Debug)]
pub(crate) struct Lock {
    path: PathBuf,
    content: Mutex<Content>,
}

/// Where the lock files of this user are: `$XDG_STATE_HOME/hafnium/dev`, by default under `~/.local/state`.
pub(crate) fn directory() -> PathBuf {
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).or_else(|| {
        let home = std::env::var_os("HOME").filter(|home| !home.is_empty())?;
        Some(Path::new(&home).join(".local/state"))
    });
    match state {
        Some(state) => state.join("hafnium/dev"),
        None => std::env::temp_dir().join(format!("hafnium-dev-{}", rustix::process::geteuid().as_raw())),
    }
}

impl Lock {
    pub(crate) fn create(directory: &Path, service: &str) -> Result<Lock, Error> {
        std::fs::create_dir_all(directory).map_err(Error::io(format!("create {}", directory.display())))?;
        let me = ProcessId::of(std::process::id());
        let content = Content {
            pid: std::process::id(),
            started: me.map_or(0, |me| me.started),
            boot: boot_id(),
            containers: Vec::new(),
        };
        // One process may hold several, e.g. one per test.
        let file = format!("{service}-{}-{:08x}.json", content.pid, fastrand::u32(..));
        let lock = Lock {
            path: directory.join(file),
            content: Mutex::new(content),
        };
        lock.write()?;
        Ok(lock)
    }

    /// Notes a container that is about to be created.
    pub(crate) fn add(&self, container: &str) -> Result<(), Error> {
        self.content
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .containers
            .push(container.to_owned());
        self.write()
    }

    /// Everything noted so far.
    pub(crate) fn containers(&self) -> Vec<String> {
        self.content
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .containers
            .clone()
    }

    fn write(&self) -> Result<(), Error> {
        let doing = format!("write {}", self.path.display());
        let json = {
            let content = self.content.lock().unwrap_or_else(PoisonError::into_inner);
            serde_json::to_vec(&*content).map_err(|error| Error::io(&doing)(error.into()))?
        };
        // Renamed into place: a reader never sees half of it.
        let part = self.path.with_extension("part");
        let written = std::fs::File::create(&part).and_then(|mut file| file.write_all(&json));
        written
            .and_then(|()| std::fs::rename(&part, &self.path))
            .map_err(Error::io(doing))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _gone = std::fs::remove_file(&self.path);
    }
}

/// What a run that is no more left behind.
#[derive(Debug)]
pub(crate) struct Abandoned {
    path: PathBuf,
    pub(crate) containers: Vec<String>,
}

impl Abandoned {
    /// All that dead runs of this user left, of any service.
    pub(crate) fn find(directory: &Path) -> Vec<Abandoned> {
        let Ok(entries) = std::fs::read_dir(directory) else {
            return Vec::new();
        };
        let boot = boot_id();
        entries
            .filter_map(|entry| {
                let path = entry.ok()?.path();
                let content: Content = serde_json::from_slice(&std::fs::read(&path).ok()?).ok()?;
                let owner = ProcessId {
                    pid: content.pid,
                    started: content.started,
                };
                let alive = content.boot == boot && owner.state() != ProcessState::Gone;
                (!alive).then_some(Abandoned {
                    path,
                    containers: content.containers,
                })
            })
            .collect()
    }

    /// Its containers are removed.
    pub(crate) fn forget(self) {
        let _gone = std::fs::remove_file(self.path);
    }
}

fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .unwrap_or_default()
        .trim()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewrite(path: &Path, change: impl FnOnce(&mut Content)) {
        let mut content: Content = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        change(&mut content);
        std::fs::write(path, serde_json::to_vec(&content).unwrap()).unwrap();
    }

    #[test]
    fn what_a_living_run_owns_is_not_abandoned() {
        let directory = tempfile::tempdir().unwrap();
        let lock = Lock::create(directory.path(), "svc").unwrap();
        lock.add("c1").unwrap();
        assert!(Abandoned::find(directory.path()).is_empty());
        drop(lock);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_reused_pid_and_another_boot_are_not_the_owner() {
        for change in [
            (|content: &mut Content| content.started += 1) as fn(&mut Content),
            |content| content.boot = "before".into(),
        ] {
            let directory = tempfile::tempdir().unwrap();
            let lock = Lock::create(directory.path(), "svc").unwrap();
            lock.add("c1").unwrap();
            rewrite(&lock.path, change);
            let mut abandoned = Abandoned::find(directory.path());
            assert_eq!(abandoned[0].containers, ["c1"]);
            abandoned.remove(0).forget();
            assert!(Abandoned::find(directory.path()).is_empty());
        }
    }
}
