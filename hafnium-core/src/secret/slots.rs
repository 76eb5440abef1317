//! The secrets of one service by where they come from, so that every load of its configuration gives the same handles.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::handle::Secret;
use super::rule::Form;
use super::source::Source;
use super::value::Value;

/// One secret for each reference. Cheap to clone; clones share.
#[derive(Clone, Default)]
pub(crate) struct Slots {
    known: Arc<Mutex<HashMap<(Source, Form), Secret>>>,
}

impl Slots {
    /// The secret from `source`, with the value that was just read there. A secret that a store follows keeps its own
    /// value: the store changes it, with everything that belongs to it.
    pub(crate) fn resolve(&self, source: Source, form: Form, value: Option<Value>) -> Secret {
        if source == Source::Literal {
            return Secret::held(source, form, value);
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match known.get(&(source.clone(), form)) {
            Some(secret) => {
                if let Some(value) = value.filter(|_| !secret.slot.is_followed()) {
                    secret.slot.publish(value);
                }
                secret.clone()
            }
            None => {
                let secret = Secret::held(source.clone(), form, value);
                known.insert((source, form), secret.clone());
                secret
            }
        }
    }
}

impl fmt::Debug for Slots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Slots")
    }
}
