//! What an upstream says of a problem: `application/problem+json` (RFC 9457).

use http::HeaderMap;
use http::header::CONTENT_TYPE;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::classify::Outcome;

/// What an upstream says of a problem. Nothing of it is shown in an error's text but `code`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct UpstreamProblem {
    /// The kind of problem, as a URI.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// The kind in words.
    pub title: Option<String>,
    /// What is special about this one.
    pub detail: Option<String>,
    /// A stable code for programs, as services of this house give it.
    pub code: Option<String>,
    /// `not_run`, `rolled_back` or `unknown`, as services of this house give it.
    #[serde(rename = "outcome")]
    said: Option<String>,
    /// Whatever else there is.
    #[serde(flatten)]
    pub others: Map<String, Value>,
}

impl UpstreamProblem {
    /// The problem in a body, if the headers call it one.
    pub(super) fn read(headers: &HeaderMap, body: &[u8]) -> Option<Self> {
        let kind = headers.get(CONTENT_TYPE)?.to_str().ok()?;
        let kind = kind.split(';').next().unwrap_or_default().trim();
        match kind.eq_ignore_ascii_case("application/problem+json") {
            true => serde_json::from_slice(body).ok(),
            false => None,
        }
    }

    /// Whether the request took effect, if the upstream says so.
    pub fn outcome(&self) -> Option<Outcome> {
        match self.said.as_deref()? {
            "not_run" => Some(Outcome::NotRun),
            "rolled_back" => Some(Outcome::RolledBack),
            "unknown" => Some(Outcome::Unknown),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn a_problem_is_read_only_where_the_content_type_calls_it_one() {
        let body = br#"{"type":"about:blank","title":"Gone","outcome":"not_run","code":"x.1","limit":3}"#;
        let mut headers = HeaderMap::new();
        assert_eq!(UpstreamProblem::read(&headers, body), None);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        assert_eq!(UpstreamProblem::read(&headers, body), None);
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("Application/problem+json; charset=utf-8"),
        );
        let problem = UpstreamProblem::read(&headers, body).unwrap();
        assert_eq!(problem.code.as_deref(), Some("x.1"));
        assert_eq!(problem.outcome(), Some(Outcome::NotRun));
        assert_eq!(problem.others["limit"], 3);
        assert_eq!(UpstreamProblem::read(&headers, b"<html>"), None);
    }
}
