//! The last resort of a stop: noticing from another thread that it does not end.
//!
//! A stop keeps its budget by timers, and they stand still when every thread of the service's runtime is blocked. So the
//! time is also kept where nothing of the service runs.

use std::future::Future;
use std::time::Duration;

use super::state::{State, Watch};

/// What a stop may take beyond its budget before it is given up; less than the reserve in the grace period.
const OVERRUN: Duration = Duration::from_secs(1);

/// Ends 1 s after the service may have taken `limit` to stop since it was told to, by `asked` or by its own state. The state
/// [`Stopped`](State::Stopped) changes nothing: what comes after it may hang too.
///
/// To be polled on a thread that the service can't block, until the process ends. Cancel-safe, and begins anew when called
/// again.
pub async fn overdue(lifecycle: &Watch, asked: impl Future<Output = ()>, limit: Duration) {
    tokio::select! {
        () = lifecycle.reached(State::Draining) => {}
        () = asked => {}
    }
    tokio::time::sleep(limit.saturating_add(OVERRUN)).await;
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::time::{Instant, timeout};

    use super::*;
    use crate::lifecycle::Lifecycle;

    const LIMIT: Duration = Duration::from_secs(28);
    const LONG: Duration = Duration::from_secs(3600);

    #[tokio::test(start_paused = true)]
    async fn a_service_that_runs_is_never_overdue() {
        let lifecycle = Lifecycle::new();
        let watch = lifecycle.watch();
        assert!(timeout(LONG, overdue(&watch, pending(), LIMIT)).await.is_err());
        lifecycle.advance(State::Ready);
        assert!(timeout(LONG, overdue(&watch, pending(), LIMIT)).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_that_hangs_is_overdue_a_second_after_its_budget_also_if_only_the_signal_was_seen() {
        let lifecycle = Lifecycle::new();
        let watch = lifecycle.watch();
        let begun = Instant::now();
        overdue(&watch, std::future::ready(()), LIMIT).await;
        assert_eq!(begun.elapsed(), LIMIT + Duration::from_secs(1));
        lifecycle.advance(State::Stopping);
        overdue(&watch, pending(), LIMIT).await;
        assert_eq!(begun.elapsed(), (LIMIT + Duration::from_secs(1)) * 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_that_stays_after_its_service_has_stopped_is_overdue_too() {
        let lifecycle = Lifecycle::new();
        let watch = lifecycle.watch();
        let begun = Instant::now();
        lifecycle.advance(State::Draining);
        let stopped = async {
            tokio::time::sleep(Duration::from_secs(3)).await;
            lifecycle.advance(State::Stopped);
        };
        tokio::join!(overdue(&watch, pending(), LIMIT), stopped);
        assert_eq!(begun.elapsed(), LIMIT + Duration::from_secs(1));
    }
}
