//! A service whose secret lies in Vault, seen from outside.
#![cfg(all(feature = "vault", feature = "postgres", feature = "redis", feature = "kafka"))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hafnium_testkit::VaultServer;
use serde_json::{Value, json};
use support::http::get;
use support::{Launch, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

const LIMIT: Duration = Duration::from_secs(30);
/// Planted where secrets are; must never be seen.
const CANARY: &str = "kanarienvogel-7d1e";

fn service() -> Launch {
    Launch::new(env!("CARGO_BIN_EXE_conformance"))
        .variable("CONFORMANCE_CASE", "settings")
        .variable("SECRET_KEY", "vault:secret/app/key#k")
}

#[tokio::test]
async fn a_reference_to_vault_without_vault_is_a_problem_with_its_key() {
    let ended = service().argument("check").finish(LIMIT).await;
    let said = ended.exited(78);
    assert!(said.contains("settings.secret_key"), "{said}");
    assert!(
        said.contains("vault.address does not say where that is"),
        "{said}"
    );
}

/// The first lines of the requests that a Vault got which lets a role in and is silent about secrets.
async fn silent_vault() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let told = seen.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, told.clone()));
        }
    });
    (address, seen)
}

async fn answer(mut stream: TcpStream, seen: Arc<Mutex<Vec<String>>>) {
    let mut request = vec![0; 16 * 1024];
    let read = stream.read(&mut request).await.unwrap();
    let request = String::from_utf8_lossy(&request[..read]);
    let line = request.lines().next().unwrap_or_default().to_owned();
    let body = if line.contains("/login") {
        let auth = json!({ "client_token": "t", "accessor": "a", "lease_duration": 3600, "renewable": true });
        json!({ "auth": auth }).to_string()
    } else {
        "{}".to_owned()
    };
    let silent = line.contains("/secret/");
    seen.lock().unwrap().push(line);
    if silent {
        tokio::time::sleep(LIMIT).await;
    }
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close";
    let answer = format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let _gone = stream.write_all(answer.as_bytes()).await;
}

#[tokio::test]
async fn a_stop_while_secrets_are_fetched_gives_back_what_was_lent() {
    let (address, seen) = silent_vault().await;
    let service = service()
        .variable("VAULT_ADDR", address)
        .variable("HAFNIUM__VAULT__APPROLE__ROLE_ID", "role")
        .variable("HAFNIUM__VAULT__APPROLE__SECRET_ID", "id")
        .variable("HAFNIUM__VAULT__TIMEOUT", "1s")
        .start();
    let was_seen = |part: &str| seen.lock().unwrap().iter().any(|line| line.contains(part));
    until("the secret is asked for", LIMIT, async || {
        match was_seen("/secret/") {
            true => Ok(()),
            false => Err(format!("{:?}", seen.lock().unwrap())),
        }
    })
    .await;
    service.stop(LIMIT).await.exited(0);
    assert!(was_seen("/token/revoke-self"), "{:?}", seen.lock().unwrap());
}

#[tokio::test]
async fn a_start_that_waits_for_vault_is_live_says_why_and_ends_in_time() {
    let begun = Instant::now();
    let mut service = service()
        .variable("VAULT_ADDR", "http://127.0.0.1:1")
        .variable("HAFNIUM__VAULT__TOKEN", "t")
        .variable("HAFNIUM__ADMIN__TOKEN", "vault:secret/admin#token")
        .variable("HAFNIUM__START__DEADLINE", "5s")
        .start();
    service.probes("/livez", 200, LIMIT).await;
    let said = until("why they are not there", Duration::from_secs(4), async || {
        let body = service.probe("/startupz?verbose").await.body;
        match body.contains(" attempts: ") {
            true => Ok(body),
            false => Err(body),
        }
    })
    .await;
    assert!(said.contains("[-]secrets failed: waiting for "), "{said}");
    for key in [
        "settings.secret_key: vault:",
        "admin.token: vault:secret/admin#token: ",
    ] {
        assert!(said.contains(key), "{said}");
    }
    // An empty token is that of nobody.
    let guess = get("/config").header("authorization", "Bearer ");
    assert_eq!(guess.send(service.admin).await.unwrap().status, 401);
    let ended = service.end(LIMIT).await;
    assert!(ended.exited(69).contains("settings.secret_key"), "{ended:?}");
    assert!(begun.elapsed() < Duration::from_secs(9), "{:?}", begun.elapsed());
}

