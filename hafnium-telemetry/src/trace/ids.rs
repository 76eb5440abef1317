//! What is left of a trace where nobody gets its spans: the ids, whether the caller sampled it, and what is handed on.
//!
//! A span of the OpenTelemetry SDK has its name, times and attributes besides, which cost several times as much to
//! collect.

use std::cell::RefCell;
use std::sync::Arc;

use opentelemetry::trace::{SpanContext, SpanKind, TraceContextExt, TraceFlags};
use opentelemetry::{Context, ContextGuard};
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator, Sampler, SamplingDecision, ShouldSample};
use tracing::span::Id;

/// Makes the ids of spans, as the SDK would.
#[derive(Debug, Clone)]
pub(crate) struct Ids {
    sampler: Arc<Sampler>,
    generator: RandomIdGenerator,
}

/// The place of one span in its trace.
#[derive(Debug)]
pub(crate) enum Traced {
    /// It has none yet, and another parent may be named.
    Planned { parent: Context },
    /// Its own context.
    Begun(Context),
}

impl Traced {
    /// Names another parent; one that has its ids keeps them.
    pub(crate) fn set_parent(&mut self, context: Context) {
        if let Self::Planned { parent } = self {
            *parent = context;
        }
    }
}

impl Ids {
    pub(crate) fn new(sampler: Sampler) -> Self {
        Self {
            sampler: Arc::new(sampler),
            generator: RandomIdGenerator::default(),
        }
    }

    /// The context of a span of that name, which gets its ids when it is first asked for.
    pub(crate) fn context(&self, traced: &mut Traced, name: &str) -> Context {
        match traced {
            Traced::Begun(context) => context.clone(),
            Traced::Planned { parent } => {
                let own = self.child(parent, name);
                *traced = Traced::Begun(own.clone());
                own
            }
        }
    }

    fn child(&self, parent: &Context, name: &str) -> Context {
        if parent.is_telemetry_suppressed() {
            return parent.with_remote_span_context(SpanContext::empty_context());
        }
        let of_parent = parent.span();
        let of_parent = Some(of_parent.span_context()).filter(|context| context.is_valid());
        let trace = of_parent.map_or_else(|| self.generator.new_trace_id(), SpanContext::trace_id);
        let decided = self
            .sampler
            .should_sample(Some(parent), trace, name, &SpanKind::Internal, &[], &[]);
        let inherited = of_parent.map_or(TraceFlags::default(), SpanContext::trace_flags);
        let flags = match decided.decision {
            SamplingDecision::RecordAndSample => inherited.with_sampled(true),
            SamplingDecision::RecordOnly => inherited.with_sampled(false),
            SamplingDecision::Drop => TraceFlags::default(),
        };
        let span = self.generator.new_span_id();
        // "Remote" is what OpenTelemetry calls a span that only has a context; that of this one says that it is not.
        parent.with_remote_span_context(SpanContext::new(trace, span, flags, false, decided.trace_state))
    }
}

thread_local! {
    /// The spans that are entered on this thread, with what makes their contexts the current ones.
    static ENTERED: RefCell<Vec<(Id, ContextGuard)>> = const { RefCell::new(Vec::new()) };
}

/// Makes `context` the current one of this thread until the span `id` is [left](exit).
pub(crate) fn enter(id: &Id, context: Context) {
    let guard = context.attach();
    // Fails at the end of a thread only.
    let _ = ENTERED.try_with(|entered| entered.borrow_mut().push((id.clone(), guard)));
}

/// Takes back what [`enter`] did last for that span, if it did.
pub(crate) fn exit(id: &Id) {
    let guard = ENTERED.try_with(|entered| {
        let mut entered = entered.borrow_mut();
        let at = entered.iter().rposition(|(of, _)| of == id)?;
        Some(entered.remove(at))
    });
    // Outside of the borrow: what a context holds may have a destructor that enters spans.
    drop(guard);
}
