//! The body of an answer, whose end is the end of its request.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Buf;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::exchange::{Exchange, Sent};

pin_project! {
    /// The body of an answer; its request is recorded when it ends or is dropped.
    pub struct ObservedBody<B> {
        #[pin]
        body: B,
        exchange: Option<Exchange>,
    }
}

impl<B> ObservedBody<B> {
    pub(super) fn new(body: B, exchange: Option<Exchange>) -> Self {
        Self { body, exchange }
    }
}

impl<B> std::fmt::Debug for ObservedBody<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ObservedBody")
    }
}

impl<B: Body> Body for ObservedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.project();
        let mut body = this.body;
        let Some(exchange) = this.exchange.as_mut() else {
            return body.poll_frame(cx);
        };
        exchange.send(|| {
            let polled = body.as_mut().poll_frame(cx);
            let sent = match &polled {
                Poll::Ready(Some(Ok(frame))) => {
                    let bytes = frame.data_ref().map_or(0, Buf::remaining);
                    match body.is_end_stream() {
                        true => Sent::Last(bytes),
                        false => Sent::Part(bytes),
                    }
                }
                Poll::Ready(Some(Err(_))) => Sent::Broken,
                Poll::Ready(None) => Sent::Last(0),
                Poll::Pending => Sent::Nothing,
            };
            (polled, sent)
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
