//! The state of a service, and the watch through which anyone may follow it. It only ever moves forward.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::sync::watch;

/// Where a service is in its life. Ordered: later states are greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Components start; probes say alive and not ready.
    Starting,
    /// Serving.
    Ready,
    /// A stop was asked for: still serving, takes no new records, says not ready.
    Draining,
    /// No new requests; what is under way is finished.
    Stopping,
    /// Everything ended.
    Stopped,
}

impl State {
    /// The stable name: `starting`, `ready`, `draining`, `stopping`, `stopped`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Draining => "draining",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
        }
    }
}

/// The present state beside the channel that tells of it: every request asks for it, and a channel has a lock.
#[derive(Debug, Clone)]
struct Present(Arc<AtomicU8>);

impl Present {
    const STATES: [State; 5] = [
        State::Starting,
        State::Ready,
        State::Draining,
        State::Stopping,
        State::Stopped,
    ];

    fn new(state: State) -> Self {
        Self(Arc::new(AtomicU8::new(state as u8)))
    }

    fn set(&self, state: State) {
        self.0.store(state as u8, Ordering::Release);
    }

    fn get(&self) -> State {
        let state = usize::from(self.0.load(Ordering::Acquire));
        Self::STATES.get(state).copied().unwrap_or(State::Stopped)
    }
}

/// The owner's side of the state. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Lifecycle {
    present: Present,
    sender: watch::Sender<State>,
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self::new()
    }
}

impl Lifecycle {
    /// A service that is starting.
    pub fn new() -> Self {
        Self {
            present: Present::new(State::Starting),
            sender: watch::Sender::new(State::Starting),
        }
    }

    /// Moves to `state` if that is later than the present one; returns whether it moved.
    pub fn advance(&self, state: State) -> bool {
        self.sender.send_if_modified(|current| {
            let forward = state > *current;
            if forward {
                *current = state;
                self.present.set(state);
            }
            forward
        })
    }

    /// A watch on the state.
    pub fn watch(&self) -> Watch {
        Watch {
            present: self.present.clone(),
            receiver: self.sender.subscribe(),
            _keep: self.sender.clone(),
        }
    }
}

/// A view of the state that anyone may hold. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Watch {
    present: Present,
    receiver: watch::Receiver<State>,
    /// Keeps the channel open, so that waiting on a state that never comes waits instead of failing.
    _keep: watch::Sender<State>,
}

impl Watch {
    /// A watch on a state that never changes.
    pub fn fixed(state: State) -> Self {
        let sender = watch::Sender::new(state);
        Self {
            present: Present::new(state),
            receiver: sender.subscribe(),
            _keep: sender,
        }
    }

    /// The present state. Takes no lock.
    pub fn state(&self) -> State {
        self.present.get()
    }

    /// Waits until the service has reached `state` or a later one.
    ///
    /// Cancel-safe.
    pub async fn reached(&self, state: State) {
        let mut receiver = self.receiver.clone();
        // The sender is kept by this watch, so the wait can't fail.
        let _ = receiver.wait_for(|current| *current >= state).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_state_only_moves_forward() {
        let lifecycle = Lifecycle::new();
        let watch = lifecycle.watch();
        assert!(lifecycle.advance(State::Draining));
        assert!(!lifecycle.advance(State::Ready));
        watch.reached(State::Ready).await;
        assert_eq!(watch.state(), State::Draining);
    }
}
