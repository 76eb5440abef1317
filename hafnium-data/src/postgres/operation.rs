//! One operation on a leased connection: bounded by its deadline, ended by a cut, and judged by its error.

use std::future::Future;
use std::pin::{Pin, pin};

use hafnium_core::{Deadline, Outcome};
use sqlx::Connection as _;
use tokio::time::{Instant, Sleep};

use super::client::Client;
use super::error::Detail;
use super::pool::{Lease, Node};
use super::sqlstate::{Consequence, Verdict};
use super::tenure::Cut;

/// Runs `operation`, which uses the connection of a lease, until `deadline` or a cut. If that comes first the
/// operation is dropped and its outcome is `otherwise`.
///
/// The cut is looked at first at each poll: what a deposed node answers is never acknowledged.
pub(crate) async fn guarded<T>(
    cut: &Cut,
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
    cut: &Cut,
    node: &str,
    alarm: Pin<&mut Sleep>,
    waited_for: &'static str,
    otherwise: Outcome,
    operation: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    let begun = Instant::now();
    tokio::select! {
        biased;
        reason = cut.made() => {
            Err(Detail::Cut { node: node.to_owned(), reason, outcome: otherwise }.into())
        }
        result = operation => result,
        () = alarm => {
            Err(Detail::Deadline { waited_for, waited: begun.elapsed(), outcome: otherwise }.into())
        }
    }
}

/// To be asked before an operation begins: once `cut` has been made nothing of it is sent, which is `outcome`.
///
/// # Errors
/// [`Detail::Cut`].
pub(crate) fn uncut(cut: &Cut, node: &str, outcome: Outcome) -> Result<(), sqlx::Error> {
    if let Some(reason) = cut.is_made() {
        let node = node.to_owned();
        return Err(Detail::Cut {
            node,
            reason,
            outcome,
        }
        .into());
    }
    Ok(())
}

impl Client {
    /// Decides what becomes of the connection and its node after an operation, from the [`Verdict`] on its error.
    pub(crate) fn judge(&self, lease: &mut Lease, verdict: Option<&Verdict>) {
        match verdict.map_or(Consequence::Keep, |verdict| verdict.consequence) {
            Consequence::Keep => lease.settle(),
            gone => self.blame(lease.node(), gone),
        }
    }

    /// The same, and keeps a connection whose prepared statements are stale, without them.
    pub(crate) async fn conclude(&self, lease: &mut Lease, verdict: Option<&Verdict>, deadline: Deadline) {
        match verdict.map(|verdict| verdict.consequence) {
            Some(Consequence::Forget) => forget_statements(lease, deadline).await,
            _ => self.judge(lease, verdict),
        }
    }

    /// What the end of a connection says of its node.
    pub(crate) fn blame(&self, node: &Node, consequence: Consequence) {
        match consequence {
            Consequence::Suspect => self.monitor.suspect(node.id),
            Consequence::Hint if node.ended_together() => self.monitor.suspect(node.id),
            _ => {}
        }
    }
}

/// Forgets the prepared statements of a connection, which then is as new. If that does not work by `deadline` the lease
/// stays busy, so that the connection is closed.
pub(crate) async fn forget_statements(lease: &mut Lease, deadline: Deadline) {
    let (cut, node) = (lease.cut(), lease.node().clone());
    let forget = lease.connection().link.clear_cached_statements();
    let waited_for = "the end of prepared statements";
    let forgotten = guarded(&cut, &node.label, deadline, waited_for, Outcome::NotRun, forget).await;
    if forgotten.is_ok() {
        lease.settle();
    }
}
