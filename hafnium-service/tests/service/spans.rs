//! The spans of the service that does all by hand: the trace of each request, exported at its end.

use std::sync::{Arc, Mutex, PoisonError};

use hafnium::axum::http::HeaderMap;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The ids of the traces that were seen.
#[derive(Clone, Default)]
pub(crate) struct Spans {
    traces: Arc<Mutex<Vec<u8>>>,
}

impl Spans {
    pub(crate) fn note(&self, headers: &HeaderMap) {
        let parent = headers.get("traceparent").and_then(|parent| parent.to_str().ok());
        let trace = parent
            .and_then(|parent| parent.split('-').nth(1))
            .unwrap_or_default();
        let bytes = trace.as_bytes().chunks(2).filter_map(|pair| {
            let pair = std::str::from_utf8(pair).ok()?;
            u8::from_str_radix(pair, 16).ok()
        });
        let mut traces = self.traces.lock().unwrap_or_else(PoisonError::into_inner);
        traces.extend(bytes);
    }

    pub(crate) async fn flush(&self) -> std::io::Result<()> {
        let endpoint = std::env::var("OTEL_EXPORTER_OTLP_ENDPOINT").unwrap_or_default();
        let Some(address) = endpoint.strip_prefix("http://") else {
            return Ok(());
        };
        let traces = self.traces.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut stream = TcpStream::connect(address).await?;
        let head = format!(
            "POST /v1/traces HTTP/1.1\r\ncontent-length: {}\r\n\r\n",
            traces.len()
        );
        stream.write_all(&[head.as_bytes(), &traces].concat()).await?;
        stream.read_exact(&mut [0; 12]).await?;
        Ok(())
    }
}
