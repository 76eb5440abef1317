//! Who streams from whom, and whom commits wait for.

use std::time::Duration;

use super::bringup::STEP;
use super::cluster::PostgresCluster;
use super::settings::any_one_of;
use crate::Error;
use crate::process::wait_until;

impl PostgresCluster {
    /// Waits until all of `standbys` stream from the primary.
    ///
    /// # Errors
    /// [`Error::NotReady`] after 30 s.
    pub async fn await_streaming(&self, standbys: &[usize]) -> Result<(), Error> {
        self.await_streaming_within(standbys, STEP).await
    }

    pub(super) async fn await_streaming_within(
        &self,
        standbys: &[usize],
        limit: Duration,
    ) -> Result<(), Error> {
        self.await_attached(standbys, "state = 'streaming'", "to stream", limit)
            .await
    }

    /// Lets commits on the primary wait for any one of `standbys`, and waits until the primary counts on them.
    pub(super) async fn await_any_one(&self, standbys: &[usize]) -> Result<(), Error> {
        self.set_synchronous_names(self.primary(), &any_one_of(&self.names(standbys)))
            .await?;
        self.await_attached(standbys, "sync_state = 'quorum'", "to be waited for", STEP)
            .await
    }

    /// Sets `synchronous_standby_names` of one node. Only after the standbys stream: until then no commit returns.
    pub(super) async fn set_synchronous_names(&self, node: usize, names: &str) -> Result<(), Error> {
        let session = self.connect(node, "postgres").await?;
        session
            .run(&format!("ALTER SYSTEM SET synchronous_standby_names = '{names}'"))
            .await?;
        session.run("SELECT pg_reload_conf()").await
    }

    /// Waits until every streaming standby has replayed what the primary has written by now.
    ///
    /// # Errors
    /// [`Error::NotReady`] after 10 s, for instance while a replay is paused.
    pub async fn await_replay(&self) -> Result<(), Error> {
        let session = self.connect(self.primary(), "postgres").await?;
        let written: String = session.value("SELECT pg_current_wal_lsn()::text").await?;
        let behind = format!(
            "SELECT coalesce(string_agg(application_name, ','), '') FROM pg_stat_replication \
             WHERE state = 'streaming' AND replay_lsn < '{written}'"
        );
        wait_until("the standbys to replay", Duration::from_secs(10), async || {
            let behind: String = session.value(&behind).await.map_err(|error| error.to_string())?;
            if behind.is_empty() {
                Ok(())
            } else {
                Err(format!("{behind} behind"))
            }
        })
        .await
    }

    async fn await_attached(
        &self,
        standbys: &[usize],
        condition: &str,
        what: &str,
        limit: Duration,
    ) -> Result<(), Error> {
        let mut wanted = self.names(standbys);
        wanted.sort();
        let what = format!("{} {what}", wanted.join(", "));
        let attached = format!("SELECT application_name FROM pg_stat_replication WHERE {condition}");
        let session = self.connect(self.primary(), "postgres").await?;
        wait_until(&what, limit, async || {
            let rows = session
                .query(&attached, &[])
                .await
                .map_err(|error| error.to_string())?;
            let there: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
            if wanted.iter().all(|name| there.contains(name)) {
                Ok(())
            } else {
                Err(format!("only {there:?}"))
            }
        })
        .await
    }

    fn names(&self, nodes: &[usize]) -> Vec<String> {
        nodes.iter().map(|node| self.name(*node).to_owned()).collect()
    }
}
