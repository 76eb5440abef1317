//! The body of an answer, whose end is the end of its request.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Buf;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::exchange::Exchange;

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
        let polled = {
            let _entered = this.exchange.as_ref().map(|exchange| exchange.span().enter());
            this.body.poll_frame(cx)
        };
        match (&polled, this.exchange.as_mut()) {
            (Poll::Ready(Some(Ok(frame))), Some(exchange)) => {
                exchange.sent(frame.data_ref().map_or(0, Buf::remaining));
            }
            (Poll::Ready(Some(Err(_))), Some(exchange)) => exchange.broke(),
            (Poll::Ready(None), _) => drop(this.exchange.take()),
            _ => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
