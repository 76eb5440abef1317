//! Fetches what a configuration refers to elsewhere, before anything of it is given out.

use std::time::Duration;

use super::keeper::Keeper;
use crate::config::ConfigError;
use crate::deadline::Deadline;
use crate::lifecycle::Progress;
use crate::secret::provider::{FetchError, FetchErrorKind};

/// How long one question of the start may take: a place that is silent leaves time for another try.
const LIMIT: Duration = Duration::from_secs(10);

/// Why the secrets of a configuration could not be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A source answered that it has no such secret or does not give it, or what it gave can't be used. Exit code 78.
    #[error(transparent)]
    Refused(#[from] ConfigError),
    /// A source could not be reached before the deadline. Exit code 69.
    #[error("secrets: required source is unavailable: {reason}")]
    Unavailable {
        /// The keys, their references and what was seen.
        reason: String,
    },
}

/// Fetches the first value of each. Those whose source can't be reached are tried again until `deadline`; the first
/// round in which a source refuses is the last, so that everything it can tell is told at once.
///
/// Gives what failed: all of one kind, refusals before what was out of reach. `progress` says why it takes long.
pub(super) async fn fetch<'a>(
    mut pending: Vec<&'a Keeper>,
    deadline: Deadline,
    progress: &Progress,
) -> Vec<(&'a Keeper, FetchError)> {
    let mut attempts = 0;
    loop {
        let limit = LIMIT.min(deadline.remaining());
        let asked = pending.into_iter().map(async |keeper| {
            let asked = keeper.ask(keeper.entry.held(), limit).await;
            Some((keeper, asked.err()?))
        });
        let failed = futures_util::future::join_all(asked).await;
        let failed: Vec<_> = failed.into_iter().flatten().collect();
        let is_unavailable = |error: &FetchError| error.kind == FetchErrorKind::Unavailable;
        let (unavailable, refused): (Vec<_>, Vec<_>) =
            failed.into_iter().partition(|(_, error)| is_unavailable(error));
        if !refused.is_empty() || unavailable.is_empty() {
            return refused;
        }
        attempts += 1;
        let delay = backoff(attempts, fastrand::f64());
        if deadline.remaining() <= delay {
            return unavailable;
        }
        progress.failed(reasons(&unavailable));
        for (keeper, error) in &unavailable {
            tracing::warn!(
                secret = keeper.entry.keys().join(", "),
                left = ?deadline.remaining(),
                "{error}; trying again"
            );
        }
        tokio::time::sleep(delay).await;
        pending = unavailable.into_iter().map(|(keeper, _)| keeper).collect();
    }
}

/// The keys, their references and what was seen, on one line.
pub(super) fn reasons(failed: &[(&Keeper, FetchError)]) -> String {
    let reasons = failed
        .iter()
        .map(|(keeper, error)| format!("{}: {error}", keeper.entry.keys().join(", ")));
    reasons.collect::<Vec<_>>().join("; ")
}

/// 1 s doubled per failed round up to 4 s; a source is asked at most once a second.
fn backoff(attempts: u32, random: f64) -> Duration {
    let full = Duration::from_secs(1 << attempts.min(2));
    full.mul_f64(0.5 + random / 2.0)
}
