//! What an error of the SDK means: may it be asked again, and what is said of it.

use std::error::Error;

use aws_sdk_secretsmanager::config::http::HttpResponse;
use aws_sdk_secretsmanager::error::{ProvideErrorMetadata, SdkError};

use crate::secret::provider::{Address, FetchError, FetchErrorKind};

/// The most of a server's words that is repeated.
const LENGTH: usize = 300;

/// What `error` means for the secret at `address`. Repeats the code and the words of the server, never a body: one that
/// could not be read may hold the secret.
pub(super) fn of<E>(address: &Address, error: &SdkError<E, HttpResponse>) -> FetchError
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let unavailable = |reason: String| (FetchErrorKind::Unavailable, reason);
    let (kind, reason) = match error {
        SdkError::ServiceError(answer) => {
            let status = answer.raw().status().as_u16();
            if status < 400 {
                // Meant as an answer, and cut short on its way.
                return failed(address, FetchErrorKind::Unavailable, &unreadable(status));
            }
            let code = answer.err().code().unwrap_or("no code");
            let message = answer.err().message().unwrap_or_default();
            (kind(code, status), format!("{code} (status {status}) {message}"))
        }
        SdkError::ResponseError(answer) => {
            let status = answer.raw().status().as_u16();
            unavailable(unreadable(status))
        }
        SdkError::TimeoutError(_) => unavailable("no answer in time".to_owned()),
        // Without credentials it ends here as well: where they come from may be out of reach.
        other => unavailable(chain(other)),
    };
    failed(address, kind, &reason)
}

fn unreadable(status: u16) -> String {
    format!("an answer that can't be read (status {status})")
}

fn failed(address: &Address, kind: FetchErrorKind, reason: &str) -> FetchError {
    let reason = reason.trim().chars().filter(|c| !c.is_control());
    let reason: String = reason.take(LENGTH).collect();
    FetchError {
        kind,
        message: format!("{address}: {reason}"),
    }
}

/// What a code of AWS means; the status decides where the code is unknown.
fn kind(code: &str, status: u16) -> FetchErrorKind {
    match code {
        "ResourceNotFoundException" | "ParameterNotFound" | "ParameterVersionNotFound" => {
            FetchErrorKind::Missing
        }
        // The secret is marked for deletion.
        "InvalidRequestException" => FetchErrorKind::Missing,
        "AccessDeniedException"
        | "AccessDenied"
        | "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "InvalidSignatureException"
        | "SignatureDoesNotMatch"
        | "IncompleteSignature"
        | "MissingAuthenticationToken"
        | "OptInRequired"
        | "DecryptionFailure"
        | "InvalidKeyId" => FetchErrorKind::Denied,
        // Credentials are renewed meanwhile; load passes.
        "ExpiredTokenException" | "ExpiredToken" | "RequestExpired" | "RequestLimitExceeded" => {
            FetchErrorKind::Unavailable
        }
        code if code.contains("Throttl") || code.starts_with("TooManyRequests") => {
            FetchErrorKind::Unavailable
        }
        _ if status == 429 || status >= 500 => FetchErrorKind::Unavailable,
        _ if status == 403 || status == 401 => FetchErrorKind::Denied,
        _ => FetchErrorKind::Invalid,
    }
}

/// The words of an error and of what caused it.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let words = error.to_string();
        if !text.ends_with(&words) {
            text = format!("{text}: {words}");
        }
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_aws_answers_is_told_apart() {
        use FetchErrorKind::{Denied, Invalid, Missing, Unavailable};
        for (code, status, expected) in [
            ("ResourceNotFoundException", 400, Missing),
            ("ParameterNotFound", 400, Missing),
            ("InvalidRequestException", 400, Missing),
            ("AccessDeniedException", 400, Denied),
            ("UnrecognizedClientException", 400, Denied),
            ("DecryptionFailure", 400, Denied),
            ("ThrottlingException", 400, Unavailable),
            ("TooManyRequestsException", 400, Unavailable),
            ("RequestLimitExceeded", 400, Unavailable),
            ("ExpiredTokenException", 400, Unavailable),
            ("InternalServiceError", 500, Unavailable),
            ("no code", 503, Unavailable),
            ("no code", 429, Unavailable),
            ("no code", 403, Denied),
            ("InvalidParameterException", 400, Invalid),
            ("ValidationException", 400, Invalid),
        ] {
            assert_eq!(kind(code, status), expected, "{code} {status}");
        }
    }
}
