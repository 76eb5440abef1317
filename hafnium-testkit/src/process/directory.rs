//! The private directory of a cluster.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::account::Account;
use crate::Error;

/// Removed on drop, readable by the servers' user and by root only (servers keep passwords in it).
pub(crate) struct PrivateDirectory {
    directory: TempDir,
    account: Option<Account>,
}

impl PrivateDirectory {
    /// The prefix stays short: a Unix socket's path must fit into 107 bytes.
    pub(crate) fn new(prefix: &str, account: Option<Account>) -> Result<PrivateDirectory, Error> {
        let directory = tempfile::Builder::new()
            .prefix(&format!("hafnium-{prefix}-"))
            .tempdir()
            .map_err(Error::io("create a private directory"))?;
        if let Some(account) = account {
            account.own(directory.path())?;
        }
        Ok(PrivateDirectory { directory, account })
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn create(&self, name: &str) -> Result<PathBuf, Error> {
        let path = self.path().join(name);
        std::fs::create_dir_all(&path).map_err(Error::io(format!("create {}", path.display())))?;
        self.hand_over(&path)?;
        Ok(path)
    }

    pub(crate) fn write(&self, path: &Path, content: &str) -> Result<(), Error> {
        use std::os::unix::fs::PermissionsExt;
        let doing = || format!("write {}", path.display());
        std::fs::write(path, content).map_err(Error::io(doing()))?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(Error::io(doing()))?;
        self.hand_over(path)
    }

    fn hand_over(&self, path: &Path) -> Result<(), Error> {
        match self.account {
            Some(account) => account.own(path),
            None => Ok(()),
        }
    }
}
