//! The texts are those that Vault 1.21.4 gave.

use proptest::strategy::Strategy;

use super::*;

fn said(status: u16, body: &str) -> Failure {
    failure(StatusCode::from_u16(status).unwrap(), None, body.as_bytes())
}

#[test]
fn only_the_third_text_of_403_says_that_the_token_is_not_known() {
    let policy = r#"{"errors":["1 error occurred:\n\t* permission denied\n\n"]}"#;
    let unknown = r#"{"errors":["2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"]}"#;
    assert_eq!(said(403, r#"{"errors":["permission denied"]}"#), Failure::Denied);
    assert_eq!(said(403, policy), Failure::Denied);
    assert_eq!(said(403, unknown), Failure::InvalidToken);
    assert_eq!(said(403, "<html>forbidden by a gateway</html>"), Failure::Denied);
}

#[test]
fn the_forms_of_404_are_told_apart() {
    let no_mount = r#"{"errors":["no handler for route \"nope/x\". route entry not found."]}"#;
    let deleted = r#"{"data":{"data":null,"metadata":{"deletion_time":"2026-01-01T00:00:00Z","destroyed":false,"version":3}},"warnings":null}"#;
    let destroyed = r#"{"data":{"data":null,"metadata":{"deletion_time":"","destroyed":true,"version":3}}}"#;
    let unversioned = r#"{"data":null,"warnings":["Invalid path for a versioned K/V secrets engine. See the API docs for the appropriate API endpoints to use."]}"#;
    assert_eq!(said(404, no_mount), Failure::NoMount);
    assert_eq!(said(404, r#"{"errors":[]}"#), Failure::Missing);
    assert_eq!(said(404, deleted), Failure::Deleted);
    assert_eq!(said(404, destroyed), Failure::Destroyed);
    assert_eq!(said(404, unversioned), Failure::NotVersioned);
    assert!(said(404, "<html>").is_outage());
}

#[test]
fn an_outage_is_told_from_a_refusal() {
    for status in [429, 472, 473, 412, 500, 502, 503, 504] {
        assert!(
            said(status, r#"{"errors":["Vault is sealed"]}"#).is_outage(),
            "{status}"
        );
    }
    for status in [400, 405, 418] {
        assert!(!said(status, r#"{"errors":["x"]}"#).is_outage(), "{status}");
    }
    let wrong = said(400, r#"{"errors":["invalid role or secret ID"]}"#);
    assert_eq!(
        wrong,
        Failure::Rejected("status 400: invalid role or secret ID".to_owned())
    );
}

#[test]
fn what_a_database_quotes_of_a_statement_is_not_repeated() {
    let body = r#"{"errors":["1 error occurred:\n\t* failed to execute query: ERROR: syntax error at or near \"canary-password\" (SQLSTATE 42601)\n\n"]}"#;
    let error = said(500, body).of("vault-db:app");
    assert!(!error.message.contains("canary"), "{error}");
    assert!(error.message.contains("syntax error"), "{error}");
}

#[test]
fn an_answer_of_nothing_is_an_empty_envelope_and_garbage_is_an_outage() {
    assert!(envelope(b"").is_ok_and(|envelope| envelope.lease_id.is_empty()));
    assert!(envelope(b"<html>welcome</html>").is_err_and(|failure| failure.is_outage()));
    assert!(envelope(br#"{"data":{"k":"v"#).is_err());
    let nulls = br#"{"request_id":"x","lease_id":"","renewable":false,"lease_duration":0,"data":null,"wrap_info":null,"warnings":null,"auth":null,"mount_type":"kv"}"#;
    assert!(envelope(nulls).is_ok());
}

proptest::proptest! {
    /// Whatever a server says, it is read or it is an outage, and never a panic.
    #[test]
    fn any_answer_is_read_without_a_panic(
        status in 200u16..600,
        body in proptest::prop_oneof![
            proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300),
            r#"\{"(errors|data|auth|warnings|lease_id|lease_duration)":(null|\[\]|\{\}|"canary"|-1|1e400|true|\["canary"\])\}"#
                .prop_map(String::into_bytes),
        ],
    ) {
        let failure = failure(StatusCode::from_u16(status).unwrap(), None, &body);
        let _outage = failure.is_outage();
        assert!(envelope(&body).err().is_none_or(|failure| failure.is_outage()));
    }
}
