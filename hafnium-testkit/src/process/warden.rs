//! The warden: the part of the keeper that survives the test process.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::Error;

pub(crate) struct Warden {
    shell: Child,
}

impl Warden {
    /// Waits beside us for our end; then kills whatever works in `directory` and removes it.
    pub(crate) fn post(directory: &Path) -> Result<Warden, Error> {
        use std::os::unix::process::CommandExt;
        // The kernel shows working directories with symbolic links resolved.
        let directory = directory
            .canonicalize()
            .map_err(Error::io("resolve the private directory"))?;
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
        Ok(Warden { shell })
    }
}

impl Drop for Warden {
    /// Closes the pipe and waits: when this returns, everything is dead and the directory is gone.
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _status = self.shell.wait();
    }
}
