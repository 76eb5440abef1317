//! The store that keeps secrets up to date.
//!
//! It fetches what is kept elsewhere before the service gets its settings, asks again in time, reads files when they
//! change, keeps the last good value whatever happens, and says how each secret stands: to `report`, to the health
//! check `secrets` and to the metrics.

mod clock;
mod entry;
mod files;
mod keeper;
mod meters;
mod open;
mod report;
mod schedule;
mod state;
mod watcher;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use self::clock::Clock;
use self::entry::{Entry, Use};
use self::keeper::Keeper;
use self::meters::Meters;
use self::schedule::{Schedule, Timing};
use super::provider::{Address, Provider};
use super::settings::SecretsSettings;
use super::source::Source;
use crate::config::Config;
use crate::context::Context;
use crate::deadline::Deadline;
use crate::health::{Check, Registration};
use crate::lifecycle::Progress;

pub use self::open::OpenError;
pub use self::report::SecretReport;
pub use self::state::SecretState;

/// How often the gauges are set.
const MEASURED_EVERY: Duration = Duration::from_secs(10);

/// The secrets of a service: fetches those kept elsewhere, follows all of them, and knows their age. Cheap to clone;
/// clones share.
#[derive(Clone)]
pub struct Secrets {
    shared: Arc<Shared>,
}

struct Shared {
    settings: SecretsSettings,
    providers: Vec<Arc<dyn Provider>>,
    clock: Clock,
    inner: Mutex<Inner>,
    /// Wakes the task that reads files.
    files: Arc<Notify>,
}

#[derive(Default)]
struct Inner {
    entries: Vec<Arc<Entry>>,
    /// Whether the store follows its secrets, and takes no others any more.
    following: bool,
    health: Option<Registration>,
}

impl Secrets {
    /// A store that keeps secrets as `settings` say and asks `providers`, of which the first that knows the scheme of a
    /// reference answers it.
    ///
    /// Must be called within a tokio runtime where tests pause its clock.
    pub fn new(settings: SecretsSettings, providers: Vec<Arc<dyn Provider>>) -> Self {
        Self {
            shared: Arc::new(Shared {
                settings,
                providers,
                clock: Clock::start(),
                inner: Mutex::default(),
                files: Arc::new(Notify::new()),
            }),
        }
    }

    /// A store without providers that follows nothing.
    pub fn none() -> Self {
        Self::new(SecretsSettings::default(), Vec::new())
    }

    /// Takes the secrets of `config` into the store and fetches those that are kept elsewhere and not there yet; after
    /// that its settings can be had. A source that can't be reached is asked again until `deadline`.
    ///
    /// Once for a service, and before [`Secrets::follow`]: a store that follows its secrets takes no others.
    ///
    /// Cancel-safety: what was fetched stays; calling it again goes on.
    ///
    /// # Errors
    /// [`OpenError::Refused`] with every key whose secret is missing, denied or of no use, and whatever the checks of
    /// the configuration say of the values; [`OpenError::Unavailable`] when a source could not be reached in time.
    pub async fn open(&self, config: &Config, deadline: Deadline) -> Result<(), OpenError> {
        self.open_telling(config, deadline, &Progress::new()).await
    }

    /// As [`Secrets::open`], and says in `progress`, which waits for it, why the last try came to nothing.
    ///
    /// Cancel-safety: as there.
    ///
    /// # Errors
    /// As there.
    pub async fn open_telling(
        &self,
        config: &Config,
        deadline: Deadline,
        progress: &Progress,
    ) -> Result<(), OpenError> {
        let pending: Vec<_> = config.pending().into_iter().map(|one| one.key).collect();
        if self.shared.inner().following {
            let late = |key| (key, "nothing fetches it: it came after the start".to_owned());
            return match pending.is_empty() {
                true => Ok(()),
                false => Err(config.refuse(pending.into_iter().map(late).collect()).into()),
            };
        }
        let entries = self.adopt(config);
        let keepers: Vec<_> = entries
            .iter()
            .filter(|entry| entry.secret.is_pending())
            .filter(|entry| entry.keys().iter().any(|key| pending.contains(key)))
            .filter_map(|entry| self.shared.keeper(entry))
            .collect();
        let some = !keepers.is_empty();
        let failed = open::fetch(keepers.iter().collect(), deadline, progress).await;
        let refused = failed
            .iter()
            .any(|(_, error)| error.kind != super::provider::FetchErrorKind::Unavailable);
        if refused {
            let reasons = failed.iter().flat_map(|(keeper, error)| {
                let keys = keeper.entry.keys();
                keys.into_iter().map(|key| (key, error.message.clone()))
            });
            return Err(config.refuse(reasons.collect()).into());
        }
        if !failed.is_empty() {
            return Err(OpenError::Unavailable {
                reason: open::reasons(&failed),
            });
        }
        self.shared.inner().entries = entries;
        match some {
            true => Ok(config.verify()?),
            false => Ok(()),
        }
    }

