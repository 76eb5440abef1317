//! Keeps one secret up to date that a provider gives.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::clock::Clock;
use super::entry::Entry;
use crate::secret::provider::{Address, FetchError, FetchErrorKind, Provider, Version};

/// How long one question to a provider may take.
const LIMIT: Duration = Duration::from_secs(10);

/// A secret with the provider that answers its reference.
#[derive(Clone)]
pub(super) struct Keeper {
    pub(super) entry: Arc<Entry>,
    pub(super) provider: Option<Arc<dyn Provider>>,
    pub(super) address: Address,
    pub(super) clock: Clock,
}

impl Keeper {
    /// Asks whenever it is time or somebody wants it; ends with the task.
    pub(super) async fn run(self) {
        loop {
            if !self.entry.is_wanted() {
                tokio::select! {
                    () = self.entry.wake.notified() => continue,
                    () = tokio::time::sleep_until(self.entry.due()) => {}
                }
            }
            // However many want it, the source has its rest.
            tokio::time::sleep_until(self.entry.earliest()).await;
            // Whoever wants it sooner was refused with what is held.
            let forced = self.entry.take_off();
            let held = self.entry.held().filter(|_| !forced);
            let asked = self.ask(held, LIMIT).await;
            self.entry.land(asked.err());
        }
    }

    /// Asks once, for no longer than `limit`, and takes the answer.
    pub(super) async fn ask(&self, held: Option<Version>, limit: Duration) -> Result<(), FetchError> {
        self.entry.asks(Instant::now());
        let answer = match &self.provider {
            Some(provider) => {
                let fetch = provider.fetch(&self.address, held.as_ref());
                match tokio::time::timeout(limit, fetch).await {
                    Ok(answer) => answer,
                    Err(_) => Err(FetchError {
                        kind: FetchErrorKind::Unavailable,
                        message: format!("{}: no answer within {limit:?}", self.address),
                    }),
                }
            }
            None => Err(FetchError {
                kind: FetchErrorKind::Invalid,
                message: format!("{}: nothing here answers such references", self.address),
            }),
        };
        self.entry.take(answer, Instant::now(), self.clock)
    }
}
