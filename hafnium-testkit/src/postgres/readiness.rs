//! The first instant at which any node accepts a write: what recovery times are measured from.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio_postgres::Config;

use super::cluster::PostgresCluster;
use super::session::Session;
use crate::Error;

/// Between two probes of a node.
const EVERY: Duration = Duration::from_millis(1);
/// A frozen node accepts and stays silent; the probe must not be held by it.
const PATIENCE: Duration = Duration::from_millis(500);

/// Writes to every node each millisecond, on a thread and runtime of its own, until one accepts.
///
/// Start it after the fault: before, the old primary accepts.
#[derive(Debug)]
pub struct ReadinessProbe {
    answer: mpsc::Receiver<FirstWrite>,
    stop: Arc<AtomicBool>,
    probes: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

/// A node accepted a write for the first time since the probe was started.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FirstWrite {
    /// When its acknowledgement arrived.
    pub at: Instant,
    /// The node's name.
    pub node: String,
    /// How many probes were sent to all nodes by then.
    pub probes: u64,
}

impl PostgresCluster {
    /// Starts to watch for the first accepted write on any node.
    ///
    /// # Errors
    /// [`Error::Io`] when no thread can be started.
    pub fn watch_readiness(&self) -> Result<ReadinessProbe, Error> {
        let nodes = (0..self.len())
            .map(|node| (self.name(node).to_owned(), self.config(node, "postgres")))
            .collect();
        ReadinessProbe::start(nodes)
    }
}

impl ReadinessProbe {
    fn start(nodes: Vec<(String, Config)>) -> Result<ReadinessProbe, Error> {
        let (found, answer) = mpsc::channel();
        let (stop, probes) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counted) = (stop.clone(), probes.clone());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(Error::io("build the probe's runtime"))?;
        let thread = std::thread::Builder::new()
            .name("hafnium-readiness".into())
            .spawn(move || {
                let all = nodes.into_iter().map(|(node, config)| {
                    let (stopped, counted) = (stopped.clone(), counted.clone());
                    async move {
                        let at = first_write(&config, &stopped, &counted).await?;
                        Some(FirstWrite {
                            at,
                            node,
                            probes: counted.load(Ordering::Relaxed),
                        })
                    }
                });
                let all: futures_util::stream::FuturesUnordered<_> = all.collect();
                runtime.block_on(async move {
                    use futures_util::StreamExt;
                    let mut all = all;
                    while let Some(ended) = all.next().await {
                        if let Some(first) = ended {
                            stopped.store(true, Ordering::Relaxed);
                            let _unasked = found.send(first);
                            return;
                        }
                    }
                });
            })
            .map_err(Error::io("start the probe's thread"))?;
        Ok(ReadinessProbe {
            answer,
            stop,
            probes,
            thread: Some(thread),
        })
    }

    /// Waits for the first accepted write.
    ///
    /// # Errors
    /// [`Error::NotReady`] after `limit`.
    pub async fn first_write(self, limit: Duration) -> Result<FirstWrite, Error> {
        crate::process::wait_until("any node to accept a write", limit, async || {
            self.answer
                .try_recv()
                .map_err(|_| format!("{} probes, none accepted", self.probes.load(Ordering::Relaxed)))
        })
        .await
    }
}

impl Drop for ReadinessProbe {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Ends within the patience for one probe.
            let _ended = thread.join();
        }
    }
}

/// `None` when it was told to stop.
async fn first_write(config: &Config, stop: &AtomicBool, probes: &AtomicU64) -> Option<Instant> {
    let mut session: Option<Session> = None;
    while !stop.load(Ordering::Relaxed) {
        probes.fetch_add(1, Ordering::Relaxed);
        if session.as_ref().is_none_or(|session| session.is_closed()) {
            session = Session::open(config, PATIENCE).await.ok();
        }
        if let Some(open) = &session {
            match tokio::time::timeout(PATIENCE, open.run("INSERT INTO hafnium_probe DEFAULT VALUES")).await {
                Ok(Ok(())) => return Some(Instant::now()),
                // A standby refuses; that is the answer most of the time.
                Ok(Err(_)) => {}
                Err(_) => session = None,
            }
        }
        tokio::time::sleep(EVERY).await;
    }
    None
}
