//! Rows as a stream from an async body that may start over before the first row.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures_util::Stream;
use futures_util::stream::BoxStream;
use sqlx::Either;
use sqlx::postgres::{PgQueryResult, PgRow};

/// What a stream of results yields.
pub(crate) type Step = Either<PgQueryResult, PgRow>;

/// Where the body puts its steps; holds one at most.
pub(crate) struct Outlet<T> {
    slot: Arc<Mutex<Option<T>>>,
}

impl<T> Clone for Outlet<T> {
    fn clone(&self) -> Self {
        Self {
            slot: self.slot.clone(),
        }
    }
}

impl<T> Outlet<T> {
    /// Hands `step` to the reader of the stream; returns when the reader asks for the next.
    pub(crate) async fn put(&self, step: T) {
        *self.slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(step);
        let mut yielded = false;
        // No waker is needed: the stream is ready at once, and its reader polls again for the next step.
        std::future::poll_fn(|_| {
            if std::mem::replace(&mut yielded, true) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }

    fn take(&self) -> Option<T> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The stream of what `body` puts into its outlet, and of its error, if it ends with one.
pub(crate) fn stream<'e, T, F, Fut>(body: F) -> BoxStream<'e, Result<T, sqlx::Error>>
where
    T: Send + 'e,
    F: FnOnce(Outlet<T>) -> Fut,
    Fut: Future<Output = Result<(), sqlx::Error>> + Send + 'e,
{
    let outlet = Outlet { slot: Arc::default() };
    Box::pin(Steps {
        body: Some(Box::pin(body(outlet.clone()))),
        outlet,
    })
}

type Body<'e> = Pin<Box<dyn Future<Output = Result<(), sqlx::Error>> + Send + 'e>>;

struct Steps<'e, T> {
    body: Option<Body<'e>>,
    outlet: Outlet<T>,
}

impl<T> Stream for Steps<'_, T> {
    type Item = Result<T, sqlx::Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let polled = body.as_mut().poll(cx);
        if polled.is_ready() {
            self.body = None;
        }
        match (polled, self.outlet.take()) {
            (Poll::Pending, Some(step)) => Poll::Ready(Some(Ok(step))),
            (Poll::Pending, None) => Poll::Pending,
            (Poll::Ready(Ok(())), _) => Poll::Ready(None),
            (Poll::Ready(Err(error)), _) => Poll::Ready(Some(Err(error))),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;

    use super::*;

    #[tokio::test]
    async fn steps_come_in_order_and_the_error_last() {
        let mut steps = stream(|outlet| async move {
            for step in 0..3 {
                tokio::task::yield_now().await;
                outlet.put(step).await;
            }
            Err(sqlx::Error::RowNotFound)
        });
        for expected in 0..3 {
            assert_eq!(steps.next().await.unwrap().unwrap(), expected);
        }
        assert!(matches!(steps.next().await, Some(Err(sqlx::Error::RowNotFound))));
        assert!(steps.next().await.is_none());
    }
}
