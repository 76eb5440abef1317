//! What the proxy did, counted.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use super::rule::Direction;

/// What went through a proxy and what did not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Counters {
    /// Connections accepted, also those that were left in silence.
    pub accepted: u64,
    /// Bytes passed on to the server.
    pub to_server: u64,
    /// Bytes passed on to the client.
    pub to_client: u64,
    /// Bytes from the client that the server never got.
    pub swallowed_requests: u64,
    /// Bytes from the server that the client never got.
    pub swallowed_replies: u64,
    /// Connections ended by a reset of ours.
    pub resets: u64,
}

impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} connections, {} bytes to the server and {} to the client, swallowed {} and {}, {} resets",
            self.accepted,
            self.to_server,
            self.to_client,
            self.swallowed_requests,
            self.swallowed_replies,
            self.resets
        )
    }
}

#[derive(Default)]
pub(crate) struct Tally {
    accepted: AtomicU64,
    to_server: AtomicU64,
    to_client: AtomicU64,
    swallowed_requests: AtomicU64,
    swallowed_replies: AtomicU64,
    resets: AtomicU64,
}

impl Tally {
    pub(crate) fn accepted(&self) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn reset(&self) {
        self.resets.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn forwarded(&self, direction: Direction, bytes: usize) {
        match direction {
            Direction::ToServer => &self.to_server,
            Direction::ToClient => &self.to_client,
        }
        .fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn swallowed(&self, direction: Direction, bytes: usize) {
        match direction {
            Direction::ToServer => &self.swallowed_requests,
            Direction::ToClient => &self.swallowed_replies,
        }
        .fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> Counters {
        Counters {
            accepted: self.accepted.load(Ordering::Relaxed),
            to_server: self.to_server.load(Ordering::Relaxed),
            to_client: self.to_client.load(Ordering::Relaxed),
            swallowed_requests: self.swallowed_requests.load(Ordering::Relaxed),
            swallowed_replies: self.swallowed_replies.load(Ordering::Relaxed),
            resets: self.resets.load(Ordering::Relaxed),
        }
    }
}
