//! The native producer and the thread that polls it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::producer::BaseProducer;

use super::delivery::Deliveries;

pub(crate) type Native = BaseProducer<Deliveries>;

/// Where a producer is in its life.
#[derive(Clone)]
pub(crate) enum State {
    NotStarted,
    Running(Arc<Native>),
    Stopped,
}

/// The native producer, if it runs.
///
/// Dropping one purges its queue and blocks up to half a second, so that its own thread does it: when the link is
/// closed, and nobody else holds the producer any more.
pub(crate) struct Link {
    state: RwLock<State>,
    closed: Arc<AtomicBool>,
}

impl Link {
    pub(crate) fn new() -> Self {
        Self {
            state: RwLock::new(State::NotStarted),
            closed: Arc::new(AtomicBool::new(false)),
        }
    }

    pub(crate) fn state(&self) -> State {
        self.state.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Opens the producer unless it is open; returns it, or `None` once closed.
    pub(crate) fn open(
        &self,
        thread: String,
        config: &ClientConfig,
        context: impl FnOnce() -> Deliveries,
    ) -> Result<Option<Arc<Native>>, KafkaError> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        match &*state {
            State::Running(native) => return Ok(Some(native.clone())),
            State::Stopped => return Ok(None),
            State::NotStarted => {}
        }
        let native: Arc<Native> = Arc::new(config.create_with_context(context())?);
        let polled = native.clone();
        let closed = self.closed.clone();
        std::thread::Builder::new()
            .name(thread)
            .spawn(move || poll(polled, &closed))
            .map_err(|error| KafkaError::ClientCreation(format!("no thread to poll: {error}")))?;
        *state = State::Running(native.clone());
        Ok(Some(native))
    }

    /// Takes no further records; what is under way goes on.
    pub(crate) fn refuse(&self) {
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = State::Stopped;
    }

    /// Lets go of the producer; what it still holds is reported as not delivered by its thread. Never blocks.
    pub(crate) fn close(&self) {
        self.refuse();
        self.closed.store(true, Ordering::Release);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.close();
    }
}

fn poll(native: Arc<Native>, closed: &AtomicBool) {
    let mut native = Some(native);
    while let Some(held) = native.take() {
        held.poll(Duration::from_millis(100));
        native = if closed.load(Ordering::Acquire) {
            // The last one purges here; another holder is in the middle of a call and comes to its end.
            Arc::try_unwrap(held).err()
        } else {
            Some(held)
        };
    }
}
