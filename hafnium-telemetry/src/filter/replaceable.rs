//! A filter that can be replaced while it is asked.
//!
//! `tracing_subscriber::reload` takes a lock for each question: under load all threads wait for each other there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::{Context, Filter};

/// The filter in force. Cheap to clone; all clones are one.
#[derive(Clone)]
pub(crate) struct Replaceable(Arc<Shared>);

struct Shared {
    filter: ArcSwap<EnvFilter>,
    /// Beside the filter, because spans ask for it at each step of their lives.
    by_span: AtomicBool,
}

/// Only what stands in brackets asks for spans and fields.
fn is_by_span(text: &str) -> bool {
    text.contains('[')
}

impl Replaceable {
    pub(super) fn new(filter: EnvFilter, text: &str) -> Self {
        Self(Arc::new(Shared {
            filter: ArcSwap::from_pointee(filter),
            by_span: AtomicBool::new(is_by_span(text)),
        }))
    }

    pub(super) fn replace(&self, filter: EnvFilter, text: &str) {
        self.0.by_span.store(is_by_span(text), Ordering::Release);
        self.0.filter.store(Arc::new(filter));
        // What each callsite was told before may be wrong now.
        tracing::callsite::rebuild_interest_cache();
    }

    /// Whether it looks at the spans that are entered, or at their fields. Most do not, and need not be told of spans.
    pub(crate) fn is_by_span(&self) -> bool {
        self.0.by_span.load(Ordering::Acquire)
    }

    pub(crate) fn enabled<S: Subscriber>(&self, metadata: &Metadata<'_>, context: Context<'_, S>) -> bool {
        self.0.filter.load().enabled(metadata, context)
    }

    pub(crate) fn callsite_enabled<S>(&self, metadata: &'static Metadata<'static>) -> Interest {
        Filter::<S>::callsite_enabled(&**self.0.filter.load(), metadata)
    }

    pub(crate) fn max_level_hint(&self) -> Option<LevelFilter> {
        self.0.filter.load().max_level_hint()
    }

    pub(crate) fn on_new_span<S: Subscriber>(
        &self,
        attributes: &Attributes<'_>,
        id: &Id,
        context: Context<'_, S>,
    ) {
        self.0.filter.load().on_new_span(attributes, id, context);
    }

    pub(crate) fn on_record<S: Subscriber>(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        self.0.filter.load().on_record(id, values, context);
    }

    pub(crate) fn on_enter<S: Subscriber>(&self, id: &Id, context: Context<'_, S>) {
        self.0.filter.load().on_enter(id, context);
    }

    pub(crate) fn on_exit<S: Subscriber>(&self, id: &Id, context: Context<'_, S>) {
        self.0.filter.load().on_exit(id, context);
    }

    pub(crate) fn on_close<S: Subscriber>(&self, id: Id, context: Context<'_, S>) {
        self.0.filter.load().on_close(id, context);
    }
}
