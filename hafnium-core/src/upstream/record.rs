//! Metric and span of one attempt, also of one that is dropped.

use http::Method;
use tokio::time::Instant;
use tracing::Span;

use super::error::UpstreamError;
use super::figures::Figures;
use super::response::Response;
use crate::classify::Classify;

/// Counts an attempt as active until it ends or is dropped.
pub(super) struct Record<'a> {
    figures: &'a Figures,
    method: &'a Method,
    span: &'a Span,
    begun: Instant,
    ended: bool,
}

impl<'a> Record<'a> {
    pub(super) fn begin(figures: &'a Figures, method: &'a Method, span: &'a Span) -> Self {
        figures.active.add(1);
        Self {
            figures,
            method,
            span,
            begun: Instant::now(),
            ended: false,
        }
    }

    pub(super) fn end(mut self, result: &Result<Response, UpstreamError>) {
        self.ended = true;
        let (status, error) = match result {
            Ok(response) => (Some(response.status()), None),
            Err(error) => (error.status(), Some(error.code())),
        };
        let status = status.map(|status| status.as_u16());
        if let Some(status) = status {
            self.span.record("http.response.status_code", status);
        }
        if let Some(error) = error {
            self.span.record("error.type", error);
            self.span.record("otel.status_code", "ERROR");
        }
        self.figures
            .record(self.method, status, error, self.begun.elapsed());
    }
}

impl Drop for Record<'_> {
    fn drop(&mut self) {
        self.figures.active.add(-1);
        if !self.ended {
            self.span.record("error.type", "cancelled");
            self.figures
                .record(self.method, None, Some("cancelled"), self.begun.elapsed());
        }
    }
}
