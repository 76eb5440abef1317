//! A running child, and what can be done to it.

use std::fmt;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::keeper::Keeper;
use super::state::{ProcessId, ProcessState};
use super::tree::{await_states, stop_tree, tree_of};
use crate::Error;

/// A child process. Dropping it kills its whole tree and waits for the end.
///
/// The signalling methods block for as long as the kernel needs, which is well below a millisecond per process.
pub struct Process {
    name: String,
    id: ProcessId,
    child: Mutex<Child>,
    log: PathBuf,
    /// Outlives the process: the end of its thread is the parent-death signal.
    _keeper: Keeper,
}

/// Proof of a kill: these processes existed before, and none of them after.
#[derive(Clone, Debug, serde::Serialize)]
#[non_exhaustive]
pub struct Kill {
    /// The process by its name in the cluster.
    pub name: String,
    /// What lived before.
    pub processes: Vec<ProcessId>,
    /// How it was found to have ended, e.g. `signal: 9 (SIGKILL)`.
    pub status: String,
}

/// Proof of a freeze: every process of the tree was seen in state `T`.
#[derive(Clone, Debug, serde::Serialize)]
#[non_exhaustive]
pub struct Freeze {
    /// The process by its name in the cluster.
    pub name: String,
    /// The frozen tree, the main process first.
    pub processes: Vec<ProcessId>,
    /// The state all of them were seen in.
    pub state: ProcessState,
}

impl fmt::Display for Kill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} processes gone, {}",
            self.name,
            self.processes.len(),
            self.status
        )
    }
}

impl fmt::Display for Freeze {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} processes in state {}",
            self.name,
            self.processes.len(),
            self.state
        )
    }
}

impl Process {
    pub(crate) fn new(
        name: String,
        mut child: Child,
        log: PathBuf,
        keeper: Keeper,
    ) -> Result<Process, Error> {
        // Not waited for yet, so its number cannot have been taken by another.
        let Some(id) = ProcessId::of(child.id()) else {
            let _killed = child.kill();
            return Err(Error::refused(
                format!("find {name} in /proc"),
                "is /proc mounted?",
            ));
        };
        Ok(Process {
            name,
            id,
            child: Mutex::new(child),
            log,
            _keeper: keeper,
        })
    }

    /// The name it has in the cluster.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Number and start time of the main process.
    pub fn id(&self) -> ProcessId {
        self.id
    }

    /// State of the main process.
    pub fn state(&self) -> ProcessState {
        self.id.state()
    }

    /// The main process and its descendants, now.
    pub fn tree(&self) -> Vec<ProcessId> {
        tree_of(self.id)
    }

    /// The last lines that it printed.
    pub fn log_tail(&self) -> String {
        log_tail(&self.log)
    }

    /// How it ended; `None` while it runs.
    pub fn exit_status(&self) -> Option<ExitStatus> {
        self.lock().try_wait().ok().flatten()
    }

    /// Waits for the end of the main process.
    ///
    /// # Errors
    /// [`Error::NotReady`] after `limit`.
    pub async fn ended(&self, limit: Duration) -> Result<ExitStatus, Error> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.exit_status() {
                return Ok(status);
            }
            if start.elapsed() >= limit {
                return Err(Error::NotReady {
                    what: format!("{} to end", self.name),
                    waited: start.elapsed(),
                    last: self.state().to_string(),
                    log: self.log_tail(),
                });
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Sends SIGKILL to the main process and every descendant, as when the machine loses power.
    ///
    /// # Errors
    /// [`Error::Unproven`] when it was not running, or when one of them is still there after 5 s.
    pub fn kill9(&self) -> Result<Kill, Error> {
        // Stopped first: none of them sees another one die, and none is forked meanwhile.
        let processes = stop_tree(self.id);
        self.kill_all(processes, |processes| {
            processes.iter().for_each(|p| p.signal(Signal::KILL))
        })
    }

    /// Sends SIGKILL to the main process only; the proof also waits for the descendants, which must leave by themselves.
    ///
    /// # Errors
    /// [`Error::Unproven`] when it was not running, or when one of them is still there after 5 s.
    pub fn kill9_main(&self) -> Result<Kill, Error> {
        let processes = self.tree();
        self.kill_all(processes, |_| self.id.signal(Signal::KILL))
    }

    fn kill_all(&self, processes: Vec<ProcessId>, kill: impl FnOnce(&[ProcessId])) -> Result<Kill, Error> {
        if processes.is_empty() {
            return Err(Error::unproven(
                format!("kill -9 of {}", self.name),
                "it was not running",
            ));
        }
        kill(&processes);
        let status = self
            .lock()
            .wait()
            .map_err(Error::io(format!("wait for {}", self.name)))?;
        if !await_states(
            &processes,
            |state| state == ProcessState::Gone,
            Duration::from_secs(5),
        ) {
            return Err(Error::unproven(
                format!("kill -9 of {}", self.name),
                "a descendant still lives after 5 s",
            ));
        }
        Ok(Kill {
            name: self.name.clone(),
            processes,
            status: status.to_string(),
        })
    }

    /// Stops the main process and every descendant with SIGSTOP: sockets stay open, the kernel still accepts
    /// connections, nothing is answered.
    ///
    /// # Errors
    /// [`Error::Unproven`] when one of them is not in state `T`.
    pub fn freeze(&self) -> Result<Freeze, Error> {
        let processes = stop_tree(self.id);
        let main = self.state();
        let others = processes.iter().all(|p| p.state() != ProcessState::Alive);
        if main != ProcessState::Stopped || !others {
            return Err(Error::unproven(
                format!("freeze of {}", self.name),
                format!("main process is {main}"),
            ));
        }
        Ok(Freeze {
            name: self.name.clone(),
            processes,
            state: main,
        })
    }

    /// Continues the whole tree. The reverse of [`freeze`](Self::freeze); harmless on a running one.
    pub fn thaw(&self) {
        for process in self.tree() {
            process.signal(Signal::CONT);
        }
    }

    /// Sends SIGTERM to the main process.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Sends any signal to the main process.
    pub(crate) fn signal(&self, signal: Signal) {
        self.id.signal(signal);
    }

    fn lock(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        for process in stop_tree(self.id) {
            process.signal(Signal::KILL);
        }
        let _status = self.lock().wait();
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process")
            .field("name", &self.name)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// The last 2 KiB of a log, cut to whole lines.
pub(crate) fn log_tail(path: &Path) -> String {
    const TAIL: u64 = 2048;
    let read = || -> std::io::Result<String> {
        let mut file = std::fs::File::open(path)?;
        let start = file.metadata()?.len().saturating_sub(TAIL);
        file.seek(SeekFrom::Start(start))?;
        let mut bytes = Vec::new();
        file.take(TAIL).read_to_end(&mut bytes)?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Ok(match text.split_once('\n') {
            Some((_, whole)) if start > 0 => whole.to_owned(),
            _ => text,
        })
    };
    read().unwrap_or_else(|error| format!("({} cannot be read: {error})", path.display()))
}
