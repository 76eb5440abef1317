//! A filter that can be replaced while it is asked.
//!
//! `tracing_subscriber::reload` takes a lock for each question, and a span asks a dozen times in its life: under load all
//! threads wait for each other there.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::{Context, Filter};

/// The filter in force. Cheap to clone; all clones are one.
#[derive(Clone)]
pub(crate) struct Replaceable(Arc<ArcSwap<InForce>>);

struct InForce {
    filter: EnvFilter,
    /// Whether it looks at the spans that are entered, or at their fields. Most do not, and need not be told of spans.
    by_span: bool,
}

impl InForce {
    /// Only what stands in brackets asks for spans and fields.
    fn new(filter: EnvFilter, text: &str) -> Self {
        Self {
            filter,
            by_span: text.contains('['),
        }
    }
}

impl Replaceable {
    pub(super) fn new(filter: EnvFilter, text: &str) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(InForce::new(filter, text))))
    }

    pub(super) fn replace(&self, filter: EnvFilter, text: &str) {
        self.0.store(Arc::new(InForce::new(filter, text)));
        // What each callsite was told before may be wrong now.
        tracing::callsite::rebuild_interest_cache();
    }

    /// Tells the filter of something that happened to a span, if it cares.
    fn tell(&self, tell: impl FnOnce(&EnvFilter)) {
        let in_force = self.0.load();
        if in_force.by_span {
            tell(&in_force.filter);
        }
    }
}

impl<S: Subscriber> Filter<S> for Replaceable {
    fn enabled(&self, metadata: &Metadata<'_>, context: &Context<'_, S>) -> bool {
        self.0.load().filter.enabled(metadata, context.clone())
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        Filter::<S>::callsite_enabled(&self.0.load().filter, metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        self.0.load().filter.max_level_hint()
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        self.tell(|filter| filter.on_new_span(attributes, id, context));
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        self.tell(|filter| filter.on_record(id, values, context));
    }

    fn on_enter(&self, id: &Id, context: Context<'_, S>) {
        self.tell(|filter| filter.on_enter(id, context));
    }

    fn on_exit(&self, id: &Id, context: Context<'_, S>) {
        self.tell(|filter| filter.on_exit(id, context));
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        self.tell(|filter| filter.on_close(id, context));
    }
}
