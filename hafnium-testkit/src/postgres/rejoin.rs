//! A node that was away, or was a primary, becomes a standby of the current one.

use std::time::{Duration, Instant};

use super::bringup::STEP;
use super::cluster::PostgresCluster;
use super::fault::StopMode;
use super::promotion::{FOLLOWED_TIMELINE, timeline, timeline_written};
use super::proof::{Rejoin, RejoinBy};
use crate::Error;

/// A standby that can follow streams after a few hundred milliseconds; one whose history forked off never will.
const FOLLOWS: Duration = Duration::from_secs(8);

impl PostgresCluster {
    /// Makes a node a standby of the current primary, whatever it was: dead, thawed with writes of its own, stopped.
    /// It keeps its port. Returns when it streams and, where the cluster was built so, commits count on it again.
    ///
    /// # Errors
    /// [`Error::NotReady`] when it does not stream, also not from a new base backup.
    pub async fn rejoin_as_standby(&self, node: usize) -> Result<Rejoin, Error> {
        let start = Instant::now();
        let primary = self.primary();
        if node == primary {
            return Err(Error::refused(
                format!("rejoin {}", self.name(node)),
                "it is the primary",
            ));
        }
        if self.nodes[node].runs() {
            // A frozen one does not hear the signal.
            self.nodes[node].process()?.thaw();
            self.stop(node, StopMode::Immediate).await?;
        }
        let (by, refused) = match self.return_with_its_data(node, primary).await {
            Ok(by) => (by, None),
            Err(error) => {
                if self.nodes[node].runs() {
                    self.stop(node, StopMode::Immediate).await?;
                }
                self.clone_primary(node).await?;
                self.await_streaming(&[node]).await?;
                (RejoinBy::BaseBackup, Some(error.to_string()))
            }
        };
        let streaming = self.streaming().await?;
        self.await_followers(&streaming).await?;
        let (node, primary) = (self.name(node).to_owned(), self.name(primary).to_owned());
        Ok(Rejoin {
            node,
            primary,
            by,
            refused,
            took: start.elapsed(),
        })
    }

    async fn return_with_its_data(&self, node: usize, primary: usize) -> Result<RejoinBy, Error> {
        // A promotion removes the file: with it, the node never wrote on its own.
        let by = if self.nodes[node].data.join("standby.signal").exists() {
            RejoinBy::Following
        } else {
            self.rewind(node, primary).await?;
            RejoinBy::Rewind
        };
        self.make_standby(node, primary)?;
        self.start(node).await?;
        if self.forked(node, primary).await? {
            return Err(Error::refused(
                format!("follow with {}", self.name(node)),
                "its history forked off",
            ));
        }
        self.await_streaming_within(&[node], FOLLOWS).await?;
        Ok(by)
    }

    async fn rewind(&self, node: usize, primary: usize) -> Result<(), Error> {
        // pg_rewind reads the source's control file. Before the first checkpoint after the promotion it still names the
        // old timeline, pg_rewind says "same timeline, no rewind required", and the node never follows.
        self.connect(primary, "postgres").await?.run("CHECKPOINT").await?;
        let this = &self.nodes[node];
        let _none = std::fs::remove_file(this.data.join("postmaster.pid"));
        let (data, source) = (this.data.to_string_lossy(), self.conninfo_for(node, primary));
        // After a kill it first starts the server in single-user mode to recover.
        this.run(
            "pg_rewind",
            &["--target-pgdata", &data, "--source-server", &source, "--no-sync"],
            STEP,
        )
        .await?;
        Ok(())
    }

    /// Whether a standby has more of an older timeline than the primary took over, as one that went on following a
    /// deposed primary may. It would ask for the primary's timeline for ever.
    async fn forked(&self, node: usize, primary: usize) -> Result<bool, Error> {
        let (standby, primary) = (
            self.connect(node, "postgres").await?,
            self.connect(primary, "postgres").await?,
        );
        let replayed: Option<String> = standby.value("SELECT pg_last_wal_replay_lsn()::text").await?;
        let timeline = timeline(&standby, FOLLOWED_TIMELINE).await?;
        let written = timeline_written(&primary).await?;
        let (Some(replayed), true) = (replayed, timeline < written) else {
            return Ok(false);
        };
        // A line per older timeline: its number, where it ended, why.
        let ended = format!(
            "SELECT coalesce(bool_or('{replayed}'::pg_lsn > split_part(line, E'\\t', 2)::pg_lsn), false) \
             FROM regexp_split_to_table(pg_read_file('pg_wal/{written:08X}.history'), E'\\n') AS line \
             WHERE split_part(line, E'\\t', 1) = '{timeline}'"
        );
        primary.value(&ended).await
    }

    async fn streaming(&self) -> Result<Vec<usize>, Error> {
        let session = self.connect(self.primary(), "postgres").await?;
        let names = "SELECT coalesce(array_agg(application_name), '{}') FROM pg_stat_replication WHERE state = 'streaming'";
        let names: Vec<String> = session.value(names).await?;
        Ok(self
            .standbys()
            .into_iter()
            .filter(|node| names.iter().any(|name| name == self.name(*node)))
            .collect())
    }
}
