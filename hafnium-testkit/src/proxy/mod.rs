//! A TCP proxy on loopback that can be told to misbehave as networks do.
//!
//! It runs on a thread and runtime of its own, so it neither slows nor is slowed by the client under test. What it did
//! is in [`Counters`]: bytes forwarded and swallowed, connections reset. They are the proof of its faults.

mod connection;
mod counters;
mod pump;
mod rule;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;

pub use counters::Counters;
pub use rule::Direction;

use crate::Error;
use counters::Tally;
use rule::{Path, Rules};

/// Forwards connections to one target, until told otherwise. Dropping it closes what goes through it.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

pub(crate) struct Shared {
    target: RwLock<SocketAddr>,
    pub(crate) rules: Rules,
    pub(crate) tally: Tally,
}

impl Shared {
    pub(crate) fn target(&self) -> SocketAddr {
        *self.target.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Proxy {
    /// Listens on a free loopback port and forwards to `target`, which need not answer yet.
    ///
    /// # Errors
    /// [`Error::Io`] without a port or a thread.
    pub fn start(target: SocketAddr) -> Result<Proxy, Error> {
        let listener =
            std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(Error::io("bind the proxy"))?;
        listener
            .set_nonblocking(true)
            .map_err(Error::io("set up the proxy"))?;
        let address = listener
            .local_addr()
            .map_err(Error::io("read the proxy's port"))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(Error::io("build the proxy's runtime"))?;
        let shared = Arc::new(Shared {
            target: RwLock::new(target),
            rules: Rules::default(),
            tally: Tally::default(),
        });
        let (stop, stopped) = watch::channel(false);
        let theirs = shared.clone();
        let thread = std::thread::Builder::new()
            .name("hafnium-proxy".into())
            .spawn(move || runtime.block_on(accept(listener, theirs, stopped)))
            .map_err(Error::io("start the proxy's thread"))?;
        Ok(Proxy {
            address,
            shared,
            stop,
            thread: Some(thread),
        })
    }

    /// Where clients connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The port of [`address`](Self::address).
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Forwards again, without delay. Connections that were swallowed from are reset now: what they lost is lost, as
    /// when a path comes back after its state is gone.
    pub fn heal(&self) {
        self.shared.rules.change(|now| {
            *now = rule::Now {
                epoch: now.epoch + 1,
                ..rule::Now::default()
            };
        });
    }

    /// New connections go to `target` from now on, as behind an address that moved; those that are open stay.
    pub fn lead_to(&self, target: SocketAddr) {
        *self.shared.target.write().unwrap_or_else(PoisonError::into_inner) = target;
    }

    /// Swallows everything in both directions and keeps every socket open: neither end of file nor reset. New
    /// connections are accepted and stay silent, and the target never sees them.
    pub fn black_hole(&self) {
        self.shared.rules.change(|now| now.path = Path::BlackHole);
    }

    /// Forwards requests, swallows every reply.
    pub fn swallow_replies(&self) {
        self.shared.rules.change(|now| now.path = Path::SwallowReplies);
    }

    /// Forwards the next request that contains `needle`, swallows the first bytes of its reply and resets the
    /// connection: the server did it, the client cannot know. Once. Finds a needle only where it arrives in one
    /// piece, which short requests on loopback do.
    pub fn swallow_reply_to(&self, needle: impl AsRef<[u8]>) {
        let needle: Arc<[u8]> = needle.as_ref().into();
        self.shared.rules.change(|now| now.needle = Some(needle));
    }

    /// Delays every byte by `delay`, in each direction.
    pub fn latency(&self, delay: Duration) {
        self.shared.rules.change(|now| now.latency = delay);
    }

    /// Lets at most `bytes_per_second` through, per connection and direction.
    pub fn bandwidth(&self, bytes_per_second: std::num::NonZeroU32) {
        self.shared
            .rules
            .change(|now| now.bandwidth = Some(bytes_per_second));
    }

    /// Passes replies on in pieces of at most `bytes`, 50 µs apart, so that whoever reads them is woken again and again.
    pub fn pieces(&self, bytes: std::num::NonZeroUsize) {
        self.shared.rules.change(|now| now.pieces = Some(bytes));
    }

    /// Lets `bytes` more through in one direction, over all connections, and resets the connection that carries the
    /// next one. Once: later connections pass.
    pub fn cut_after(&self, direction: Direction, bytes: u64) {
        self.shared.rules.change(|now| now.cut = Some((direction, bytes)));
    }

    /// Resets every connection that is open now.
    pub fn reset_all(&self) {
        self.shared.rules.change(|now| now.generation += 1);
    }

    /// What it did so far.
    pub fn counters(&self) -> Counters {
        self.shared.tally.read()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _listening = self.stop.send(true);
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proxy")
            .field("address", &self.address)
            .field("target", &self.shared.target())
            .finish_non_exhaustive()
    }
}

/// Ends when told; the runtime then drops every connection with it.
async fn accept(listener: std::net::TcpListener, shared: Arc<Shared>, mut stop: watch::Receiver<bool>) {
    let Ok(listener) = TcpListener::from_std(listener) else {
        return;
    };
    loop {
        tokio::select! {
            _ = stop.changed() => return,
            accepted = listener.accept() => match accepted {
                Ok((client, _)) => drop(tokio::spawn(connection::serve(client, shared.clone()))),
                // Out of file descriptors, most likely; the connection waits in the backlog.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            },
        }
    }
}