/// How many tokens of the role there are.
async fn tokens(server: &VaultServer) -> usize {
    let accessors = server.root("LIST", "auth/token/accessors", None).await.unwrap();
    let mut count = 0;
    for accessor in accessors["data"]["keys"].as_array().unwrap() {
        let body = Some(json!({ "accessor": accessor }));
        let token = server.call(
            "POST",
            "auth/token/lookup-accessor",
            Some(server.root_token()),
            body,
        );
        if token.await.unwrap().body["data"]["meta"]["role_name"] == "service" {
            count += 1;
        }
    }
    count
}

/// The ids of a role that may read the secret.
async fn role(server: &VaultServer) -> (String, String) {
    let post = async |path: &str, body: Value| server.root("POST", path, Some(body)).await.unwrap();
    let policy = r#"path "secret/data/app/*" { capabilities = ["read"] }"#;
    post("sys/policies/acl/app", json!({ "policy": policy })).await;
    post("sys/auth/approle", json!({ "type": "approle" })).await;
    post(
        "auth/approle/role/service",
        json!({ "token_policies": "app", "token_ttl": "1h" }),
    )
    .await;
    let secret_id = post("auth/approle/role/service/secret-id", json!({})).await;
    let role_id = server
        .root("GET", "auth/approle/role/service/role-id", None)
        .await
        .unwrap();
    let text = |answer: &Value, field: &str| answer["data"][field].as_str().unwrap().to_owned();
    (text(&role_id, "role_id"), text(&secret_id, "secret_id"))
}

#[tokio::test]
async fn a_service_follows_its_secret_in_vault_and_gives_its_token_back() {
    let server = match VaultServer::start().await.unwrap() {
        Ok(server) => server,
        Err(absent) => {
            // Past the capture: what was not run must be seen.
            let _unseen = writeln!(
                std::io::stdout(),
                "not run: a service with its secret in Vault\n{absent}"
            );
            assert!(std::env::var("CI").is_err(), "in CI it is run: {absent}");
            return;
        }
    };
    let write = async |value: String| {
        let body = json!({ "data": { "k": value } });
        server
            .root("POST", "secret/data/app/key", Some(body))
            .await
            .unwrap();
    };
    write(format!("{CANARY}-1")).await;
    let (role_id, secret_id) = role(&server).await;
    let mut service = service()
        .variable("VAULT_ADDR", server.address())
        .variable("HAFNIUM__VAULT__APPROLE__ROLE_ID", role_id)
        .variable("HAFNIUM__VAULT__APPROLE__SECRET_ID", &secret_id)
        .variable("HAFNIUM__SECRETS__REFRESH", "1s")
        .variable("HAFNIUM__ADMIN__TOKEN", "operator")
        .start();
    service.ready(LIMIT).await;
    assert_eq!(tokens(&server).await, 1);
    write(format!("{CANARY}-2")).await;
    service
        .logged("the rotation", LIMIT, |line| {
            line.to_string().contains("there is a new value")
        })
        .await;
    let mut seen = String::new();
    for path in ["/config", "/report", "/info", "/"] {
        let request = get(path).header("authorization", "Bearer operator");
        seen += &request.send(service.admin).await.unwrap().body;
    }
    assert!(
        seen.contains("vault:secret/app/key#k"),
        "the source is not shown:\n{seen}"
    );
    let metrics = until("Vault's requests in the metrics", LIMIT, async || {
        let metrics = service.probe("/metrics").await.body;
        match metrics.contains("hafnium_vault_requests") {
            true => Ok(metrics),
            false => Err("they are not there".to_owned()),
        }
    })
    .await;
    let _answered = service.ask(get("/")).await;
    let ended = service.stop(LIMIT).await;
    ended.exited(0);
    assert_eq!(tokens(&server).await, 0, "revoked when the service ended");
    let seen = format!("{seen}{metrics}{}{}", ended.stdout, ended.stderr);
    assert!(
        !seen.contains(CANARY) && !seen.contains(&secret_id),
        "a secret is shown"
    );
}
