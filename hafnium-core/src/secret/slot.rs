//! What every handle on one secret shares.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

use tokio::sync::{Notify, watch};

use super::provider::{FetchError, Material, Version};
use super::rule::Form;
use super::source::Source;
use super::value::Value;

/// Held for writing while values that belong together are published, and for reading while such values are read.
static TOGETHER: RwLock<()> = RwLock::new(());

/// The value of one secret, who watches it, and what its consumers said of it.
pub(crate) struct Slot {
    pub(super) source: Source,
    pub(super) form: Form,
    values: watch::Sender<Values>,
    pub(super) flight: watch::Sender<Flight>,
    /// Wakes who keeps it up to date; without one there is nobody to ask for a newer value.
    keeper: OnceLock<Arc<Notify>>,
    verdict: Mutex<Verdict>,
}

/// The value in use and the one before.
pub(super) struct Values {
    pub(super) current: Arc<Value>,
    pub(super) previous: Option<Arc<Value>>,
    /// Whether the first value is still to be fetched.
    pub(super) pending: bool,
}

/// Refreshes that were asked for and those that ended.
#[derive(Default)]
pub(super) struct Flight {
    pub(super) requested: u64,
    pub(super) finished: u64,
    /// Whether a question is under way that nobody asked for: a source that lends may answer it with what is held.
    pub(super) unforced: bool,
    /// Why the last one failed.
    pub(super) error: Option<FetchError>,
}

/// What consumers found when they used the values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// The version that was refused where it is used.
    pub(super) refused: Option<Version>,
    /// Why a value that came does not go with what belongs to it.
    pub(super) rejected: Option<String>,
}

/// Whether a value that was published is a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Published {
    Changed,
    Unchanged,
}

impl Slot {
    pub(super) fn new(source: Source, form: Form, value: Option<Value>) -> Self {
        let pending = value.is_none();
        let nothing = || Value::new(Material::Text("".into()), Version("pending".to_owned()), None);
        Self {
            source,
            form,
            values: watch::Sender::new(Values {
                current: Arc::new(value.unwrap_or_else(nothing)),
                previous: None,
                pending,
            }),
            flight: watch::Sender::default(),
            keeper: OnceLock::new(),
            verdict: Mutex::default(),
        }
    }

    pub(super) fn current(&self) -> Arc<Value> {
        self.values.borrow().current.clone()
    }

    pub(super) fn previous(&self) -> Option<Arc<Value>> {
        self.values.borrow().previous.clone()
    }

    pub(super) fn is_pending(&self) -> bool {
        self.values.borrow().pending
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Values> {
        self.values.subscribe()
    }

    /// Puts `value` in place of the current one if its version is another.
    pub(crate) fn publish(&self, value: Value) -> Published {
        let mut published = Published::Unchanged;
        self.values.send_if_modified(|values| {
            if !values.pending && values.current.version() == value.version() {
                return false;
            }
            let before = std::mem::replace(&mut values.current, Arc::new(value));
            values.previous = (!values.pending).then_some(before);
            values.pending = false;
            published = Published::Changed;
            true
        });
        published
    }

    /// Someone keeps it up to date from now on, and looks when `wake` tells it to.
    pub(super) fn follow(&self, wake: Arc<Notify>) {
        // The first one keeps it.
        let _ = self.keeper.set(wake);
    }

    pub(super) fn keeper(&self) -> Option<&Notify> {
        self.keeper.get().map(Arc::as_ref)
    }

    pub(super) fn is_followed(&self) -> bool {
        self.keeper.get().is_some()
    }

    /// Held for a few instructions only, and never over an await.
    pub(super) fn verdict(&self) -> MutexGuard<'_, Verdict> {
        self.verdict.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Publishes values that belong together: who reads with [`read_together`] sees all of them or none.
pub(super) fn publish_together<T>(publish: impl FnOnce() -> T) -> T {
    let _all = TOGETHER.write().unwrap_or_else(PoisonError::into_inner);
    publish()
}

/// Reads values that belong together.
pub(crate) fn read_together<T>(read: impl FnOnce() -> T) -> T {
    let _all = TOGETHER.read().unwrap_or_else(PoisonError::into_inner);
    read()
}

#[cfg(all(test, feature = "tls"))]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::super::handle::Secret;
    use super::*;
    use crate::tls::client::{ClientTls, TlsClient};

    fn value(text: String) -> Value {
        Value::of_text(text.into(), None)
    }

    #[test]
    fn who_looks_at_a_client_certificate_in_the_middle_of_a_publication_sees_all_of_it() {
        let pair = || rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (first, second) = (pair(), pair());
        let certificate = Secret::new(first.cert.pem());
        let key = Secret::new(first.signing_key.serialize_pem());
        let client = TlsClient::new(&ClientTls {
            ca: Some(Secret::new(first.cert.pem())),
            certificate: Some(certificate.clone()),
            key: Some(key.clone()),
            server_name: None,
        })
        .unwrap();
        let (seen, sight) = mpsc::channel();
        let looking = publish_together(|| {
            certificate.slot.publish(value(second.cert.pem()));
            let client = client.clone();
            let looking = std::thread::spawn(move || seen.send((client.refused(), client.generation())));
            assert!(
                sight.recv_timeout(Duration::from_millis(200)).is_err(),
                "it waits"
            );
            key.slot.publish(value(second.signing_key.serialize_pem()));
            looking
        });
        looking.join().unwrap().unwrap();
        assert_eq!(sight.recv().unwrap(), (None, 1));
    }
}
