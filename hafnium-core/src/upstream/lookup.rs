//! Follows the addresses of a name.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::resolve::Resolve;
use super::target::Target;

/// A lookup is given up after that.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Two lookups are at least so far apart, however urgent the second one is.
const LEAST: Duration = Duration::from_secs(1);

/// What the lookups came to so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    /// How many lookups have ended.
    pub(super) rounds: u64,
    /// Why the last one gave no address, if it gave none.
    pub(super) error: Option<String>,
}

/// Where news of lookups go, and where they are asked for.
pub(super) struct Lookups {
    known: watch::Sender<Known>,
    urgent: Notify,
}

impl Lookups {
    pub(super) fn new() -> Self {
        Self {
            known: watch::Sender::default(),
            urgent: Notify::new(),
        }
    }

    /// What is known now.
    pub(super) fn known(&self) -> Known {
        self.known.borrow().clone()
    }

    /// Waits until a first lookup has ended.
    pub(super) async fn first(&self) {
        let mut known = self.known.subscribe();
        // The sender lives as long as `self`, so this can't fail.
        let _ = known.wait_for(|known| known.rounds > 0).await;
    }

    /// A connection failed: the addresses may have changed.
    pub(super) fn ask(&self) {
        self.urgent.notify_one();
    }

    pub(super) fn ended(&self, error: Option<String>) {
        self.known.send_modify(|known| {
            known.rounds += 1;
            known.error = error;
        });
    }

    /// Waits until the next lookup is due, one that began at `last` and gave an address or `failed`.
    pub(super) async fn due(&self, last: Instant, failed: bool, interval: Duration) {
        let pause = match failed {
            true => LEAST.max(interval / 10),
            false => interval.max(LEAST),
        };
        // Replicas that started together are not to ask together.
        let pause = pause.mul_f64(0.9 + fastrand::f64() * 0.2);
        tokio::select! {
            () = tokio::time::sleep_until(last + pause) => {}
            () = self.urgent.notified() => tokio::time::sleep_until(last + LEAST).await,
        }
    }
}

/// Looks the addresses of `target` up once.
pub(super) async fn look_up(resolver: &Arc<dyn Resolve>, target: &Target) -> Result<Vec<SocketAddr>, String> {
    let answer = tokio::time::timeout(TIMEOUT, resolver.resolve(&target.host, target.port)).await;
    match answer {
        Ok(Ok(addresses)) if !addresses.is_empty() => Ok(addresses),
        Ok(Ok(_)) => Err("the name has none".to_owned()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer of the resolver within {TIMEOUT:?}")),
    }
}
