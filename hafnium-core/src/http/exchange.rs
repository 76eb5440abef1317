//! The requests of a connection that are under way, from the end of the head to the last byte of the answer.

use std::sync::Arc;

use axum::extract::MatchedPath;
use http::Method;
use tokio::time::Instant;

use super::connection::Connection;

/// Those of one connection; over HTTP/1.1 that is one at a time, in a place that is kept.
#[derive(Debug, Default)]
pub(super) struct Exchanges {
    underway: Vec<Entry>,
    last_id: u64,
}

#[derive(Debug)]
struct Entry {
    id: u64,
    method: Method,
    begun: Instant,
    /// The route's template, once the router has found it. Never the path: that may hold values.
    route: Option<MatchedPath>,
}

impl Exchanges {
    /// Adds one; returns its id.
    pub(super) fn begin(&mut self, method: Method, begun: Instant) -> u64 {
        self.last_id += 1;
        self.underway.push(Entry {
            id: self.last_id,
            method,
            begun,
            route: None,
        });
        self.last_id
    }

    pub(super) fn end(&mut self, id: u64) {
        self.underway.retain(|entry| entry.id != id);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.underway.is_empty()
    }

    /// Of one that is over it is not noted.
    fn set_route(&mut self, id: u64, route: MatchedPath) {
        if let Some(entry) = self.underway.iter_mut().find(|entry| entry.id == id) {
            entry.route = Some(route);
        }
    }

    /// `POST /payments/{id} for 3.2s` of each.
    pub(super) fn describe(&self, now: Instant) -> Vec<String> {
        self.underway.iter().map(|entry| entry.describe(now)).collect()
    }
}

impl Entry {
    fn describe(&self, now: Instant) -> String {
        let route = self.route.as_ref().map_or("(no route)", MatchedPath::as_str);
        let age = now.saturating_duration_since(self.begun).as_secs_f64();
        format!("{} {route} for {age:.1}s", self.method)
    }
}

/// One of them, in the extensions of its request.
#[derive(Debug, Clone)]
pub(super) struct Exchange {
    connection: Arc<Connection>,
    id: u64,
}

impl Exchange {
    pub(super) fn set_route(&self, route: MatchedPath) {
        self.connection.known().exchanges.set_route(self.id, route);
    }
}

/// Keeps a request among those under way until its answer was wholly sent or given up.
pub(super) struct Underway {
    pub(super) connection: Arc<Connection>,
    id: u64,
}

impl Underway {
    pub(super) fn new(connection: Arc<Connection>, id: u64) -> Self {
        Self { connection, id }
    }

    pub(super) fn exchange(&self) -> Exchange {
        Exchange {
            connection: self.connection.clone(),
            id: self.id,
        }
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        let now = Instant::now();
        let mut known = self.connection.known();
        known.activity.answered(now);
        known.exchanges.end(self.id);
    }
}
