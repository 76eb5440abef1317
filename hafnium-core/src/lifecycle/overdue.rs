//! The last resort of a stop: noticing from another thread that it does not end.
//!
//! A stop keeps its budget by timers, and they stand still when every thread of the service's runtime is blocked. So the
//! time is also kept where nothing of the service runs.

use std::future::Future;
use std::time::Duration;

use super::state::{State, Watch};

/// What a stop may take beyond its budget before it is given up; less than the reserve in the grace period.
const OVERRUN: Duration = Duration::from_secs(1);

/// Ends when the service was told to stop, by `asked` or by its own state, and has not stopped 1 s after `limit`. Otherwise
/// it never ends.
///
/// To be polled on a runtime that the service can't block. Cancel-safe, and begins anew when called again.
pub async fn overdue(lifecycle: &Watch, asked: impl Future<Output = ()>, limit: Duration) {
    tokio::select! {
        () = lifecycle.reached(State::Draining) => {}
        () = asked => {}
    }
    let stopped = lifecycle.reached(State::Stopped);
    if tokio::time::timeout(limit.saturating_add(OVERRUN), stopped)
        .await
        .is_ok()
    {
        std::future::pending::<()>().await;
    }
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
    async fn a_stop_that_ends_in_time_is_never_overdue_and_neither_is_a_service_that_runs() {
        let lifecycle = Lifecycle::new();
        let watch = lifecycle.watch();
        assert!(timeout(LONG, overdue(&watch, pending(), LIMIT)).await.is_err());
        lifecycle.advance(State::Draining);
        tokio::spawn(async move {
            tokio::time::sleep(LIMIT).await;
            lifecycle.advance(State::Stopped);
            pending::<()>().await;
        });
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
}
