//! The keeper: spawns the children of one cluster and outlives the thread that asked for them.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use super::account::Account;
use super::directory::PrivateDirectory;
use super::launch::Launch;
use super::running::{Process, log_tail};
use super::warden::Warden;
use crate::Error;

/// Starts processes and keeps them, with a private directory for their files.
///
/// Cheap to clone; every [`Process`] holds a clone. When the last one is dropped the directory is removed.
#[derive(Clone)]
pub struct Keeper(Arc<Inner>);

struct Inner {
    // Dropped in this order: first no more spawning, then the warden sweeps, then the directory goes.
    thread: Spawner,
    _warden: Warden,
    directory: PrivateDirectory,
    account: Option<Account>,
}

impl Keeper {
    /// A keeper with an empty private directory, `hafnium-<prefix>-…` under the system's temporary directory.
    ///
    /// # Errors
    /// [`Error::Missing`] when there is no unprivileged user to run servers as, [`Error::Io`] otherwise.
    pub fn new(prefix: &str) -> Result<Keeper, Error> {
        let account = Account::for_servers()?;
        let directory = PrivateDirectory::new(prefix, account)?;
        let warden = Warden::post(directory.path())?;
        Ok(Keeper(Arc::new(Inner {
            thread: Spawner::start()?,
            _warden: warden,
            directory,
            account,
        })))
    }

    /// The private directory. It belongs to the servers' user.
    pub fn directory(&self) -> &Path {
        self.0.directory.path()
    }

    /// Creates a directory that the servers may write to, and its parents.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn create_dir(&self, name: &str) -> Result<PathBuf, Error> {
        self.0.directory.create(name)
    }

    /// Writes a file that only the servers' user may read (and root).
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write(&self, path: impl AsRef<Path>, content: &str) -> Result<(), Error> {
        self.0.directory.write(&self.directory().join(path), content)
    }

    /// Starts a process; standard output and error are appended to `<name>.log` in the private directory.
    ///
    /// # Errors
    /// [`Error::Missing`] without `setpriv`, [`Error::Io`] otherwise. A program that is missing shows as a process
    /// that ends at once: the first wait for it says so.
    pub fn spawn(&self, launch: &Launch) -> Result<Process, Error> {
        let path = self.directory().join(format!("{}.log", launch.name));
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(Error::io("open a log"))?;
        let copy = log.try_clone().map_err(Error::io("open a log twice"))?;
        let mut command = launch.command(self.0.account, self.directory());
        command.stdout(log).stderr(copy);
        let child = self
            .0
            .thread
            .spawn(command)
            .map_err(|source| match source.kind() {
                std::io::ErrorKind::NotFound => Error::Missing {
                    what: "setpriv".into(),
                    hint: "it comes with util-linux (2.33 or newer); apt-get install util-linux".into(),
                },
                _ => Error::Io {
                    doing: format!("start {}", launch.name),
                    source,
                },
            })?;
        Process::new(launch.name.clone(), child, path, self.clone())
    }

    /// Runs a program to its end, which must come with success within `limit`; returns what it printed.
    ///
    /// Cancel-safe: a dropped call kills the program.
    ///
    /// # Errors
    /// [`Error::Ended`] when it fails, [`Error::NotReady`] when it takes longer, and those of [`spawn`](Self::spawn).
    pub async fn run(&self, launch: &Launch, limit: Duration) -> Result<String, Error> {
        let log = self.directory().join(format!("{}.log", launch.name));
        // The answer is what this run prints, without that of an earlier one of the same name; there may be none.
        let _none = std::fs::remove_file(&log);
        let process = self.spawn(launch)?;
        let status = process.ended(limit).await?;
        if status.success() {
            return std::fs::read_to_string(&log).map_err(Error::io(format!("read {}", log.display())));
        }
        Err(Error::Ended {
            name: launch.name.clone(),
            status: status.to_string(),
            log: log_tail(&log),
        })
    }
}

/// The thread whose end is the parent-death signal of the children.
struct Spawner {
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
    thread: Option<JoinHandle<()>>,
}

struct Job {
    command: Command,
    reply: mpsc::Sender<std::io::Result<Child>>,
}

impl Spawner {
    fn start() -> Result<Spawner, Error> {
        let (jobs, incoming) = mpsc::channel::<Job>();
        let thread = std::thread::Builder::new()
            .name("hafnium-keeper".into())
            .spawn(move || {
                for Job { mut command, reply } in incoming {
                    // The caller waits for the answer and cannot be gone.
                    let _delivered = reply.send(command.spawn());
                }
            })
            .map_err(Error::io("start the keeper's thread"))?;
        Ok(Spawner {
            jobs: Mutex::new(Some(jobs)),
            thread: Some(thread),
        })
    }

    fn spawn(&self, command: Command) -> std::io::Result<Child> {
        let (reply, answer) = mpsc::channel();
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let ended = || std::io::Error::other("the keeper's thread has ended");
        jobs.ok_or_else(ended)?
            .send(Job { command, reply })
            .map_err(|_| ended())?;
        answer.recv().map_err(|_| ended())?
    }
}

impl Drop for Spawner {
    fn drop(&mut self) {
        self.jobs.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}
