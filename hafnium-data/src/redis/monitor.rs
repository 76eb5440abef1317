//! Keeps the published [`Link`] true: confirms the primary twice a second, and looks for a new one without pause as
//! soon as anything casts doubt on it.

use std::sync::Arc;
use std::time::Duration;

use hafnium_core::metrics::{Counter, Gauge};
use redis::ConnectionAddr;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::link::{Link, Node};
use super::resolver::{self, Candidate};
use super::target::Target;

/// Between two confirmations when all is well; ± 10 % of jitter.
const CALM: Duration = Duration::from_millis(500);
/// Between two looks while there is no primary.
const SEARCH: Duration = Duration::from_millis(20);

pub(crate) struct Monitor {
    pub(crate) name: String,
    pub(crate) target: Target,
    pub(crate) response: Duration,
    pub(crate) link: watch::Sender<Link>,
    /// Notified by a command that saw something doubtful.
    pub(crate) doubt: Arc<Notify>,
    pub(crate) switches: Counter,
    pub(crate) connected: Gauge,
}

impl Monitor {
    /// Runs until `stop`; then publishes that the store is stopped and cuts the node.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut watched = Watched::default();
        let look = async {
            loop {
                let pause = match self.look(&mut watched).await {
                    Ok(()) => CALM.mul_f64(0.9 + 0.2 * fastrand::f64()),
                    Err(reason) => {
                        self.lose(&mut watched, reason);
                        SEARCH
                    }
                };
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = self.doubt.notified() => {}
                }
            }
        };
        stop.run_until_cancelled(look).await;
        self.lose(&mut watched, "stopped".into());
        self.link.send_modify(|link| link.stopped = true);
    }

    /// Confirms the primary, or finds and publishes another one.
    async fn look(&self, watched: &mut Watched) -> Result<(), String> {
        let candidate = resolver::candidate(&self.target).await?;
        if candidate.epoch < watched.epoch {
            return Err(format!(
                "only an older decision is known (epoch {} after {})",
                candidate.epoch, watched.epoch
            ));
        }
        if let Some((address, node)) = &watched.node
            && *address == candidate.address
        {
            let mut connection = node.connection.clone();
            match resolver::is_primary(&mut connection).await {
                Ok(true) => {
                    self.link.send_modify(|link| link.confirmed += 1);
                    return Ok(());
                }
                Ok(false) => return Err(format!("{} is no longer a primary", node.address)),
                // The connection may be broken and the node well: a new connection tells.
                Err(error) => self.lose(watched, format!("{}: {error}", candidate.address)),
            }
        }
        self.switch(watched, candidate).await
    }

    async fn switch(&self, watched: &mut Watched, candidate: Candidate) -> Result<(), String> {
        let address = candidate.address.to_string();
        let failed = |error: redis::RedisError| format!("{address}: {error}");
        let mut connection = resolver::open(&candidate.address, &self.target.login, self.response)
            .await
            .map_err(failed)?;
        if !resolver::is_primary(&mut connection).await.map_err(failed)? {
            return Err(format!("{address} says that it is not a primary"));
        }
        self.lose(watched, format!("switching to {address}"));
        tracing::info!(
            store = self.name,
            node = address,
            epoch = candidate.epoch,
            "redis primary is in use"
        );
        self.switches.add(1);
        self.connected.set(1.0);
        let node = Arc::new(Node {
            address,
            connection,
            cut: CancellationToken::new(),
        });
        watched.epoch = candidate.epoch;
        watched.node = Some((candidate.address, node.clone()));
        self.link.send_modify(|link| {
            link.confirmed += 1;
            link.node = Some(node);
        });
        Ok(())
    }

    /// Stops using the node, cutting every command in flight to it.
    fn lose(&self, watched: &mut Watched, reason: String) {
        if let Some((_, node)) = watched.node.take() {
            tracing::warn!(
                store = self.name,
                node = node.address,
                reason,
                "redis primary is given up"
            );
            node.cut.cancel();
            self.connected.set(0.0);
        }
        self.link.send_modify(|link| {
            link.node = None;
            link.reason = reason;
        });
    }
}

/// What the monitor knows between two looks.
#[derive(Default)]
struct Watched {
    node: Option<(ConnectionAddr, Arc<Node>)>,
    /// The highest epoch seen: an older decision never wins again.
    epoch: u64,
}
