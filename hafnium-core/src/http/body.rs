//! The body of a request on its way to the handler: of a limited length, from a client that goes on sending.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use http::header::{CONTENT_LENGTH, EXPECT};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep};

use crate::problem::Problem;

/// What is still read of a body that is refused, so that a client that writes first and reads later gets the answer
/// instead of a reset.
const DISCARD: usize = 16 << 20;
const DISCARD_TIMEOUT: Duration = Duration::from_secs(2);

/// How the reading of a body goes, seen from outside of the handler.
#[derive(Debug, Default)]
pub(super) struct Reading(AtomicU8);

const FLOWING: u8 = 0;
/// The handler waits for more.
const WAITING: u8 = 1;
const SILENT: u8 = 2;
const TOO_LARGE: u8 = 3;

/// What the client did wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// It went silent in the middle.
    Silent,
    /// It sent more than the limit.
    TooLarge,
}

impl Reading {
    pub(super) fn fault(&self) -> Option<Fault> {
        match self.0.load(Ordering::Relaxed) {
            SILENT => Some(Fault::Silent),
            TOO_LARGE => Some(Fault::TooLarge),
            _ => None,
        }
    }

    /// Whether the handler waits for the client.
    pub(super) fn is_waiting(&self) -> bool {
        self.0.load(Ordering::Relaxed) == WAITING
    }

    fn set(&self, state: u8) {
        self.0.store(state, Ordering::Relaxed);
    }
}

/// The request with a body of at most `limit` bytes from a client that is never silent for longer than `silence`, or the
/// refusal of one that announces more. A request without a body is left as it is.
pub(super) fn guarded(
    request: Request,
    limit: u64,
    silence: Duration,
) -> Result<(Request, Option<Arc<Reading>>), Problem> {
    if request.body().is_end_stream() {
        return Ok((request, None));
    }
    let announced = request
        .headers()
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limit) {
        if !request.headers().contains_key(EXPECT) {
            tokio::spawn(discard(request.into_body()));
        }
        return Err(Problem::body_too_large(limit));
    }
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let reading = Arc::new(Reading::default());
    let seen = reading.clone();
    let request = request.map(|body| {
        Body::new(Guarded {
            body: Limited::new(body, limit),
            silence,
            timer: None,
            reading,
        })
    });
    Ok((request, Some(seen)))
}

async fn discard(body: Body) {
    let mut body = Limited::new(body, DISCARD);
    let all = async { while let Some(Ok(_)) = body.frame().await {} };
    let _ = tokio::time::timeout(DISCARD_TIMEOUT, all).await;
}

/// The client was silent for too long in the middle of a body.
#[derive(Debug, thiserror::Error)]
#[error("the client sent nothing more of the body")]
struct ClientSilent;

pin_project! {
    /// Reads until the limit or the silence.
    struct Guarded {
        #[pin]
        body: Limited<Body>,
        silence: Duration,
        // Only made when there is something to wait for; most bodies are there with their head.
        timer: Option<Pin<Box<Sleep>>>,
        reading: Arc<Reading>,
    }
}

impl HttpBody for Guarded {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        let this = self.project();
        match this.body.poll_frame(cx) {
            Poll::Ready(frame) => {
                *this.timer = None;
                let too_large = matches!(&frame, Some(Err(error)) if error.is::<LengthLimitError>());
                this.reading.set(if too_large { TOO_LARGE } else { FLOWING });
                Poll::Ready(frame)
            }
            Poll::Pending => {
                let silence = *this.silence;
                let timer = this
                    .timer
                    .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + silence)));
                this.reading.set(WAITING);
                ready!(timer.as_mut().poll(cx));
                this.reading.set(SILENT);
                Poll::Ready(Some(Err(ClientSilent.into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
