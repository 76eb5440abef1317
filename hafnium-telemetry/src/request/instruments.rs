//! The instruments of requests, with a handle per combination of labels that was seen.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use hafnium_core::metrics::{Histogram, Label, Metrics, UpDown};

/// Seconds, as the semantic conventions advise.
const BOUNDS: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];

const METHODS: [&str; 9] = [
    "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH",
];

/// The method as a label: one of those known, or `_OTHER`.
pub(super) fn known_method(method: &http::Method) -> &'static str {
    let known = METHODS.into_iter().find(|known| *known == method.as_str());
    known.unwrap_or("_OTHER")
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Ending {
    /// It was answered with that status.
    Answered(u16),
    /// It was answered with that status, and its body failed.
    Broken(u16),
    /// It was abandoned before its answer.
    Cancelled,
    /// The service itself failed.
    Failed,
}

impl Ending {
    pub(super) fn status(self) -> Option<u16> {
        match self {
            Self::Answered(status) | Self::Broken(status) => Some(status),
            Self::Cancelled | Self::Failed => None,
        }
    }

    /// `error.type`, for what is an error of this side.
    pub(super) fn error(self) -> Option<String> {
        match self {
            Self::Answered(status) if status >= 500 => Some(status.to_string()),
            Self::Answered(_) => None,
            Self::Broken(_) => Some("body".to_owned()),
            Self::Cancelled => Some("cancelled".to_owned()),
            Self::Failed => Some("service".to_owned()),
        }
    }
}

/// What tells one request from another, in bounded values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Kind {
    pub(super) method: &'static str,
    pub(super) scheme: &'static str,
}

/// The instruments and their handles.
#[derive(Debug)]
pub(super) struct Instruments {
    duration: Histogram,
    active: UpDown,
    /// By route (empty where none matched), then by the rest, so that a lookup needs no owned route.
    durations: RwLock<HashMap<Box<str>, Durations>>,
    actives: RwLock<HashMap<Kind, Arc<UpDown>>>,
}

type Durations = HashMap<(Kind, Ending), Histogram>;

impl Instruments {
    pub(super) fn new(metrics: &Metrics) -> Self {
        Self {
            duration: metrics.histogram(
                "http.server.request.duration",
                "s",
                "Duration of HTTP requests, until their answer was wholly sent",
                BOUNDS,
            ),
            active: metrics.up_down(
                "http.server.active_requests",
                "{request}",
                "HTTP requests under way",
            ),
            durations: RwLock::default(),
            actives: RwLock::default(),
        }
    }

    pub(super) fn active(&self, kind: Kind) -> Arc<UpDown> {
        let known = self.actives.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(handle) = known.get(&kind) {
            return handle.clone();
        }
        drop(known);
        let handle = Arc::new(self.active.with(&labels(kind)));
        let mut known = self.actives.write().unwrap_or_else(PoisonError::into_inner);
        known.entry(kind).or_insert(handle).clone()
    }

    pub(super) fn record(&self, route: Option<&str>, kind: Kind, ending: Ending, seconds: f64) {
        let known = self.durations.read().unwrap_or_else(PoisonError::into_inner);
        let handle = known
            .get(route.unwrap_or_default())
            .and_then(|of_route| of_route.get(&(kind, ending)));
        if let Some(handle) = handle {
            handle.record(seconds);
            return;
        }
        drop(known);
        let handle = self.handle(route, kind, ending);
        handle.record(seconds);
        let mut known = self.durations.write().unwrap_or_else(PoisonError::into_inner);
        known
            .entry(route.unwrap_or_default().into())
            .or_default()
            .insert((kind, ending), handle);
    }

    fn handle(&self, route: Option<&str>, kind: Kind, ending: Ending) -> Histogram {
        let status = ending.status().map(|status| status.to_string());
        let error = ending.error();
        let mut all = labels(kind).to_vec();
        all.extend(route.map(|route| ("http.route", route)));
        all.extend(
            status
                .as_deref()
                .map(|status| ("http.response.status_code", status)),
        );
        all.extend(error.as_deref().map(|error| ("error.type", error)));
        self.duration.with(&all)
    }
}

fn labels(kind: Kind) -> [Label<'static>; 2] {
    [("http.request.method", kind.method), ("url.scheme", kind.scheme)]
}
