//! How the operator listener answers: plain text or JSON, never cached.

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::Value;

pub(super) fn wants_json(headers: &HeaderMap) -> bool {
    headers.get_all(ACCEPT).iter().any(|accept| {
        accept
            .to_str()
            .is_ok_and(|accept| accept.contains("application/json"))
    })
}

fn status(well: bool) -> StatusCode {
    if well {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    }
}

pub(super) fn json_answer(well: bool, body: &Value) -> Response {
    answer(status(well), "application/json", body.to_string())
}

pub(super) fn text_answer(well: bool, text: String) -> Response {
    answer(status(well), "text/plain; charset=utf-8", text)
}

/// Nothing here may be cached: a probe answered by a cache is a lie.
pub(super) fn answer(status: StatusCode, content_type: &'static str, body: String) -> Response {
    let mut response = (status, body).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
