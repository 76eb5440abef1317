//! Where the credentials for AWS come from: the SDK's own chain, seen from outside.
#![cfg(all(feature = "aws", feature = "postgres", feature = "redis", feature = "kafka"))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use hafnium_testkit::aws::Moto;
use support::Launch;

const LIMIT: Duration = Duration::from_secs(60);

/// A service that has a secret in AWS and no credentials yet.
fn service(endpoint: (&str, String)) -> Launch {
    Launch::new(env!("CARGO_BIN_EXE_conformance"))
        .argument("check")
        .variable("CONFORMANCE_CASE", "settings")
        .variable("SECRET_KEY", "aws-sm:ledger")
        .variable(endpoint.0, endpoint.1)
        .variable("AWS_REGION", "eu-central-1")
        // The last link of the chain, which would ask the network.
        .variable("AWS_EC2_METADATA_DISABLED", "true")
        .variable("HAFNIUM__START__DEADLINE", "5s")
}

#[tokio::test]
async fn credentials_come_from_variables_a_profile_or_a_web_identity() {
    let moto = Moto::start().await.unwrap();
    moto.create_secret("ledger", "one").await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let everywhere = || service(("AWS_ENDPOINT_URL", moto.endpoint()));

    let without = everywhere().finish(LIMIT).await;
    let said = without.exited(69);
    assert!(said.contains("settings.secret_key"), "{said}");

    let variables = everywhere()
        .variable("AWS_ACCESS_KEY_ID", "test")
        .variable("AWS_SECRET_ACCESS_KEY", "test");
    variables.finish(LIMIT).await.exited(0);

    let credentials = "[team]\naws_access_key_id = test\naws_secret_access_key = test\n";
    let profile = everywhere()
        .variable("AWS_PROFILE", "team")
        .variable("AWS_SHARED_CREDENTIALS_FILE", write("credentials", credentials));
    profile.finish(LIMIT).await.exited(0);

    // As IRSA gives it to a pod: a token in a file, exchanged for credentials at STS.
    let web_identity = |launch: Launch| {
        launch
            .variable(
                "AWS_WEB_IDENTITY_TOKEN_FILE",
                write("token", "a-token-of-the-cluster"),
            )
            .variable("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/ledger")
            .variable("AWS_ROLE_SESSION_NAME", "ledger")
    };
    web_identity(everywhere()).finish(LIMIT).await.exited(0);

    // An endpoint for this one service; credentials need none.
    let alone = service(("AWS_ENDPOINT_URL_SECRETS_MANAGER", moto.endpoint()))
        .variable("AWS_ACCESS_KEY_ID", "test")
        .variable("AWS_SECRET_ACCESS_KEY", "test");
    alone.finish(LIMIT).await.exited(0);
}
