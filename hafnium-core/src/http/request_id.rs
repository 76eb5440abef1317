//! The name of one request in logs of all services it passes.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::task::futures::TaskLocalFuture;

/// The header that carries it.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

const MAX_LEN: usize = 128;

tokio::task_local! {
    static CURRENT: RequestId;
}

/// The id of a request: its caller's, or a new one. In the request's extensions, and in the answer's header.
#[derive(Clone)]
pub struct RequestId(Text);

/// Every request has one, and it is copied a few times on the way.
#[derive(Clone)]
enum Text {
    Caller(HeaderValue),
    /// Hexadecimal digits, in place: nothing to count and nothing to free.
    Own([u8; 32]),
}

impl RequestId {
    /// The id of the request that this task serves, if it serves one.
    pub fn current() -> Option<Self> {
        CURRENT.try_with(Clone::clone).ok()
    }

    /// Runs `future` with this as the id of the request that is served: clients send it on.
    ///
    /// Cancel-safety: as that of `future`.
    pub async fn scope<F: Future>(self, future: F) -> F::Output {
        self.scoped(future).await
    }

    /// The same as a future with a name.
    pub(super) fn scoped<F: Future>(self, future: F) -> TaskLocalFuture<Self, F> {
        CURRENT.scope(self, future)
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Text::Caller(value) => value.as_bytes(),
            Text::Own(text) => text,
        }
    }

    /// The caller's id where it is fit to be logged (up to 128 visible ASCII characters), else a new one.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let fit = |value: &&HeaderValue| {
            (1..=MAX_LEN).contains(&value.len()) && value.as_bytes().iter().all(u8::is_ascii_graphic)
        };
        match headers.get(REQUEST_ID).filter(fit) {
            Some(value) => Self(Text::Caller(value.clone())),
            None => Self::random(),
        }
    }

    fn random() -> Self {
        let mut text = [0; 32];
        let mut rest = fastrand::u128(..);
        for digit in &mut text {
            *digit = b"0123456789abcdef"[(rest & 15) as usize];
            rest >>= 4;
        }
        Self(Text::Own(text))
    }

    pub(crate) fn value(&self) -> HeaderValue {
        match &self.0 {
            Text::Caller(value) => value.clone(),
            Text::Own(text) => HeaderValue::from_bytes(text).unwrap_or(HeaderValue::from_static("0")),
        }
    }
}

impl PartialEq for RequestId {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for RequestId {}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RequestId").field(&self.as_str()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callers_id_is_kept_only_if_it_is_fit_to_be_logged() {
        let mut headers = HeaderMap::new();
        headers.insert(REQUEST_ID, HeaderValue::from_static("order-17"));
        assert_eq!(RequestId::of(&headers).as_str(), "order-17");
        for unfit in ["", "a b", &"x".repeat(129)] {
            headers.insert(REQUEST_ID, HeaderValue::from_str(unfit).unwrap());
            assert_eq!(RequestId::of(&headers).as_str().len(), 32, "{unfit:?}");
        }
        assert_ne!(RequestId::random(), RequestId::random());
        let own = RequestId::random();
        headers.insert(REQUEST_ID, own.value());
        assert_eq!(RequestId::of(&headers), own, "sent on, it is the same");
    }
}
