//! One operation on a leased connection: bounded by its deadline, ended by a cut, and judged by its error.

use std::future::Future;
use std::pin::{Pin, pin};

use hafnium_core::{Deadline, Outcome};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::CancellationToken;

use super::client::Client;
use super::error::Detail;
use super::pool::Lease;
use super::sqlstate::{Consequence, Verdict};

/// Runs `operation`, which uses the connection of a lease, until `deadline` or a cut. If that comes first the
/// operation is dropped and its outcome is `otherwise`.
///
/// The cut is looked at first at each poll: what a deposed node answers is never acknowledged.
pub(crate) async fn guarded<T>(
    cut: &CancellationToken,
    node: &str,
    deadline: Deadline,
    waited_for: &'static str,
    otherwise: Outcome,
    operation: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    let alarm = pin!(tokio::time::sleep_until(deadline.instant()));
    guarded_by(cut, node, alarm, waited_for, otherwise, operation).await
}

/// As [`guarded`], with the alarm of the deadline, which is registered once however much is waited for under it.
pub(crate) async fn guarded_by<T>(
    cut: &CancellationToken,
    node: &str,
    alarm: Pin<&mut Sleep>,
    waited_for: &'static str,
    otherwise: Outcome,
    operation: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    let begun = Instant::now();
    tokio::select! {
        biased;
        () = cut.cancelled() => Err(Detail::Cut { node: node.to_owned(), outcome: otherwise }.into()),
        result = operation => result,
        () = alarm => {
            Err(Detail::Deadline { waited_for, waited: begun.elapsed(), outcome: otherwise }.into())
        }
    }
}

impl Client {
    /// Decides what becomes of the connection and its node after an operation, from the [`Verdict`] on its error.
    pub(crate) fn judge(&self, lease: &mut Lease, verdict: Option<&Verdict>) {
        match verdict.map_or(Consequence::Keep, |verdict| verdict.consequence) {
            Consequence::Keep => lease.settle(),
            Consequence::Discard => {}
            Consequence::Suspect => self.monitor.suspect(lease.node().id),
        }
    }
}
