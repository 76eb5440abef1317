//! A volume as a kubelet mounts a ConfigMap or a Secret.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::Error;

/// A directory of files that are swapped all at once: `file → ..data/file`, `..data → ..<version>`, and a new version is
/// put in place by renaming a link over `..data`. The directory and its files belong to who calls.
#[derive(Debug)]
pub struct MountedVolume {
    path: PathBuf,
    version: u32,
}

impl MountedVolume {
    /// Mounts those files, by name and content, at `path`, which is made.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn mount(path: impl Into<PathBuf>, files: &[(&str, &str)]) -> Result<MountedVolume, Error> {
        let mut volume = MountedVolume {
            path: path.into(),
            version: 0,
        };
        fs::create_dir_all(&volume.path).map_err(Error::io("make a volume"))?;
        volume.swap(files)?;
        for (name, _) in files {
            symlink(format!("..data/{name}"), volume.path.join(name))
                .map_err(Error::io("link a file of a volume"))?;
        }
        Ok(volume)
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Replaces every file at once, and removes the version before.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn swap(&mut self, files: &[(&str, &str)]) -> Result<(), Error> {
        let before = self.directory();
        self.version += 1;
        let now = self.directory();
        fs::create_dir(self.path.join(&now)).map_err(Error::io("make a version of a volume"))?;
        for (name, content) in files {
            fs::write(self.path.join(&now).join(name), content)
                .map_err(Error::io("write a file of a volume"))?;
        }
        let (next, data) = (self.path.join("..data_tmp"), self.path.join("..data"));
        symlink(&now, &next).map_err(Error::io("link a version of a volume"))?;
        fs::rename(&next, &data).map_err(Error::io("put a version of a volume in place"))?;
        if self.version > 1 {
            fs::remove_dir_all(self.path.join(before)).map_err(Error::io("remove a version of a volume"))?;
        }
        Ok(())
    }

    fn directory(&self) -> String {
        format!("..2026_01_01_00_00_{:02}", self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_swap_replaces_every_file_behind_the_same_names() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("secrets");
        let mut volume = MountedVolume::mount(&path, &[("user", "a"), ("password", "1")]).unwrap();
        let read = |name: &str| fs::read_to_string(path.join(name)).unwrap();
        assert_eq!((read("user"), read("password")), ("a".into(), "1".into()));
        volume.swap(&[("user", "b"), ("password", "2")]).unwrap();
        assert_eq!((read("user"), read("password")), ("b".into(), "2".into()));
        let versions = fs::read_dir(&path).unwrap().filter_map(Result::ok);
        let versions = versions.filter(|entry| entry.file_name().to_string_lossy().starts_with("..2026"));
        assert_eq!(versions.count(), 1);
    }
}
