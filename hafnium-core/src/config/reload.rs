//! Reads the sources again on SIGHUP and when one of them changed. A SIGHUP also asks for every secret again.
//!
//! Files are looked at every few seconds and compared by their content, not watched: a mounted ConfigMap is swapped by
//! links (`..data`), network file systems tell nobody of a change, and ten seconds are little beside the minute that a
//! kubelet takes. What changes is read once it has come to rest, so that a file in the middle of being written, or a
//! mounted tree between two snapshots, is no invalid configuration.

use std::time::Duration;

use futures_util::future::join_all;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::fingerprint::Fingerprint;
use super::live::{Live, Reloaded};
use super::loader::Loader;
use super::problem::{ConfigError, Problem};
use super::section::Section;
use super::units;
use crate::health::{Check, Registration, Status};
use crate::lifecycle::Hangups;
use crate::metrics::{Counter, Gauge};
use crate::{Context, Deadline};

/// How long a source must stay as it is before it is read.
const REST: Duration = Duration::from_millis(200);
/// How long the sources of secrets may take to answer a SIGHUP.
const REFRESH: Duration = Duration::from_secs(10);
/// What never rests is read as it is after this many looks.
const LOOKS: u32 = 10;

/// The section `reload`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ReloadSettings {
    /// How often the configuration's files are looked at for a change. Default `10s`; `0s`: never, only SIGHUP makes
    /// the service read them again.
    pub interval: units::Duration,
}

impl Default for ReloadSettings {
    fn default() -> Self {
        Self {
            interval: units::Duration::from_secs(10),
        }
    }
}

impl Section for ReloadSettings {
    const KEY: &'static str = "reload";
    type Settings = Self;
}

