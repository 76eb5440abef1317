//! The name of one request in logs of all services it passes.

use http::{HeaderMap, HeaderName, HeaderValue};

/// The header that carries it.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

const MAX_LEN: usize = 128;

tokio::task_local! {
    static CURRENT: RequestId;
}

/// The id of a request: its caller's, or a new one. In the request's extensions, and in the answer's header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// The id of the request that this task serves, if it serves one.
    pub fn current() -> Option<Self> {
        CURRENT.try_with(Clone::clone).ok()
    }

    /// Runs `future` with this as the id of the request that is served: clients send it on.
    ///
    /// Cancel-safety: as that of `future`.
    pub async fn scope<F: Future>(self, future: F) -> F::Output {
        CURRENT.scope(self, future).await
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    /// The caller's id where it is fit to be logged (up to 128 visible ASCII characters), else a new one.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let fit = |value: &&HeaderValue| {
            (1..=MAX_LEN).contains(&value.len()) && value.as_bytes().iter().all(u8::is_ascii_graphic)
        };
        match headers.get(REQUEST_ID).filter(fit) {
            Some(value) => Self(value.clone()),
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
        Self(HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static("0")))
    }

    pub(crate) fn value(&self) -> HeaderValue {
        self.0.clone()
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
    }
}
