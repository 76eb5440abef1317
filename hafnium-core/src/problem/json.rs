//! JSON in and out, with refusals as problems.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderMap};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::error::Category;

use super::Problem;

/// Extracts a JSON body, or answers with one. Like axum's, but a refusal is a [`Problem`]:
///
/// * 415 – the content type is not `application/json` or `application/<something>+json`;
/// * 413 – the body is larger than `http.body_limit`;
/// * 400 – the body is not JSON, or ended early;
/// * 422 – it is JSON of another shape. The detail says where, and never repeats a value.
#[derive(Debug, Clone, Copy, Default)]
#[must_use]
pub struct Json<T>(pub T);

impl<T, S> FromRequest<S> for Json<T>
where
    T: DeserializeOwned,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            return Err(Problem::of(StatusCode::UNSUPPORTED_MEDIA_TYPE)
                .code("unsupported_media_type")
                .detail("expected content type application/json"));
        }
        let bytes =
            Bytes::from_request(request, state)
                .await
                .map_err(|rejection| match rejection.status() {
                    StatusCode::PAYLOAD_TOO_LARGE => Problem::of(StatusCode::PAYLOAD_TOO_LARGE)
                        .code("body_too_large")
                        .detail("the body is larger than this service accepts"),
                    _ => Problem::bad_request("the body ended early").code("malformed_body"),
                })?;
        serde_json::from_slice(&bytes)
            .map(Self)
            .map_err(|error| refusal(&error))
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()) else {
        return false;
    };
    let essence = value
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    essence
        .strip_prefix("application/")
        .is_some_and(|subtype| subtype == "json" || subtype.ends_with("+json"))
}

fn refusal(error: &serde_json::Error) -> Problem {
    let place = format!("line {} column {}", error.line(), error.column());
    match error.classify() {
        Category::Data => {
            // Of serde's messages only this one names nothing but a field of the type; others repeat the value.
            let text = error.to_string();
            let what = match text.split('`').collect::<Vec<_>>().as_slice() {
                ["missing field ", field, ..] => format!("missing field `{field}`"),
                _ => "a value is not of the expected shape".to_owned(),
            };
            Problem::unprocessable(format!("{what} at {place}")).code("unexpected_shape")
        }
        _ => Problem::bad_request(format!("the body is not valid JSON at {place}")).code("malformed_body"),
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(body) => ([(CONTENT_TYPE, "application/json")], body).into_response(),
            Err(error) => {
                tracing::error!(%error, "an answer can't be written as JSON");
                Problem::of(StatusCode::INTERNAL_SERVER_ERROR)
                    .code("serialization")
                    .into_response()
            }
        }
    }
}
