//! A request as its caller writes it.

use std::future::{Future, IntoFuture};
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Method, StatusCode};
use http_body::Body;
use http_body_util::BodyExt;
use serde::Serialize;

use super::client::Upstream;
use super::error::UpstreamError;
use super::order::Order;
use super::payload::{Content, Failure};
use super::response::Response;
use crate::component::BoxFuture;

/// With this header a request of any method may be repeated: the upstream knows a second one by it.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// A request to an upstream. Nothing happens until [`send`](Self::send), or until it is awaited, which is the same.
///
/// What is wrong with its parts is told by `send`.
#[must_use = "nothing is sent until it is awaited"]
pub struct Call {
    upstream: Upstream,
    method: Method,
    path: String,
    headers: HeaderMap,
    content: Content,
    idempotent: bool,
    within: Option<Duration>,
    accepted: Vec<StatusCode>,
    wrong: Option<String>,
}

impl Call {
    pub(super) fn new(upstream: Upstream, method: Method, path: &str) -> Self {
        let idempotent = matches!(
            method,
            Method::GET | Method::HEAD | Method::PUT | Method::DELETE | Method::OPTIONS | Method::TRACE
        );
        Self {
            upstream,
            method,
            path: path.to_owned(),
            headers: HeaderMap::new(),
            content: Content::Kept(Bytes::new()),
            idempotent,
            within: None,
            accepted: Vec::new(),
            wrong: None,
        }
    }

    /// With a header; one of the same name is replaced.
    pub fn header(mut self, name: impl TryInto<HeaderName>, value: impl TryInto<HeaderValue>) -> Self {
        match (name.try_into(), value.try_into()) {
            (Ok(name), Ok(value)) => {
                self.headers.insert(name, value);
            }
            // Neither is shown: a value may be a secret.
            _ => self.refuse("a header's name or value has characters that none can have"),
        }
        self
    }

    /// With `pairs` behind the path's `?`, percent-encoded; they are added to those that are there.
    pub fn query<K: AsRef<str>, V: AsRef<str>>(mut self, pairs: impl IntoIterator<Item = (K, V)>) -> Self {
        let mut encoded = url::form_urlencoded::Serializer::new(String::new());
        encoded.extend_pairs(pairs);
        let encoded = encoded.finish();
        if !encoded.is_empty() {
            let joint = if self.path.contains('?') { '&' } else { '?' };
            self.path.push(joint);
            self.path.push_str(&encoded);
        }
        self
    }

    /// With a body that is kept for repetition.
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.content = Content::Kept(body.into());
        self
    }

    /// With `value` as JSON, and the header that says so.
    pub fn json<T: Serialize + ?Sized>(mut self, value: &T) -> Self {
        match serde_json::to_vec(value) {
            Ok(body) => {
                self.headers
                    .entry(CONTENT_TYPE)
                    .or_insert(HeaderValue::from_static("application/json"));
                self.content = Content::Kept(body.into());
            }
            Err(_) => self.refuse("the body can't be written as JSON"),
        }
        self
    }

    /// With a body that can't be kept. Such a call is never repeated, whatever its method.
    pub fn stream<B>(mut self, body: B) -> Self
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let body = body.map_err(|error| -> Failure { error.into() });
        self.content = Content::stream(body.boxed_unsync());
        self
    }

    /// Declares that this may take effect twice without harm. GET, HEAD, PUT, DELETE, OPTIONS and TRACE are by
    /// themselves, and so is every call with an `Idempotency-Key`.
    pub fn idempotent(mut self) -> Self {
        self.idempotent = true;
        self
    }

    /// Limits the whole call, with all its attempts. The nearest wins: this, the deadline of the request or record that
    /// is being served, and the upstream's `timeout`.
    pub fn within(mut self, limit: Duration) -> Self {
        self.within = Some(limit);
        self
    }

    /// Takes `status` as an answer instead of an error, such as the 404 of a thing that may well not be there. It is
    /// not repeated.
    pub fn accept(mut self, status: StatusCode) -> Self {
        self.accepted.push(status);
        self
    }

    /// Sends it and reads the whole answer. Statuses from 400 on are errors unless [accepted](Self::accept).
    ///
    /// Cancel-safety: dropped, nothing more is sent and all places are given back. Whether the upstream has acted is
    /// unknown then.
    ///
    /// # Errors
    /// [`UpstreamError`]; its [`Classify`](crate::Classify) says whether it happened.
    pub fn send(self) -> impl Future<Output = Result<Response, UpstreamError>> + Send + 'static {
        self.into_future()
    }

    fn refuse(&mut self, reason: &str) {
        self.wrong.get_or_insert_with(|| reason.to_owned());
    }
}

impl IntoFuture for Call {
    type Output = Result<Response, UpstreamError>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let core = self.upstream.core();
            let refused = |reason: String| UpstreamError::Request {
                upstream: core.name.clone(),
                reason,
                sent: false,
            };
            if let Some(reason) = self.wrong {
                return Err(refused(reason));
            }
            let url = core.target.url(&self.path).ok_or_else(|| {
                refused("the path is none: it begins with a slash and is percent-encoded".to_owned())
            })?;
            let order = Order {
                idempotent: self.idempotent || self.headers.contains_key(IDEMPOTENCY_KEY),
                method: self.method,
                url,
                headers: self.headers,
                content: self.content,
                within: self.within,
                accepted: self.accepted,
                doubt: Mutex::default(),
            };
            core.call(&order).await
        })
    }
}
