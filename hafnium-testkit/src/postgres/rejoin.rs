//! A node that was away, or was a primary, becomes a standby of the current one.

use std::time::{Duration, Instant};

use super::bringup::STEP;
use super::cluster::PostgresCluster;
use super::fault::StopMode;
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
        let by = match self.return_with_its_data(node, primary).await {
            Ok(by) => by,
            Err(_) => {
                if self.nodes[node].runs() {
                    self.stop(node, StopMode::Immediate).await?;
                }
                self.clone_primary(node).await?;
                self.await_streaming(&[node]).await?;
                RejoinBy::BaseBackup
            }
        };
        let streaming = self.streaming().await?;
        self.await_followers(&streaming).await?;
        let (node, primary) = (self.name(node).to_owned(), self.name(primary).to_owned());
        Ok(Rejoin {
            node,
            primary,
            by,
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
