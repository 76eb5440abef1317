//! Reads under a token: a replica is asked how far it is, on the connection that the read then uses.
//!
//! Invariant: a replica serves a read under a token only if it said on this very connection that it follows the token's
//! timeline and has replayed the token's position. Its position alone proves nothing: a standby that still follows a
//! deposed primary is past any position of the new one, on another history.
//!
//! What a connection proved once holds for as long as it lives: a server can leave a timeline only at a point that it
//! has not passed.

use std::sync::Arc;
use std::time::Duration;

use hafnium_core::{Deadline, Outcome};
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{Executor as _, Row};
use tokio::time::Instant;

use super::client::Client;
use super::error::{Detail, of_handle, verdict};
use super::line::Patience;
use super::monitor::Snapshot;
use super::operation::guarded;
use super::pool::{Lease, Node, Unavailable};
use super::route::{Leader, Reach, Route};
use super::settings::ReaderFallback;
use super::sqlstate::Stage;
use super::token::Token;

/// How far a replica is. Text without parameters: one round trip, and no statement to prepare.
///
/// `received_tli` is exact, and seen with the rights of `pg_read_all_stats` alone. Without them the control file tells
/// the timeline as it was at the last restart point, which is the old one for up to `checkpoint_timeout` after a
/// failover: until then such a replica proves nothing and the primary is read.
const QUESTION: &str = "SELECT pg_is_in_recovery(), \
    coalesce((SELECT received_tli FROM pg_stat_wal_receiver), \
        greatest((SELECT timeline_id FROM pg_control_checkpoint()), \
            (SELECT min_recovery_end_timeline FROM pg_control_recovery()))), \
    (pg_last_wal_replay_lsn() - '0/0'::pg_lsn)::bigint";

/// Between two questions to the same replica, at first and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(5);

/// How long one replica is waited for before the next is asked, where `rw_wait` is shorter. Breaking a question off costs
/// the connection, and a busy machine is no reason to.
const ONE_REPLICA: Duration = Duration::from_millis(250);

/// How much longer a question under way may take than the wait: breaking it off costs the connection.
const GRACE: Duration = Duration::from_millis(10);

/// How replicas are read from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reads {
    /// How long a read under a token waits for a replica.
    pub(crate) rw_wait: Duration,
    pub(crate) fallback: ReaderFallback,
}

impl Reads {
    fn waits_for_replicas(&self) -> bool {
        self.fallback == ReaderFallback::None
    }
}

/// How far a replica said it is, on one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Replayed {
    timeline: u32,
    position: u64,
}

impl Replayed {
    /// `None` of a server that is no replica or has replayed nothing.
    fn read(row: &PgRow) -> Option<Self> {
        let standby: bool = row.try_get(0).ok()?;
        let timeline: i32 = row.try_get(1).ok()?;
        let position: i64 = row.try_get(2).ok()?;
        let replayed = Self {
            timeline: u32::try_from(timeline).ok()?,
            position: u64::try_from(position).ok()?,
        };
        standby.then_some(replayed)
    }

    fn covers(&self, token: &Token) -> bool {
        self.timeline == token.timeline && self.position >= token.position
    }
}

