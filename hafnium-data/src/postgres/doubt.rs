//! What operations of other handles may have done inside the closure of a transaction that is being left.
//!
//! A transaction that is cut, or whose deadline comes, is undone for certain, but its closure may be using other
//! handles at that moment: a statement or a COMMIT of theirs that was sent is dropped together with the closure, and
//! running the closure again could do it twice.
//!
//! Only what runs in the closure's own task is seen. A task spawned in a closure goes on by itself.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

tokio::task_local! {
    static AROUND: Arc<Doubt>;
}

/// Whether something was sent inside a closure of which nobody will learn what became of it.
#[derive(Debug, Default)]
pub(crate) struct Doubt {
    raised: AtomicBool,
    /// That of the closure around.
    around: Option<Arc<Doubt>>,
}

impl Doubt {
    /// For a closure that begins now; a doubt in it is one in the closures around it too.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            raised: AtomicBool::new(false),
            around: AROUND.try_with(Arc::clone).ok(),
        })
    }

    /// Runs `closure` such that what it sends is noticed.
    pub(crate) fn scope<F: Future>(self: &Arc<Self>, closure: F) -> impl Future<Output = F::Output> + use<F> {
        AROUND.scope(self.clone(), closure)
    }

    pub(crate) fn is_raised(&self) -> bool {
        self.raised.load(Ordering::Relaxed)
    }

    fn raise(&self) {
        self.raised.store(true, Ordering::Relaxed);
        if let Some(around) = &self.around {
            around.raise();
        }
    }
}

/// Something was sent that may take effect. Dropped before it was [`answered`](Self::answered), it raises the doubt of
/// the closure around.
#[must_use]
pub(crate) struct Sent(Option<Arc<Doubt>>);

impl Sent {
    pub(crate) fn now() -> Self {
        Self(AROUND.try_with(Arc::clone).ok())
    }

    /// Its result, good or bad, is being told.
    pub(crate) fn answered(mut self) {
        self.0 = None;
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        if let Some(doubt) = &self.0 {
            doubt.raise();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_dropped_unanswered_raises_the_doubt_of_every_closure_around_it() {
        let (outer, beside) = (Doubt::new(), Doubt::new());
        let inner = outer
            .scope(async {
                Sent::now().answered();
                assert!(!AROUND.with(|doubt| doubt.is_raised()));
                let inner = Doubt::new();
                inner.scope(async { drop(Sent::now()) }).await;
                inner
            })
            .await;
        assert!(inner.is_raised() && outer.is_raised() && !beside.is_raised());
    }

    #[test]
    fn outside_of_a_closure_nothing_is_doubted() {
        drop(Sent::now());
        assert!(!Doubt::new().is_raised());
    }
}