    /// Keeps everything up to date from now on: asks, reads files, and tells health and metrics. Once for a service.
    ///
    /// Must be called within a tokio runtime.
    pub fn follow(&self, cx: &Context) {
        let shared = self.shared.clone();
        let entries = {
            let mut inner = shared.inner();
            inner.following = true;
            let probed = Arc::downgrade(&shared);
            inner.health = Some(cx.health().register(Check::own("secrets"), move || {
                let probed = probed.upgrade();
                async move {
                    let reports = probed.map(|shared| shared.reports()).unwrap_or_default();
                    state::health(reports.iter().map(|one| (one.key.as_str(), one.state)))
                }
            }));
            inner.entries.clone()
        };
        for provider in &shared.providers {
            provider.observe(cx.metrics());
        }
        for entry in &entries {
            shared.attend(entry, cx);
        }
        cx.tasks().spawn(
            "secret files",
            files::run(Arc::downgrade(&shared), shared.files.clone()),
        );
        let measured = Arc::downgrade(&shared);
        cx.tasks().spawn("secret metrics", async move {
            while let Some(shared) = measured.upgrade() {
                shared.measure();
                drop(shared);
                tokio::time::sleep(MEASURED_EVERY).await;
            }
        });
    }

    /// Every key that holds a secret, in order, and how its secret stands.
    pub fn report(&self) -> Vec<SecretReport> {
        self.shared.reports()
    }

    /// Gives back what providers lent, best effort, by `deadline`.
    ///
    /// Cancel-safety: what was not given back yet ends by its own terms.
    pub async fn release(&self, deadline: Deadline) {
        let released = self
            .shared
            .providers
            .iter()
            .map(|provider| provider.release(deadline));
        let all = futures_util::future::join_all(released);
        if deadline.bound("the secrets to be given back", all).await.is_err() {
            tracing::debug!("not every secret that was lent could be given back in time");
        }
    }

    /// The entries of the secrets of `config`.
    fn adopt(&self, config: &Config) -> Vec<Arc<Entry>> {
        let mut entries: Vec<(Arc<Entry>, Vec<Use>)> = Vec::new();
        for one in config.secrets() {
            let secret = &one.leaf.secret;
            let one = Use {
                maximum_age: self.shared.settings.maximum_age(&one.key),
                rule: one.leaf.rule.clone(),
                key: one.key,
            };
            match entries.iter_mut().find(|(entry, _)| entry.secret == *secret) {
                Some((_, uses)) => uses.push(one),
                None => entries.push((self.shared.entry(secret), vec![one])),
            }
        }
        let entries = entries.into_iter().map(|(entry, uses)| {
            entry.used_by(uses);
            entry
        });
        entries.collect()
    }
}

impl Shared {
    /// Held for a few instructions only, and never over an await.
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn entry(&self, secret: &super::Secret) -> Arc<Entry> {
        let timing = Timing {
            refresh: self.settings.refresh.get(),
            stale_grace: self.settings.stale_grace.get(),
        };
        let wake = match secret.source() {
            Source::File(_) => self.files.clone(),
            _ => Arc::new(Notify::new()),
        };
        let schedule = Schedule::new(timing, Instant::now());
        Arc::new(Entry::new(
            secret.clone(),
            wake,
            schedule,
            self.clock,
            Meters::default(),
        ))
    }

    fn keeper(&self, entry: &Arc<Entry>) -> Option<Keeper> {
        let Source::Remote(address) = entry.secret.source() else {
            return None;
        };
        Some(Keeper {
            entry: entry.clone(),
            provider: self.provider(address),
            address: address.clone(),
            clock: self.clock,
        })
    }

    fn provider(&self, address: &Address) -> Option<Arc<dyn Provider>> {
        let answers = |provider: &&Arc<dyn Provider>| provider.schemes().contains(&address.scheme.as_str());
        self.providers.iter().find(answers).cloned()
    }

    /// Starts to keep one secret up to date.
    fn attend(&self, entry: &Arc<Entry>, cx: &Context) {
        entry.meter(Meters::new(cx.metrics(), &entry.keys()));
        match entry.secret.source() {
            Source::Remote(_) => {
                entry.slot().follow(entry.wake.clone());
                if let Some(keeper) = self.keeper(entry) {
                    cx.tasks().spawn("secrets", keeper.run());
                }
            }
            Source::File(_) => {
                entry.slot().follow(entry.wake.clone());
                self.files.notify_one();
            }
            Source::Literal | Source::Variable(_) => {}
        }
    }

    fn reports(&self) -> Vec<SecretReport> {
        let now = Instant::now();
        let entries = self.inner().entries.clone();
        let reports = entries.iter().flat_map(|entry| entry.reports(now, self.clock));
        let mut reports: Vec<_> = reports.collect();
        reports.sort_by(|one, other| one.key.cmp(&other.key));
        reports
    }

    fn measure(&self) {
        let now = Instant::now();
        let entries = self.inner().entries.clone();
        for entry in entries {
            entry.measure(now, self.clock);
        }
    }
}

impl Default for Secrets {
    /// [`Secrets::none`].
    fn default() -> Self {
        Self::none()
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets")
    }
}
