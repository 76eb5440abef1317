//! The wait for a future until a deadline.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tokio::task::coop::{Unconstrained, unconstrained};
use tokio::time::{Instant, Sleep, sleep_until};

use super::{Deadline, DeadlineExceeded};

pin_project! {
    /// The future of [`Deadline::bound`].
    #[must_use = "futures do nothing unless they are polled"]
    pub(crate) struct Bounded<F> {
        #[pin]
        future: F,
        deadline: Deadline,
        waited_for: &'static str,
        // Made when there is something to wait for: most of what is bounded is done at once, and a timer counts a
        // reference that all threads share.
        #[pin]
        wait: Option<Wait>,
    }
}

pin_project! {
    struct Wait {
        begun: Instant,
        // Out of tokio's budget: a future that uses it up each time would never let the deadline come.
        #[pin]
        end: Unconstrained<Sleep>,
    }
}

impl<F> Bounded<F> {
    pub(super) fn new(deadline: Deadline, waited_for: &'static str, future: F) -> Self {
        Self {
            future,
            deadline,
            waited_for,
            wait: None,
        }
    }
}

impl<F: Future> Future for Bounded<F> {
    type Output = Result<F::Output, DeadlineExceeded>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Poll::Ready(output) = this.future.poll(cx) {
            return Poll::Ready(Ok(output));
        }
        if this.wait.is_none() {
            this.wait.set(Some(Wait {
                begun: Instant::now(),
                end: unconstrained(sleep_until(this.deadline.instant())),
            }));
        }
        let Some(wait) = this.wait.as_pin_mut() else {
            return Poll::Pending;
        };
        let wait = wait.project();
        ready!(wait.end.poll(cx));
        Poll::Ready(Err(DeadlineExceeded {
            waited_for: this.waited_for,
            waited: wait.begun.elapsed(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_future_that_always_has_something_to_do_is_ended_all_the_same() {
        let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
        let busy = async {
            loop {
                sender.send(()).await.unwrap();
                receiver.recv().await;
            }
        };
        let ended = Deadline::after(Duration::from_millis(20)).bound("work without end", busy);
        assert!(ended.await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_done_at_once_is_done_also_after_the_deadline() {
        let past = Deadline::at(Instant::now());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(past.bound("nothing", async { 17 }).await, Ok(17));
    }
}
