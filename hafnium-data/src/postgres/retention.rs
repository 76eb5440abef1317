//! Deletes the markers of [`exactly_once`](super::Postgres::exactly_once) that are older than they have to be.
//!
//! Every process that uses markers does so, and as many at once as there are: each skips the rows that another has
//! locked. Small batches, so that no transaction is long and none waits for a deletion for long.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hafnium_core::tasks::Tasks;

use super::view::View;

/// Rows per transaction.
const BATCH: u64 = 1000;
/// Between two full batches.
const BREATH: Duration = Duration::from_millis(100);

/// `at` was taken from the same server clock. The rows are chosen once, before the first is deleted: a plain `IN` might
/// be evaluated anew for each.
const DELETE: &str = "\
DELETE FROM hafnium_markers WHERE key = ANY (ARRAY(
    SELECT key FROM hafnium_markers
    WHERE at < now() - make_interval(secs => $1)
    ORDER BY at LIMIT 1000
    FOR UPDATE SKIP LOCKED))";

/// The job of one database. Begins with the first use of markers.
pub(crate) struct Retention {
    name: String,
    keep: Duration,
    tasks: Tasks,
    awake: AtomicBool,
}

impl Retention {
    /// `keep` of zero: for ever.
    pub(crate) fn new(component: &str, keep: Duration, tasks: &Tasks) -> Self {
        Self {
            name: format!("{component} markers"),
            keep,
            tasks: tasks.clone(),
            awake: AtomicBool::new(false),
        }
    }

    /// Starts the job if it does not run yet. It ends with the service's background tasks or its client.
    pub(crate) fn wake(&self, view: &View) {
        if self.keep.is_zero() || self.awake.swap(true, Ordering::Relaxed) {
            return;
        }
        let (view, keep) = (view.apart(), self.keep);
        let stop = view.client.stop.clone();
        self.tasks.spawn(&self.name, async move {
            stop.run_until_cancelled(delete_for_ever(view, keep)).await;
        });
    }
}

async fn delete_for_ever(view: View, keep: Duration) {
    let period = period(keep);
    loop {
        // From half a period to one and a half: replicas that started together drift apart.
        tokio::time::sleep(period.mul_f64(0.5 + fastrand::f64())).await;
        loop {
            let deleted = sqlx::query(DELETE).bind(keep.as_secs_f64()).execute(&view).await;
            match deleted {
                Ok(deleted) if deleted.rows_affected() >= BATCH => tokio::time::sleep(BREATH).await,
                Ok(_) => break,
                Err(error) => {
                    tracing::warn!(%error, "markers that are old enough could not be deleted; tried again later");
                    break;
                }
            }
        }
    }
}

/// Often enough that a twentieth too many is kept, and no more than an hour's.
fn period(keep: Duration) -> Duration {
    (keep / 20).clamp(Duration::from_millis(100), Duration::from_secs(3600))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_week_is_looked_after_each_hour_and_less_more_often() {
        assert_eq!(period(Duration::from_secs(7 * 86_400)), Duration::from_secs(3600));
        assert_eq!(period(Duration::from_secs(600)), Duration::from_secs(30));
        assert_eq!(period(Duration::from_millis(1)), Duration::from_millis(100));
    }
}
