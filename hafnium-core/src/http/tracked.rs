//! The body of an answer, under way until its last byte is written.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Buf;
use pin_project_lite::pin_project;
use tokio::time::Instant;

use super::exchange::Underway;

pin_project! {
    /// Keeps its request in the list of those under way. HTTP/2 takes a body at once, however large, and writes it as the
    /// client opens windows: there, each piece keeps its request in the list too.
    pub(super) struct Tracked {
        #[pin]
        body: Body,
        underway: Kept,
    }
}

enum Kept {
    /// By the body alone.
    Alone { _underway: Underway },
    /// By its pieces too.
    Shared(Arc<Underway>),
}

impl Tracked {
    pub(super) fn new(body: Body, underway: Underway, multiplexed: bool) -> Self {
        let underway = match multiplexed {
            true => Kept::Shared(Arc::new(underway)),
            false => Kept::Alone { _underway: underway },
        };
        Self { body, underway }
    }
}

impl HttpBody for Tracked {
    type Data = Piece;
    type Error = <Body as HttpBody>::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Piece>, Self::Error>>> {
        let this = self.project();
        let frame = ready!(this.body.poll_frame(cx));
        let underway = match this.underway {
            Kept::Alone { .. } => None,
            Kept::Shared(underway) => Some(&*underway),
        };
        Poll::Ready(frame.map(|frame| Ok(frame?.map_data(|bytes| Piece::new(bytes, underway)))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A piece of an answer, which tells when it is written.
pub(super) struct Piece {
    bytes: Bytes,
    underway: Option<Arc<Underway>>,
}

impl Piece {
    fn new(bytes: Bytes, underway: Option<&Arc<Underway>>) -> Self {
        if let Some(underway) = underway {
            underway.connection.known().activity.gave(Instant::now());
        }
        Self {
            bytes,
            underway: underway.cloned(),
        }
    }
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.len()
    }

    fn chunk(&self) -> &[u8] {
        &self.bytes
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
        if let Some(underway) = &self.underway {
            underway.connection.known().activity.moved(Instant::now());
        }
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        if let Some(underway) = &self.underway {
            underway.connection.known().activity.took();
        }
    }
}
