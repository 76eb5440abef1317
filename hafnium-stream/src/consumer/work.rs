//! A record on its way through the consumer, and what the polling thread is told.

use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::SystemTime;

use bytes::Bytes;
use tokio::time::Instant;

use super::lease::Lease;
use crate::record::Headers;

/// A record as it was read.
pub(crate) struct RawRecord {
    pub(crate) topic: Arc<str>,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) key: Option<Bytes>,
    pub(crate) payload: Option<Bytes>,
    pub(crate) timestamp: Option<SystemTime>,
    pub(crate) headers: Headers,
}

/// How the way of a record ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Handled, skipped, or in the dead-letter topic.
    Done,
    /// Not handled here: its offset must not be passed.
    HandedBack,
}

/// What the polling thread is told.
pub(crate) enum Event {
    /// A record's way ended; `bytes` of room are free again.
    Ended {
        lease: Arc<Lease>,
        offset: i64,
        bytes: usize,
        end: End,
    },
    /// Take nothing new, finish what began, commit, leave the group.
    Drain,
    /// The same, until the instant at the latest.
    Stop(Instant),
    /// The same, because a handler asked for it, within the drain timeout.
    Halt(String),
    /// Leave at once: the handle is gone.
    Abandon,
}

/// A taken record. However its way ends (its task may be dropped with the runtime), the thread is told exactly once.
pub(crate) struct Work {
    pub(crate) raw: RawRecord,
    pub(crate) lease: Arc<Lease>,
    bytes: usize,
    end: End,
    events: Sender<Event>,
}

impl Work {
    pub(crate) fn new(raw: RawRecord, lease: Arc<Lease>, bytes: usize, events: Sender<Event>) -> Self {
        Self {
            raw,
            lease,
            bytes,
            end: End::HandedBack,
            events,
        }
    }

    pub(crate) fn done(mut self) {
        self.end = End::Done;
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        // The thread may have ended; then nobody commits any more and nothing is to be told.
        let _ = self.events.send(Event::Ended {
            lease: self.lease.clone(),
            offset: self.raw.offset,
            bytes: self.bytes,
            end: self.end,
        });
    }
}
