//! What a status says of the request: the table of [`UpstreamError::Status`](super::UpstreamError::Status).

use http::StatusCode;

use crate::classify::{Classified, Fault, Outcome};

pub(super) fn classify(status: StatusCode, says_when: bool) -> Classified {
    use Fault::{Capacity, Dependency, Service};
    use Outcome::{NotRun, Unknown};
    match status.as_u16() {
        400 => Classified::new(NotRun, false, Service, "upstream.400"),
        401 => Classified::new(NotRun, false, Service, "upstream.401"),
        403 => Classified::new(NotRun, false, Service, "upstream.403"),
        404 => Classified::new(NotRun, false, Service, "upstream.404"),
        408 => Classified::new(NotRun, true, Dependency, "upstream.408"),
        409 => Classified::new(NotRun, false, Service, "upstream.409"),
        413 => Classified::new(NotRun, false, Service, "upstream.413"),
        422 => Classified::new(NotRun, false, Service, "upstream.422"),
        425 => Classified::new(NotRun, true, Dependency, "upstream.425"),
        429 => Classified::new(NotRun, true, Capacity, "upstream.429"),
        500 => Classified::new(Unknown, false, Dependency, "upstream.500"),
        502 => Classified::new(Unknown, true, Dependency, "upstream.502"),
        503 if says_when => Classified::new(NotRun, true, Capacity, "upstream.503"),
        503 => Classified::new(Unknown, true, Dependency, "upstream.503"),
        504 => Classified::new(Unknown, true, Dependency, "upstream.504"),
        _ if status.is_server_error() => Classified::new(Unknown, false, Dependency, "upstream.5xx"),
        _ => Classified::new(NotRun, false, Service, "upstream.4xx"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::Classify;

    #[test]
    fn the_mapping_is_the_documented_table() {
        use Fault::{Capacity, Dependency, Service};
        use Outcome::{NotRun, Unknown};
        for (status, says_when, outcome, retryable, fault) in [
            (429, false, NotRun, true, Capacity),
            (503, true, NotRun, true, Capacity),
            (408, false, NotRun, true, Dependency),
            (425, false, NotRun, true, Dependency),
            (404, false, NotRun, false, Service),
            (418, true, NotRun, false, Service),
            (502, true, Unknown, true, Dependency),
            (503, false, Unknown, true, Dependency),
            (504, false, Unknown, true, Dependency),
            (500, false, Unknown, false, Dependency),
            (505, false, Unknown, false, Dependency),
        ] {
            let class = classify(StatusCode::from_u16(status).unwrap(), says_when);
            let seen = (class.outcome(), class.retryable(), class.fault());
            assert_eq!(seen, (outcome, retryable, fault), "{status}");
        }
    }
}