impl Client {
    /// A connection to a replica that has what `token` stands for; `None` for the primary, after `rw_wait` at most.
    ///
    /// # Errors
    /// [`Detail::ForeignToken`]; [`Detail::NoNode`] when no primary was ever seen.
    pub(super) async fn replica_after(
        &self,
        token: &Token,
        route: &Route<'_>,
        deadline: Deadline,
        begun: Instant,
    ) -> Result<Option<Lease>, sqlx::Error> {
        let leader = self.leader(route, deadline, begun).await?;
        match token.reach(leader) {
            Reach::Replica => {}
            Reach::Primary => return Ok(None),
            Reach::Beyond => {
                // Someone may have seen a newer primary, or has made this up.
                self.monitor.heed_rumour();
                return Ok(None);
            }
            Reach::Foreign => {
                return Err(Detail::ForeignToken {
                    token: token.system,
                    cluster: leader.system,
                }
                .into());
            }
        }
        let end = match self.reads.waits_for_replicas() {
            true => deadline,
            false => deadline.min(Deadline::after(self.reads.rw_wait)),
        };
        let mut pause = FIRST_PAUSE;
        loop {
            if self.is_closed() {
                return Err(Detail::Closed.into());
            }
            let candidates = self.candidates(token, route);
            if candidates.is_empty() && !self.reads.waits_for_replicas() {
                return Ok(None);
            }
            for node in candidates {
                let patience = Deadline::after(self.reads.rw_wait.max(ONE_REPLICA));
                let lease = tokio::select! {
                    biased;
                    lease = self.ask(&node, token, route, end.min(patience)) => lease,
                    () = self.left(&node, token, route) => None,
                };
                if lease.is_some() {
                    return Ok(lease);
                }
            }
            if end.remaining() <= pause {
                return Ok(None);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn leader(
        &self,
        route: &Route<'_>,
        deadline: Deadline,
        begun: Instant,
    ) -> Result<Leader, sqlx::Error> {
        let mut snapshots = self.monitor.watch();
        let known = snapshots.wait_for(|snapshot| snapshot.leader.is_some());
        match self.unless_closed(deadline.bound("a primary", known)).await? {
            Ok(Ok(snapshot)) => snapshot.leader.ok_or_else(|| Detail::Closed.into()),
            Ok(Err(_)) => Err(Detail::Closed.into()),
            Err(_) => Err(self.no_node(route, begun)),
        }
    }

    /// Returns when `node` is none of the replicas to ask any more: it fell silent, for instance.
    async fn left(&self, node: &Node, token: &Token, route: &Route<'_>) {
        let left = |snapshot: &Snapshot| !route.candidates(snapshot, token).contains(&node.id);
        // The sender lives in the monitor, which this holds.
        let _ = self.monitor.watch().wait_for(left).await;
    }

    /// The replicas to ask: those of the own zone first, the least used of them first.
    fn candidates(&self, token: &Token, route: &Route<'_>) -> Vec<Arc<Node>> {
        let ids = route.candidates(&self.monitor.watch().borrow(), token);
        let mut nodes: Vec<_> = ids
            .into_iter()
            .filter_map(|id| self.monitor.node(id).cloned())
            .collect();
        nodes.sort_by_key(|node| (!self.monitor.zones.is_own(node.id), node.users()));
        nodes
    }

    /// A connection to `node` if it has what `token` stands for. Whatever goes wrong here is a reason to read elsewhere.
    async fn ask(&self, node: &Arc<Node>, token: &Token, route: &Route<'_>, end: Deadline) -> Option<Lease> {
        let patience = Patience {
            begun: Instant::now(),
            due: end.instant(),
        };
        let had = end.bound("a connection to a replica", node.checkout(patience));
        let mut lease = match had.await.ok()? {
            Ok(lease) => lease,
            Err(Unavailable::Login(error)) => {
                let _read_elsewhere = self.login_failed(node, &error);
                return None;
            }
            Err(Unavailable::Closed) => return None,
        };
        if !lease
            .peek()
            .replayed
            .is_some_and(|replayed| replayed.covers(token))
        {
            let (cut, limit) = (lease.cut(), end.max(Deadline::after(GRACE)));
            let question = question(&mut lease.connection().link);
            let answer = guarded(
                &cut,
                &node.label,
                limit,
                "how far a replica is",
                Outcome::NotRun,
                question,
            )
            .await
            .map_err(|error| of_handle(&node.label, error));
            let verdict = answer
                .as_ref()
                .err()
                .map(|error| verdict(error, Stage::Statement));
            self.judge(&mut lease, verdict.as_ref());
            lease.remember(answer.ok().flatten());
        }
        let covered = lease
            .peek()
            .replayed
            .is_some_and(|replayed| replayed.covers(token));
        let chosen = route
            .candidates(&self.monitor.watch().borrow(), token)
            .contains(&node.id);
        (covered && chosen && !self.is_closed()).then_some(lease)
    }
}

async fn question(link: &mut PgConnection) -> Result<Option<Replayed>, sqlx::Error> {
    let row = link.fetch_one(sqlx::raw_sql(QUESTION)).await?;
    Ok(Replayed::read(&row))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn only_the_tokens_timeline_at_or_past_its_position_covers_it(
            timeline in 1_u32..4, position in 0_u64..4, of in 1_u32..4, at in 0_u64..4,
        ) {
            let token = Token { system: 1, timeline: of, position: at };
            let covers = Replayed { timeline, position }.covers(&token);
            prop_assert_eq!(covers, timeline == of && position >= at);
        }
    }
}
