//! The body of a request: kept for repetition, or a stream that can't be.

use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use http_body_util::combinators::UnsyncBoxBody;

pub(super) type Failure = Box<dyn std::error::Error + Send + Sync>;
type Stream = UnsyncBoxBody<Bytes, Failure>;

/// What a call has for its attempts.
pub(super) enum Content {
    Kept(Bytes),
    /// Taken by the first attempt.
    Once(Mutex<Option<Stream>>),
}

impl Content {
    pub(super) fn stream(stream: Stream) -> Self {
        Self::Once(Mutex::new(Some(stream)))
    }

    /// Whether a further attempt could have it.
    pub(super) fn is_kept(&self) -> bool {
        matches!(self, Self::Kept(_))
    }

    /// The body of the next attempt; none if it was a stream and is gone.
    pub(super) fn payload(&self) -> Option<Payload> {
        match self {
            Self::Kept(bytes) => Some(Payload::Whole(Full::new(bytes.clone()))),
            Self::Once(stream) => {
                let mut stream = stream.lock().unwrap_or_else(PoisonError::into_inner);
                stream.take().map(Payload::Stream)
            }
        }
    }
}

/// The body of one attempt.
pub(super) enum Payload {
    Whole(Full<Bytes>),
    Stream(Stream),
}

impl Body for Payload {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        match self.get_mut() {
            Self::Whole(body) => Pin::new(body).poll_frame(cx).map_err(|never| match never {}),
            Self::Stream(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(body) => body.is_end_stream(),
            Self::Stream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(body) => body.size_hint(),
            Self::Stream(body) => body.size_hint(),
        }
    }
}
