//! A whole answer.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::response::Parts;
use http::{HeaderMap, StatusCode, Version};
use serde::de::DeserializeOwned;

use super::error::UpstreamError;
use super::retry_after;

/// An answer with its whole body, which is at most `body_limit` large.
#[derive(Clone)]
pub struct Response {
    upstream: Arc<str>,
    address: SocketAddr,
    status: StatusCode,
    version: Version,
    headers: HeaderMap,
    body: Bytes,
    /// Another exchange of the call may have taken effect.
    pub(super) doubted: bool,
}

impl Response {
    pub(super) fn new(upstream: Arc<str>, address: SocketAddr, head: Parts, body: Bytes) -> Self {
        Self {
            upstream,
            address,
            status: head.status,
            version: head.version,
            headers: head.headers,
            body,
            doubted: false,
        }
    }

    pub(super) fn upstream(&self) -> &str {
        &self.upstream
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The headers.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The version of HTTP that was spoken.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The address that answered.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The body.
    pub fn bytes(&self) -> &Bytes {
        &self.body
    }

    /// The body without the rest.
    pub fn into_bytes(self) -> Bytes {
        self.body
    }

    /// How long the upstream wants to be left alone, if it says so in `Retry-After`.
    pub fn retry_after(&self) -> Option<Duration> {
        retry_after::read(&self.headers, SystemTime::now())
    }

    /// The body as text.
    ///
    /// # Errors
    /// [`UpstreamError::Decode`] when it is not UTF-8.
    pub fn text(&self) -> Result<&str, UpstreamError> {
        std::str::from_utf8(&self.body).map_err(|error| self.unexpected(error.to_string()))
    }

    /// The body as JSON. The content type is not looked at.
    ///
    /// # Errors
    /// [`UpstreamError::Decode`] says where it differs, without its values.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, UpstreamError> {
        serde_json::from_slice(&self.body).map_err(|error| {
            // The error's own text may hold the value that was found.
            let kind = match error.classify() {
                serde_json::error::Category::Data => "of another shape",
                serde_json::error::Category::Eof => "cut off",
                serde_json::error::Category::Syntax | serde_json::error::Category::Io => "no JSON",
            };
            self.unexpected(format!(
                "{kind} at line {} column {}",
                error.line(),
                error.column()
            ))
        })
    }

    fn unexpected(&self, reason: String) -> UpstreamError {
        UpstreamError::Decode {
            upstream: self.upstream.clone(),
            reason,
        }
    }
}

/// Neither headers nor body: they may hold what is not to be shown.
impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("upstream", &self.upstream)
            .field("address", &self.address)
            .field("status", &self.status)
            .field("length", &self.body.len())
            .finish_non_exhaustive()
    }
}
