//! What a call asks for: kept, so that every attempt can be made of it.

use std::time::Duration;

use http::{HeaderMap, Method, Request, StatusCode, Uri};

use super::payload::{Content, Payload};

pub(super) struct Order {
    pub(super) method: Method,
    pub(super) url: Uri,
    pub(super) headers: HeaderMap,
    pub(super) content: Content,
    /// Whether it may take effect twice without harm.
    pub(super) idempotent: bool,
    pub(super) within: Option<Duration>,
    /// Statuses that are answers although they are errors.
    pub(super) accepted: Vec<StatusCode>,
}

impl Order {
    /// The request of the next attempt; none if the body was a stream and is gone.
    pub(super) fn request(&self) -> Option<Request<Payload>> {
        let mut request = Request::new(self.content.payload()?);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.url.clone();
        *request.headers_mut() = self.headers.clone();
        Some(request)
    }

    pub(super) fn accepts(&self, status: StatusCode) -> bool {
        !(status.is_client_error() || status.is_server_error()) || self.accepted.contains(&status)
    }
}
