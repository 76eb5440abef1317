//! A standby becomes the primary, and the others follow it.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::builder::Synchronous;
use super::cluster::PostgresCluster;
use super::proof::Promotion;
use super::session::Session;
use crate::Error;
use crate::process::wait_until;

/// The timeline a node writes. The control file's view is stale until a checkpoint, this is not.
const WRITTEN_TIMELINE: &str =
    "SELECT ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int";

/// The timeline a standby follows. With its primary gone there is no receiver to ask; then the control file has it as
/// of the last restart point or the last recovered minimum, whichever is later.
pub(super) const FOLLOWED_TIMELINE: &str = "SELECT greatest((SELECT received_tli FROM pg_stat_wal_receiver), \
     (SELECT timeline_id FROM pg_control_checkpoint()), (SELECT min_recovery_end_timeline FROM pg_control_recovery()))";

/// What a standby has, received or replayed, whichever is further.
const RECEIVED: &str =
    "SELECT greatest(coalesce(pg_last_wal_receive_lsn(), '0/0'), coalesce(pg_last_wal_replay_lsn(), '0/0'))";

impl PostgresCluster {
    /// Promotes a node, and nothing else: the other standbys go on following whom they follow
    /// (see [`promote_best`](Self::promote_best), [`follow`](Self::follow)). Returns after its first accepted write.
    ///
    /// The new primary waits for no standby: `synchronous_standby_names` is emptied before, or the first commit would
    /// wait for followers that it does not have yet.
    ///
    /// # Errors
    /// [`Error::Unproven`] when the timeline did not rise; [`Error::Refused`] by a node that is no standby;
    /// [`Error::NotReady`] when no write is accepted within 10 s.
    pub async fn promote(&self, node: usize) -> Result<Promotion, Error> {
        let session = self.connect(node, "postgres").await?;
        if !session.value::<bool>("SELECT pg_is_in_recovery()").await? {
            return Err(Error::refused(
                format!("promote {}", self.name(node)),
                "it is a primary",
            ));
        }
        self.set_synchronous_names(node, "").await?;
        let timeline_before = timeline(&session, FOLLOWED_TIMELINE).await?;
        let received: String = session.value(&format!("{RECEIVED}::text")).await?;
        let start = Instant::now();
        if !session.value::<bool>("SELECT pg_promote(true, 10)").await? {
            return Err(Error::unproven(
                format!("promotion of {}", self.name(node)),
                "still in recovery after 10 s",
            ));
        }
        let what = format!("{} to accept a write", self.name(node));
        let first_write_at = wait_until(&what, Duration::from_secs(10), async || {
            let written = session.run("INSERT INTO hafnium_probe DEFAULT VALUES").await;
            written
                .map(|()| Instant::now())
                .map_err(|error| error.to_string())
        })
        .await?;
        let timeline_after = timeline_written(&session).await?;
        self.primary.store(node, Ordering::SeqCst);
        let first_write = first_write_at.duration_since(start);
        let node = self.name(node).to_owned();
        Promotion {
            node,
            timeline_before,
            timeline_after,
            received,
            first_write,
            first_write_at,
        }
        .checked()
    }

    /// The running standby that has received the most. Ask after the primary is dead or frozen: before, another one
    /// may be ahead the next moment, and with `ANY 1` the promotion of the wrong one loses acknowledged writes.
    ///
    /// # Errors
    /// [`Error::Refused`] when no standby answers.
    pub async fn best_standby(&self) -> Result<usize, Error> {
        let mut best: Option<(u64, usize)> = None;
        for node in self.standbys() {
            let Some(received) = self.received(node).await else {
                continue;
            };
            if best.is_none_or(|(most, _)| received > most) {
                best = Some((received, node));
            }
        }
        best.map(|(_, node)| node)
            .ok_or_else(|| Error::refused("find a standby to promote", "none answers"))
    }

    async fn received(&self, node: usize) -> Option<u64> {
        if self.state(node).ok()? != crate::process::ProcessState::Alive {
            return None;
        }
        let session = self.connect(node, "postgres").await.ok()?;
        let bytes = format!("SELECT CASE WHEN pg_is_in_recovery() THEN ({RECEIVED} - '0/0')::bigint END");
        u64::try_from(session.value::<Option<i64>>(&bytes).await.ok()??).ok()
    }

    /// What an operator does after the loss of a primary: promotes the standby that has the most, lets the other
    /// running standbys follow it, and, where commits wait for a standby, lets them do so again.
    ///
    /// # Errors
    /// Those of [`best_standby`](Self::best_standby), [`promote`](Self::promote) and [`follow`](Self::follow).
    pub async fn promote_best(&self) -> Result<Promotion, Error> {
        let old = self.primary();
        let promotion = self.promote(self.best_standby().await?).await?;
        let mut followers = self.standbys();
        followers.retain(|node| {
            *node != old
                && self
                    .state(*node)
                    .is_ok_and(|s| s == crate::process::ProcessState::Alive)
        });
        for node in &followers {
            self.follow(*node, self.primary()).await?;
        }
        self.await_streaming(&followers).await?;
        self.await_followers(&followers).await?;
        Ok(promotion)
    }

    /// Points a running standby to another primary, without a restart: a new `primary_conninfo` and a reload.
    ///
    /// # Errors
    /// [`Error::Refused`] when the standby does not answer.
    pub async fn follow(&self, node: usize, primary: usize) -> Result<(), Error> {
        let session = self.connect(node, "postgres").await?;
        let conninfo = self.conninfo_for(node, primary);
        session
            .run(&format!("ALTER SYSTEM SET primary_conninfo = '{conninfo}'"))
            .await?;
        session.run("SELECT pg_reload_conf()").await
    }

    /// Commits wait for one of `followers` where the cluster was built so and there are any.
    pub(super) async fn await_followers(&self, followers: &[usize]) -> Result<(), Error> {
        if self.synchronous == Synchronous::AnyOne && !followers.is_empty() {
            self.await_any_one(followers).await?;
        }
        Ok(())
    }
}

pub(super) async fn timeline_written(primary: &Session) -> Result<u32, Error> {
    timeline(primary, WRITTEN_TIMELINE).await
}

pub(super) async fn timeline(session: &Session, sql: &str) -> Result<u32, Error> {
    let timeline: i32 = session.value(sql).await?;
    u32::try_from(timeline).map_err(|error| Error::refused("read a timeline", error))
}
