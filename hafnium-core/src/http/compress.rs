//! Which answers are compressed, and how.

use std::convert::Infallible;

use axum::body::Body;
use axum::response::Response;
use futures_util::future::ready;
use http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap,
    HeaderValue, VARY,
};
use http::{Request, StatusCode};
use http_body::Body as _;
use tower::{ServiceExt, service_fn};
use tower_http::compression::Compression;
use tower_http::compression::predicate::SizeAbove;

use crate::component::BoxFuture;

/// Below it an answer fits into one packet either way, and the work is for nothing.
const SMALLEST: u64 = 1024;

/// An encoding that a client accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Brotli,
    Gzip,
}

impl Encoding {
    fn value(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Brotli => "br",
            Self::Gzip => "gzip",
        })
    }

    /// The one that the client likes best; among equals the one that makes less of it. None where it accepts none.
    pub(super) fn accepted(headers: &HeaderMap) -> Option<Self> {
        // The common case between services.
        if !headers.contains_key(ACCEPT_ENCODING) {
            return None;
        }
        let (mut brotli, mut gzip, mut any) = (None, None, None);
        let lines = headers.get_all(ACCEPT_ENCODING).iter();
        for element in lines
            .filter_map(|line| line.to_str().ok())
            .flat_map(|line| line.split(','))
        {
            let (name, weight) = element.split_once(';').unwrap_or((element, ""));
            let weight = match weight.trim().strip_prefix("q=") {
                Some(weight) => weight.trim().parse().unwrap_or(0.0),
                None => 1.0_f32,
            };
            let place = match name.trim() {
                name if name.eq_ignore_ascii_case("br") => &mut brotli,
                name if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") => &mut gzip,
                "*" => &mut any,
                _ => continue,
            };
            *place = Some(weight);
        }
        let weight = |own: Option<f32>| own.or(any).unwrap_or(0.0);
        let (brotli, gzip) = (weight(brotli), weight(gzip));
        match brotli.max(gzip) {
            best if best <= 0.0 => None,
            best if brotli >= best => Some(Self::Brotli),
            _ => Some(Self::Gzip),
        }
    }
}

/// Whether compressing `response` can be of use, whoever asks.
fn is_worth_it(response: &Response) -> bool {
    let status = response.status();
    let headers = response.headers();
    let body = response.body().size_hint();
    !matches!(
        status,
        StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED | StatusCode::SWITCHING_PROTOCOLS
    ) && body.upper().is_none_or(|most| most >= SMALLEST)
        && !headers.contains_key(CONTENT_ENCODING)
        && !headers.contains_key(CONTENT_RANGE)
        && !forbids(headers)
        && headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .is_some_and(is_text)
}

/// `no-transform` (RFC 9111): the body is to arrive as it is.
fn forbids(headers: &HeaderMap) -> bool {
    headers
        .get_all(CACHE_CONTROL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| {
            value
                .split(',')
                .any(|word| word.trim().eq_ignore_ascii_case("no-transform"))
        })
}

/// Whether a content type is text of some kind that is sent at once. Event streams and lines that come one by one are
/// not: an encoder holds them back.
fn is_text(content_type: &str) -> bool {
    let essence = content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    if essence == "text/event-stream" {
        return false;
    }
    essence.starts_with("text/")
        || essence.ends_with("+json")
        || essence.ends_with("+xml")
        || matches!(
            essence.as_str(),
            "application/json" | "application/xml" | "application/javascript" | "application/wasm"
        )
}

/// The encoding that `response` is to get, where that is of use; it says to caches that it depends on who asks.
pub(super) fn prepare(response: &mut Response, asked: Option<Encoding>) -> Option<Encoding> {
    if !is_worth_it(response) {
        return None;
    }
    let headers = response.headers_mut();
    headers.append(VARY, HeaderValue::from_name(ACCEPT_ENCODING));
    asked.inspect(|_| weaken(headers))
}

/// `response` in that encoding. Boxed: few answers need the room it takes.
pub(super) fn encode(response: Response, encoding: Encoding) -> BoxFuture<'static, Response> {
    Box::pin(async move {
        let mut request = Request::new(());
        request.headers_mut().insert(ACCEPT_ENCODING, encoding.value());
        let mut inner = Some(response);
        let given = service_fn(move |_: Request<()>| {
            let response = inner.take().unwrap_or_default();
            ready(Ok::<_, Infallible>(response))
        });
        let compression = Compression::new(given).compress_when(SizeAbove::new(0));
        match compression.oneshot(request).await {
            Ok(response) => response.map(Body::new),
            Err(never) => match never {},
        }
    })
}

/// A strong tag stands for these bytes; the encoded ones are others of the same meaning.
fn weaken(headers: &mut HeaderMap) {
    let strong = headers.get(ETAG).filter(|tag| tag.as_bytes().starts_with(b"\""));
    if let Some(weak) = strong.and_then(|tag| HeaderValue::from_bytes(&[b"W/", tag.as_bytes()].concat()).ok())
    {
        headers.insert(ETAG, weak);
    }
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse;

    use super::*;

    fn accepted(line: &str) -> Option<Encoding> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_str(line).unwrap());
        Encoding::accepted(&headers)
    }

    #[test]
    fn the_client_chooses_by_weight_and_may_refuse() {
        use Encoding::{Brotli, Gzip};
        for (line, encoding) in [
            ("gzip, deflate, br, zstd", Some(Brotli)),
            ("gzip", Some(Gzip)),
            ("gzip;q=1.0, br;q=0.5", Some(Gzip)),
            ("br;q=0, gzip;q=0.1", Some(Gzip)),
            ("*", Some(Brotli)),
            ("*;q=0.5, br;q=0", Some(Gzip)),
            ("identity", None),
            ("gzip;q=0", None),
            ("identity;q=0", None),
            ("gzip;q=x", None),
            ("", None),
        ] {
            assert_eq!(accepted(line), encoding, "{line}");
        }
        assert_eq!(Encoding::accepted(&HeaderMap::new()), None);
    }

    #[test]
    fn only_texts_that_are_sent_at_once_are_worth_it() {
        let long = "x".repeat(2000);
        let of = |kind: &'static str| ([(CONTENT_TYPE, kind)], long.clone()).into_response();
        for kind in [
            "application/json",
            "text/html; charset=utf-8",
            "application/problem+json",
            "image/svg+xml",
        ] {
            assert!(is_worth_it(&of(kind)), "{kind}");
        }
        for kind in [
            "text/event-stream",
            "image/png",
            "application/zip",
            "application/octet-stream",
            "application/grpc",
            "application/x-ndjson",
        ] {
            assert!(!is_worth_it(&of(kind)), "{kind}");
        }
        let mut tiny = "short".into_response();
        assert!(!is_worth_it(&tiny));
        tiny = of("text/plain");
        tiny.headers_mut()
            .insert(CONTENT_ENCODING, HeaderValue::from_static("zstd"));
        assert!(!is_worth_it(&tiny), "encoded already");
        let mut fixed = of("text/plain");
        fixed
            .headers_mut()
            .insert(CACHE_CONTROL, HeaderValue::from_static("public, no-transform"));
        assert!(!is_worth_it(&fixed));
    }
}
