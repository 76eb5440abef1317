//! One server: its data directory, its port, and the process when there is one.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::installation::Installation;
use crate::Error;
use crate::process::{Keeper, Launch, Process};

pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) port: u16,
    pub(crate) data: PathBuf,
    keeper: Keeper,
    installation: Installation,
    process: Mutex<Option<Arc<Process>>>,
}

impl Node {
    pub(crate) fn new(index: usize, port: u16, keeper: &Keeper, installation: &Installation) -> Node {
        let name = format!("n{}", index + 1);
        Node {
            data: keeper.directory().join(&name),
            name,
            port,
            keeper: keeper.clone(),
            installation: installation.clone(),
            process: Mutex::new(None),
        }
    }

    /// The process, also one that has ended.
    pub(crate) fn process(&self) -> Result<Arc<Process>, Error> {
        self.slot()
            .clone()
            .ok_or_else(|| Error::refused(format!("act on {}", self.name), "it was never started"))
    }

    pub(crate) fn runs(&self) -> bool {
        self.slot()
            .as_ref()
            .is_some_and(|process| process.exit_status().is_none())
    }

    /// Starts `postgres` itself, not `pg_ctl`, so that the postmaster is our child.
    pub(crate) fn launch(&self) -> Result<Arc<Process>, Error> {
        if self.runs() {
            return Err(Error::refused(format!("start {}", self.name), "it runs"));
        }
        // Of a killed predecessor; the number in it may belong to another process by now, and then the server would
        // refuse to start.
        let _none = std::fs::remove_file(self.data.join("postmaster.pid"));
        let launch = self
            .program("postgres", &self.name)
            .arg("-D")
            .arg(&self.data)
            .args(["-p", &self.port.to_string()])
            .args(["-c", &format!("cluster_name={}", self.name)]);
        let process = Arc::new(self.keeper.spawn(&launch)?);
        *self.slot() = Some(process.clone());
        Ok(process)
    }

    /// Runs one of the server's own programs to its end.
    pub(crate) async fn run(
        &self,
        program: &str,
        arguments: &[&str],
        limit: Duration,
    ) -> Result<String, Error> {
        let name = format!("{}-{program}", self.name);
        self.keeper
            .run(&self.program(program, &name).args(arguments), limit)
            .await
    }

    fn program(&self, program: &str, name: &str) -> Launch {
        Launch::new(name, self.installation.program(program))
    }

    /// Writes a file into the data directory.
    pub(crate) fn write(&self, file: &str, content: &str) -> Result<(), Error> {
        self.keeper.write(self.data.join(file), content)
    }

    fn slot(&self) -> MutexGuard<'_, Option<Arc<Process>>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
