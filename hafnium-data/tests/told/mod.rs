//! What the library says in events, for a test that looks for one. One listener per process.

use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber, span};

/// The events so far, a line each.
#[derive(Clone, Default)]
pub(crate) struct Told(Arc<Mutex<Vec<String>>>);

/// Listens to every thread from now on.
pub(crate) fn listen() -> Told {
    let told = Told::default();
    tracing::subscriber::set_global_default(told.clone()).unwrap();
    told
}

impl Told {
    /// Whether `what` was said of the node at `port`.
    pub(crate) fn contains(&self, what: &str, port: i32) -> bool {
        let port = format!(":{port}");
        let lines = self.0.lock().unwrap();
        lines
            .iter()
            .any(|line| line.contains(what) && line.contains(&port))
    }

    /// Whether `what` was said.
    #[allow(dead_code, reason = "not every suite asks")]
    pub(crate) fn says(&self, what: &str) -> bool {
        self.0.lock().unwrap().iter().any(|line| line.contains(what))
    }
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _infallible = write!(self.0, "{field}={value:?} ");
    }
}

impl Subscriber for Told {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && metadata.target().starts_with("hafnium")
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}
