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
    seen: RwLock<HashMap<Box<str>, OfRoute>>,
}

/// The handles of one route.
type OfRoute = Vec<(Kind, Arc<Handles>)>;

/// What all requests of one route and kind share.
#[derive(Debug)]
pub(super) struct Handles {
    pub(super) kind: Kind,
    /// The route's template, where one matched.
    pub(super) route: Option<Box<str>>,
    /// Of their spans.
    pub(super) name: String,
    /// What their lines in the access log say.
    pub(super) line: String,
    pub(super) active: UpDown,
    duration: Histogram,
    /// By how they ended: a handful at most.
    durations: RwLock<Vec<(Ending, Histogram)>>,
}

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
            seen: RwLock::default(),
        }
    }

    pub(super) fn of(&self, route: Option<&str>, kind: Kind) -> Arc<Handles> {
        let find = |all: &[(Kind, Arc<Handles>)]| {
            let found = all.iter().find(|(of, _)| *of == kind);
            found.map(|(_, handles)| handles.clone())
        };
        let seen = self.seen.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(handles) = seen.get(route.unwrap_or_default()).and_then(|all| find(all)) {
            return handles;
        }
        drop(seen);
        let mut seen = self.seen.write().unwrap_or_else(PoisonError::into_inner);
        let all = seen.entry(route.unwrap_or_default().into()).or_default();
        find(all).unwrap_or_else(|| {
            let handles = Arc::new(self.handles(route, kind));
            all.push((kind, handles.clone()));
            handles
        })
    }

    fn handles(&self, route: Option<&str>, kind: Kind) -> Handles {
        Handles {
            kind,
            route: route.map(Into::into),
            name: match route {
                Some(route) => format!("{} {route}", kind.method),
                None => kind.method.to_owned(),
            },
            line: format!("{} {}", kind.method, route.unwrap_or("(no route)")),
            active: self.active.with(&labels(kind)),
            duration: self.duration.clone(),
            durations: RwLock::default(),
        }
    }
}

impl Handles {
    pub(super) fn record(&self, ending: Ending, seconds: f64) {
        let known = self.durations.read().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, handle)) = known.iter().find(|(of, _)| *of == ending) {
            handle.record(seconds);
            return;
        }
        drop(known);
        let handle = self.of(ending);
        handle.record(seconds);
        let mut known = self.durations.write().unwrap_or_else(PoisonError::into_inner);
        // Another one may have come first.
        if known.iter().all(|(of, _)| *of != ending) {
            known.push((ending, handle));
        }
    }

    fn of(&self, ending: Ending) -> Histogram {
        let status = ending.status().map(|status| status.to_string());
        let error = ending.error();
        let mut all = labels(self.kind).to_vec();
        all.extend(self.route.as_deref().map(|route| ("http.route", route)));
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
