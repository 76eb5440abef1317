//! Where the installed Kafka and Java are.

use std::path::{Path, PathBuf};

use crate::Error;

/// The release that `scripts/fetch-kafka` brings unless `KAFKA_VERSION` names another.
const VERSION: &str = "3.9.1";

/// A directory with `libs/*.jar`, and the archive of loaded classes where there is one.
#[derive(Clone, Debug)]
pub(super) struct KafkaHome {
    pub(super) java: PathBuf,
    home: PathBuf,
}

impl KafkaHome {
    /// The first place of those that the head of `scripts/fetch-kafka` lists.
    ///
    /// # Errors
    /// [`Error::Missing`] without Kafka, without Java, or when the servers' user may not read it.
    pub(super) fn locate() -> Result<KafkaHome, Error> {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let places = match variable("HAFNIUM_KAFKA_HOME") {
            Some(home) => vec![PathBuf::from(home)],
            None => {
                let version = std::env::var("KAFKA_VERSION").unwrap_or_else(|_| VERSION.into());
                let own = variable("XDG_CACHE_HOME")
                    .map(PathBuf::from)
                    .or_else(|| Some(PathBuf::from(variable("HOME")?).join(".cache")));
                [
                    variable("HAFNIUM_CACHE").map(PathBuf::from),
                    Some(PathBuf::from("/var/cache/hafnium")),
                    own.map(|cache| cache.join("hafnium")),
                ]
                .into_iter()
                .flatten()
                .map(|cache| cache.join(format!("kafka-{version}")))
                .collect()
            }
        };
        let Some(home) = places.iter().find(|home| has_broker(home)) else {
            let looked: Vec<_> = places.iter().map(|place| place.display().to_string()).collect();
            return Err(Error::Missing {
                what: "Apache Kafka".into(),
                hint: format!("run scripts/fetch-kafka (looked in {})", looked.join(", ")),
            });
        };
        readable_by_servers(home)?;
        Ok(KafkaHome {
            java: java().ok_or_else(|| Error::Missing {
                what: "Java".into(),
                hint: "apt-get install default-jre-headless (or run scripts/setup)".into(),
            })?,
            home: home.clone(),
        })
    }

    /// For `java -cp`.
    pub(super) fn class_path(&self) -> String {
        format!("{}/libs/*", self.home.display())
    }

    /// Class-data sharing: Java ignores an archive that does not fit, so it is safe to name.
    pub(super) fn archive_option(&self) -> Option<String> {
        let archive = self.home.join("classes.jsa");
        archive
            .is_file()
            .then(|| format!("-XX:SharedArchiveFile={}", archive.display()))
    }
}

fn has_broker(home: &Path) -> bool {
    std::fs::read_dir(home.join("libs"))
        .into_iter()
        .flatten()
        .flatten()
        .any(|entry| entry.file_name().to_string_lossy().starts_with("kafka_2."))
}

/// Java would only say that it cannot find the class `kafka.Kafka`.
fn readable_by_servers(home: &Path) -> Result<(), Error> {
    use std::os::unix::fs::PermissionsExt;
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let libs = std::path::absolute(home.join("libs")).map_err(Error::io("resolve Kafka's directory"))?;
    let closed = libs.ancestors().find(|directory| {
        std::fs::metadata(directory).is_ok_and(|metadata| metadata.permissions().mode() & 0o001 == 0)
    });
    match closed {
        None => Ok(()),
        Some(closed) => Err(Error::Missing {
            what: "a Kafka that another user than root may read".into(),
            hint: format!(
                "servers do not run as root, and {} is closed to others; fetch it to HAFNIUM_KAFKA_HOME=/var/cache/…",
                closed.display()
            ),
        }),
    }
}

fn java() -> Option<PathBuf> {
    let home = std::env::var_os("JAVA_HOME").map(|home| PathBuf::from(home).join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    home.into_iter()
        .chain(std::env::split_paths(&path))
        .map(|directory| directory.join("java"))
        .find(|java| java.is_file())
}
