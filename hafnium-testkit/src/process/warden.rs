//! The warden: the part of the keeper that survives the test process.

use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use super::state::ProcessId;
use crate::Error;

pub(crate) struct Warden {
    shell: Mutex<Child>,
}

impl Warden {
    pub(crate) fn post(directory: &Path) -> Result<Warden, Error> {
        use std::os::unix::process::CommandExt;
        let shell = Command::new("/bin/sh")
            .args(["-c", include_str!("warden.sh")])
            .env("directory", directory)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(Error::io("start the warden (/bin/sh)"))?;
        Ok(Warden {
            shell: Mutex::new(shell),
        })
    }

    /// Names processes that must not outlive us. Those that end before are no matter: the start time tells.
    pub(crate) fn watch(&self, processes: &[ProcessId]) {
        let lines: String = processes
            .iter()
            .map(|p| format!("{} {}\n", p.pid, p.started))
            .collect();
        let mut shell = self.shell.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pipe) = shell.stdin.as_mut() {
            // A warden that was killed cannot be told; the parent-death signal still holds for the servers themselves.
            let _closed = pipe.write_all(lines.as_bytes());
        }
    }
}

impl Drop for Warden {
    /// Closes the pipe and waits: when this returns, everything named is dead and the directory is gone.
    fn drop(&mut self) {
        let shell = self.shell.get_mut().unwrap_or_else(PoisonError::into_inner);
        drop(shell.stdin.take());
        let _status = shell.wait();
    }
}
