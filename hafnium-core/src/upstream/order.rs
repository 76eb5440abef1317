//! What a call asks for: kept, so that every attempt can be made of it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::{HeaderMap, Method, Request, StatusCode, Uri};

use super::error::UpstreamError;
use super::payload::{Content, Payload};
use crate::classify::{Classify, Outcome};

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
    /// The first error of unknown outcome that another exchange took the place of.
    pub(super) doubt: Mutex<Option<UpstreamError>>,
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

    /// Remembers `error`, that another exchange takes the place of, if the call may have taken effect by it.
    pub(super) fn replaced(&self, error: UpstreamError) {
        if error.outcome() == Outcome::Unknown {
            let mut doubt = self.doubt.lock().unwrap_or_else(PoisonError::into_inner);
            doubt.get_or_insert(error);
        }
    }

    /// The error of the whole call: no more certain than all its exchanges.
    pub(super) fn failed(&self, last: UpstreamError) -> UpstreamError {
        if last.outcome() == Outcome::Unknown {
            return last;
        }
        let mut doubt = self.doubt.lock().unwrap_or_else(PoisonError::into_inner);
        match doubt.take() {
            // An answer says more than a broken connection does.
            Some(_) if last.status().is_some() => last.doubted(),
            Some(first) => first,
            None => last,
        }
    }

    pub(super) fn accepts(&self, status: StatusCode) -> bool {
        !(status.is_client_error() || status.is_server_error()) || self.accepted.contains(&status)
    }
}
