//! Keeps the published [`Link`] true: confirms the primary twice a second, and looks for a new one without pause as
//! soon as anything casts doubt on it.

use std::sync::Arc;
use std::time::Duration;

use hafnium_core::metrics::{Counter, Gauge};
use redis::ConnectionAddr;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::classify::refuses_login;
use super::link::{Link, Node};
use super::resolver::{self, BUDGET, Candidate};
use super::shown::Heard;
use super::target::Target;

/// Between two confirmations when all is well; ± 10 % of jitter.
const CALM: Duration = Duration::from_millis(500);
/// Between two looks while there is no primary, and the least there is between any two.
const SEARCH: Duration = Duration::from_millis(20);
/// A silent connection is asked once more when a new one answers.
const AGAIN: Duration = Duration::from_millis(50);

/// What keeps the published [`Link`] true.
pub(crate) struct Monitor {
    pub(crate) name: String,
    pub(crate) target: Target,
    pub(crate) response: Duration,
    pub(crate) link: watch::Sender<Link>,
    /// What the sentinels answered, to be shown.
    pub(crate) heard: Arc<Heard>,
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
                    Err(trouble) => {
                        self.lose(&mut watched, trouble);
                        Duration::ZERO
                    }
                };
                // However much doubt there is: never more often than this. A node that keeps answering LOADING and
                // keeps being confirmed would be asked without pause.
                tokio::time::sleep(SEARCH).await;
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = self.doubt.notified() => {}
                }
            }
        };
        stop.run_until_cancelled(look).await;
        self.lose(&mut watched, Trouble::from("stopped".to_owned()));
        self.link.send_modify(|link| link.stopped = true);
    }

    /// Confirms the primary, or finds and publishes another one.
    async fn look(&self, watched: &mut Watched) -> Result<(), Trouble> {
        if let Some((address, node)) = &watched.node
            && node.cut.is_cancelled()
        {
            let trouble = format!("the connection to {address} broke");
            self.lose(watched, trouble.into());
        }
        let candidate = resolver::candidate(&self.target, &self.heard).await?;
        if candidate.epoch < watched.epoch {
            return Err(Trouble::from(format!(
                "only an older decision is known (epoch {} after {})",
                candidate.epoch, watched.epoch
            )));
        }
        watched.epoch = candidate.epoch;
        if let Some((address, node)) = &watched.node {
            if *address != candidate.address {
                // Decided by the sentinels: what the old one still acknowledges is lost, so it gets nothing from here
                // on, whether the new one can be reached or not.
                let trouble = format!("switching to {}", candidate.address);
                self.lose(watched, trouble.into());
            } else {
                match resolver::is_primary(&mut node.connection.clone(), BUDGET).await {
                    Ok(true) => {
                        self.link.send_modify(|link| link.confirmed += 1);
                        return Ok(());
                    }
                    Ok(false) => return Err(format!("{} is no longer a primary", node.address).into()),
                    // Silent: the flow may be dead, or the node busy for a moment. A new connection tells.
                    Err(error) if error.is_timeout() => {}
                    Err(error) => self.lose(watched, format!("{}: {error}", candidate.address).into()),
                }
            }
        }
        self.switch(watched, candidate).await
    }

    /// Connects to `candidate` and publishes it, in the place of a silent connection if there is one.
    async fn switch(&self, watched: &mut Watched, candidate: Candidate) -> Result<(), Trouble> {
        let address = candidate.address.to_string();
        let failed = |error: redis::RedisError| Trouble {
            reason: format!("{address}: {error}"),
            login_refused: refuses_login(&error),
        };
        let opening = async {
            let mut connection =
                resolver::open(&candidate.address, &self.target.login, self.response).await?;
            let primary = resolver::is_primary(&mut connection, BUDGET).await?;
            Ok((connection, primary))
        };
        let (connection, primary) = match tokio::time::timeout(BUDGET, opening).await {
            Ok(opened) => opened.map_err(failed)?,
            Err(_) => return Err(format!("{address} is silent").into()),
        };
        if !primary {
            return Err(format!("{address} says that it is not a primary").into());
        }
        if let Some((_, node)) = &watched.node
            && resolver::is_primary(&mut node.connection.clone(), AGAIN)
                .await
                .is_ok_and(|primary| primary)
        {
            // It was the node that paused, and what is in flight will be answered.
            self.link.send_modify(|link| link.confirmed += 1);
            return Ok(());
        }
        self.lose(watched, format!("the connection to {address} is silent").into());
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
        watched.node = Some((candidate.address, node.clone()));
        self.link.send_modify(|link| {
            link.confirmed += 1;
            link.node = Some(node);
        });
        Ok(())
    }

    /// Stops using the node, cutting every command in flight to it.
    fn lose(&self, watched: &mut Watched, trouble: Trouble) {
        if let Some((_, node)) = watched.node.take() {
            tracing::warn!(
                store = self.name,
                node = node.address,
                reason = trouble.reason,
                "redis primary is given up"
            );
            // Published first: a command that is cut and may be repeated must not find the same node again.
            self.link.send_modify(|link| link.node = None);
            node.cut.cancel();
            self.connected.set(0.0);
        }
        self.link.send_modify(|link| {
            link.node = None;
            link.reason = trouble.reason;
            link.login_refused = trouble.login_refused;
        });
    }
}

/// Why a look found no primary.
struct Trouble {
    reason: String,
    login_refused: bool,
}

impl From<String> for Trouble {
    fn from(reason: String) -> Self {
        Self {
            reason,
            login_refused: false,
        }
    }
}

/// What the monitor knows between two looks.
#[derive(Default)]
struct Watched {
    node: Option<(ConnectionAddr, Arc<Node>)>,
    /// The highest epoch seen: an older decision never wins again.
    epoch: u64,
}
