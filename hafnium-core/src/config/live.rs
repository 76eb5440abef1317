//! The configuration in force, and how one hears of a new one.
//!
//! There is always one that was found valid: what can't be loaded or is wrong never replaces it.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::adopt::adopt;
use super::effective::Config;
use super::loader::Loader;
use super::problem::{ConfigError, Problem};

/// The configuration in force. Cheap to clone; every clone is the same one.
///
/// Only keys that say so (`x-reloadable` in their schema) change while the service runs. The value of another key
/// stays what it was at the start, also in [`Config::entries`], and is named in [`Standing::restart`].
#[derive(Clone)]
pub struct Live {
    shared: Arc<Shared>,
}

struct Shared {
    config: watch::Sender<Config>,
    standing: Mutex<Standing>,
}

/// How the configuration in force relates to what its sources say now.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Standing {
    /// What is wrong with what the sources say; empty where it could be taken. What was in force before serves on.
    pub refused: Vec<Problem>,
    /// The keys that the sources say differently, and that only a restart can change.
    pub restart: Vec<String>,
    confirmed: Instant,
}

impl Standing {
    /// How long ago the sources were last read and found right.
    pub fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.confirmed)
    }
}

/// What came of one reload.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reloaded {
    /// The sources say what is in force.
    Unchanged,
    /// The sources say something else. Only keys are named: a value may be secret.
    Changed {
        /// The keys that have their new value now.
        adopted: Vec<String>,
        /// The keys that keep their old value until a restart.
        restart: Vec<String>,
    },
    /// What the sources say is wrong; what was in force serves on.
    Refused(ConfigError),
}

impl Reloaded {
    /// A stable name for metrics: `unchanged`, `applied`, `refused`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Unchanged => "unchanged",
            Self::Changed { .. } => "applied",
            Self::Refused(_) => "refused",
        }
    }
}

impl Live {
    /// `config` is in force, and stays so until [`Live::reload`] finds another one.
    pub fn new(config: Config) -> Self {
        let standing = Standing {
            refused: Vec::new(),
            restart: Vec::new(),
            confirmed: Instant::now(),
        };
        Self {
            shared: Arc::new(Shared {
                config: watch::Sender::new(config),
                standing: Mutex::new(standing),
            }),
        }
    }

    /// The configuration in force. Take what is needed and ask again later; a kept copy is never renewed.
    pub fn current(&self) -> Config {
        self.shared.config.borrow().clone()
    }

    /// Follows the changes from now on.
    pub fn watch(&self) -> Changes {
        Changes {
            config: self.shared.config.subscribe(),
        }
    }

    /// How the configuration in force relates to what its sources said last.
    pub fn standing(&self) -> Standing {
        self.lock().clone()
    }

    /// Reads the sources of `loader` again, and takes over the reloadable keys when all of it is right.
    ///
    /// Blocks for as long as the file system does; call it on a blocking thread.
    pub fn reload(&self, loader: &Loader) -> Reloaded {
        let found = match loader.load() {
            Ok(found) => found,
            Err(error) => {
                self.lock().refused = error.problems().to_vec();
                return Reloaded::Refused(error);
            }
        };
        let (config, adopted, restart) = adopt(&self.current(), found);
        let mut standing = self.lock();
        let known = std::mem::replace(&mut standing.restart, restart.clone());
        let recovered = !std::mem::take(&mut standing.refused).is_empty();
        standing.confirmed = Instant::now();
        drop(standing);
        if adopted.is_empty() && restart == known {
            // Origins may have moved, such as a line of a file; nobody is to be woken for that.
            self.shared.config.send_if_modified(|held| {
                *held = config;
                false
            });
            tracing::debug!(recovered, "the configuration is what is in force");
            return Reloaded::Unchanged;
        }
        self.shared.config.send_replace(config);
        Reloaded::Changed { adopted, restart }
    }

    /// The sources were looked at and hold what was read last.
    pub(crate) fn confirm(&self) {
        let mut standing = self.lock();
        if standing.refused.is_empty() {
            standing.confirmed = Instant::now();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Standing> {
        self.shared
            .standing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").finish_non_exhaustive()
    }
}

/// Hears of every new configuration, of several in a row the last. Made by [`Live::watch`].
#[derive(Clone)]
pub struct Changes {
    config: watch::Receiver<Config>,
}

impl Changes {
    /// Waits for a configuration that is newer than the last one this gave; for ever where nothing reloads.
    ///
    /// Cancel-safe.
    pub async fn changed(&mut self) -> Config {
        if self.config.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        self.config.borrow_and_update().clone()
    }
}

impl fmt::Debug for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Changes").finish_non_exhaustive()
    }
}
