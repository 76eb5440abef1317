//! What the name server knows, and what it said.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// One answer that was given.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Answer {
    /// When it was made.
    pub at: Instant,
    /// The addresses in it, of the kind that was asked for; none when the name has none of that kind.
    pub addresses: Vec<IpAddr>,
    /// For how long it may be believed.
    pub ttl: Duration,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Voice {
    #[default]
    Audible,
    Silent,
}

/// What is to be said to one question.
pub(crate) enum Reply {
    /// Nothing at all.
    Silence,
    /// There is no such name.
    Unknown,
    /// These records, which may be none.
    Records(Vec<IpAddr>, Duration),
}

#[derive(Debug, Default)]
pub(crate) struct Zone(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    voice: Voice,
    names: HashMap<String, Name>,
}

#[derive(Debug, Default)]
struct Name {
    records: Option<(Vec<IpAddr>, Duration)>,
    asked: u64,
    answers: Vec<Answer>,
}

impl Zone {
    pub(crate) fn set(&self, name: &str, addresses: Vec<IpAddr>, ttl: Duration) {
        self.lock().names.entry(key(name)).or_default().records = Some((addresses, ttl));
    }

    pub(crate) fn remove(&self, name: &str) {
        self.lock().names.entry(key(name)).or_default().records = None;
    }

    pub(crate) fn silence(&self, voice: Voice) {
        self.lock().voice = voice;
    }

    pub(crate) fn answers(&self, name: &str) -> Vec<Answer> {
        let zone = self.lock();
        zone.names
            .get(&key(name))
            .map(|name| name.answers.clone())
            .unwrap_or_default()
    }

    pub(crate) fn asked(&self, name: &str) -> u64 {
        self.lock().names.get(&key(name)).map_or(0, |name| name.asked)
    }

    /// What to say to a question for the addresses of `name` that `wanted` accepts; written down.
    pub(crate) fn reply(&self, name: &str, wanted: impl Fn(&IpAddr) -> bool) -> Reply {
        let mut zone = self.lock();
        let voice = zone.voice;
        let name = zone.names.entry(key(name)).or_default();
        name.asked += 1;
        if voice == Voice::Silent {
            return Reply::Silence;
        }
        let Some((addresses, ttl)) = name.records.clone() else {
            return Reply::Unknown;
        };
        let addresses: Vec<_> = addresses.into_iter().filter(wanted).collect();
        name.answers.push(Answer {
            at: Instant::now(),
            addresses: addresses.clone(),
            ttl,
        });
        Reply::Records(addresses, ttl)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Names are the same in either case, and with or without the root's dot.
fn key(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}