/// Keeps a [`Live`] configuration at what its sources say.
///
/// * health: the check `config` is degraded while the sources can't be taken, and names the keys;
/// * metrics: `hafnium.config.reloads` by `result` (`applied`, `unchanged`, `refused`), `hafnium.config.age` in seconds
///   since the sources were last found right, `hafnium.config.restart_keys`, the keys that wait for a restart.
#[must_use = "nothing is reloaded before it runs"]
pub struct Reloader {
    live: Live,
    loader: Loader,
    interval: Duration,
    reloads: [(&'static str, Counter); 3],
    age: Gauge,
    restart: Gauge,
    _check: Registration,
}

impl Reloader {
    /// Reloads the configuration of `context` from the sources of `loader`.
    pub fn new(context: &Context, loader: Loader, settings: &ReloadSettings) -> Self {
        let live = context.config().clone();
        let metrics = context.metrics();
        let reloads = metrics.counter(
            "hafnium.config.reloads",
            "{reload}",
            "Reloads of the configuration, by result: applied, unchanged, refused",
        );
        let reloads = ["applied", "unchanged", "refused"].map(|result| {
            let counter = reloads.with(&[("result", result)]);
            // Present from the start: an alert on a counter that does not exist yet never fires.
            counter.add(0);
            (result, counter)
        });
        let check = Check::own("config").informational().thresholds(1, 1);
        let checked = live.clone();
        let check = context.health().register(check, move || {
            std::future::ready(status(&checked, Instant::now()))
        });
        let reloader = Self {
            live,
            loader,
            interval: settings.interval.get(),
            reloads,
            age: metrics.gauge(
                "hafnium.config.age",
                "s",
                "Time since the configuration's sources were last found right",
            ),
            restart: metrics.gauge(
                "hafnium.config.restart_keys",
                "{key}",
                "Keys whose new value waits for a restart",
            ),
            _check: check,
        };
        reloader.measure();
        reloader
    }

    /// Runs for ever.
    ///
    /// Cancel-safe: a reload in the middle is finished on its blocking thread.
    pub async fn run(self, mut hangups: Hangups) {
        let mut seen = self.live.current().inner().fingerprint;
        let mut refused = None;
        loop {
            let asked = tokio::select! {
                () = hangups.next() => true,
                () = self.pause() => false,
            };
            let now = self.look().await;
            if asked {
                seen = now;
                refused = self.reload("SIGHUP", None).await;
                self.refresh_secrets().await;
            } else if now != seen {
                seen = self.rest(now).await;
                refused = self.reload("a changed source", None).await;
            } else if refused.is_some() {
                // What was wrong may lie elsewhere, such as a secret's file that is there by now.
                refused = self.reload("another try", refused).await;
            } else {
                self.live.confirm();
            }
            self.measure();
        }
    }

    /// Waits until the sources are to be looked at.
    async fn pause(&self) {
        match self.interval {
            Duration::ZERO => std::future::pending().await,
            interval => tokio::time::sleep(interval).await,
        }
    }

    /// Looks again until nothing changes any more.
    async fn rest(&self, mut seen: Option<Fingerprint>) -> Option<Fingerprint> {
        for _ in 0..LOOKS {
            tokio::time::sleep(REST).await;
            let now = self.look().await;
            if now == seen {
                break;
            }
            seen = now;
        }
        seen
    }

    async fn look(&self) -> Option<Fingerprint> {
        let loader = self.loader.clone();
        // No fingerprint, where the thread failed, differs from every one: then the sources are read.
        tokio::task::spawn_blocking(move || loader.fingerprint())
            .await
            .ok()
    }

    /// Reads the sources; gives why they were refused. The same refusal as `before` is neither said nor counted again.
    async fn reload(&self, because: &'static str, before: Option<ConfigError>) -> Option<ConfigError> {
        let (live, loader) = (self.live.clone(), self.loader.clone());
        let Ok(reloaded) = tokio::task::spawn_blocking(move || live.reload(&loader)).await else {
            tracing::error!(
                because,
                "the reload of the configuration panicked; the last good one stays in force"
            );
            return before;
        };
        if let Reloaded::Refused(error) = &reloaded
            && before.as_ref() == Some(error)
        {
            return before;
        }
        for (result, counter) in &self.reloads {
            if *result == reloaded.as_str() {
                counter.add(1);
            }
        }
        match reloaded {
            Reloaded::Unchanged => {
                tracing::info!(because, "configuration read again: nothing changed");
            }
            Reloaded::Changed { adopted, restart } => {
                tracing::info!(because, keys = adopted.join(", "), "configuration reloaded");
                for key in restart {
                    tracing::warn!(key, "this key changed and needs a restart to take effect");
                }
            }
            Reloaded::Refused(error) => {
                tracing::error!(because, "the last good configuration stays in force: {error}");
                return Some(error);
            }
        }
        None
    }

    /// Asks for every secret again, all at once; what is not followed is given as it is.
    async fn refresh_secrets(&self) {
        let config = self.live.current();
        let deadline = Deadline::after(REFRESH);
        let asked = config.secrets().into_iter().map(|one| async move {
            let refreshed = one.leaf.secret.refresh(deadline).await;
            refreshed.err().map(|error| (one.key, error))
        });
        for (key, error) in join_all(asked).await.into_iter().flatten() {
            tracing::warn!(
                key,
                "SIGHUP: the secret could not be asked for, the one in use stays: {error}"
            );
        }
    }

    fn measure(&self) {
        let standing = self.live.standing();
        self.age.set(standing.age(Instant::now()).as_secs_f64());
        self.restart.set(standing.restart.len() as f64);
    }
}

fn status(live: &Live, now: Instant) -> Status {
    let standing = live.standing();
    if standing.refused.is_empty() {
        return Status::Up;
    }
    let mut keys: Vec<&str> = standing.refused.iter().map(Problem::key).collect();
    keys.dedup();
    Status::Degraded(format!(
        "what the sources say is refused ({}); what was right {} s ago stays in force",
        keys.join(", "),
        standing.age(now).as_secs()
    ))
}
