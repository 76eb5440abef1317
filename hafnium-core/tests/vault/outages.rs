//! Rows about servers that can't answer, answer strangely or send us elsewhere.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hafnium_core::secret::FetchErrorKind::{Denied, Unavailable};
use hafnium_core::secret::Provider;
use serde_json::json;

use super::ground::{Ground, approle, at_peer, fetch, own_server, pause, seconds, text, vault};
use super::peer::{Peer, Reply, document, login};

pub(crate) async fn a_seal_is_an_outage(_: Arc<Ground>) -> String {
    let server = own_server().await;
    let body = json!({ "data": { "k": "v" } });
    server
        .root("POST", "secret/data/app/sealed", Some(body))
        .await
        .unwrap();
    // One login and no other: the seal must not lead to a second.
    let role = json!({ "secret_id_num_uses": 1, "token_ttl": "1h" });
    let vault = vault(&approle(&server, "sealed", role).await);
    let reference = "vault:secret/app/sealed#k";
    assert_eq!(text(&vault, reference).await.unwrap(), "v");
    server.seal().await.unwrap();
    for _ in 0..3 {
        let error = text(&vault, reference).await.unwrap_err();
        assert_eq!(error.kind, Unavailable, "{error}");
        assert!(error.message.contains("sealed"), "{error}");
    }
    server.unseal().await.unwrap();
    assert_eq!(text(&vault, reference).await.unwrap(), "v");
    "unavailable, and with the same token on once it is unsealed".to_owned()
}

pub(crate) async fn a_quota_is_an_outage(_: Arc<Ground>) -> String {
    let server = own_server().await;
    let body = json!({ "data": { "k": "v" } });
    server
        .root("POST", "secret/data/app/quota", Some(body))
        .await
        .unwrap();
    let vault = vault(&approle(&server, "quota", json!({})).await);
    let quota = json!({ "rate": 1, "interval": "2s", "path": "secret/" });
    server
        .root("POST", "sys/quotas/rate-limit/q", Some(quota))
        .await
        .unwrap();
    let headers = json!({ "enable_rate_limit_response_headers": true });
    server
        .root("POST", "sys/quotas/config", Some(headers))
        .await
        .unwrap();
    let reference = "vault:secret/app/quota#k";
    let begun = Instant::now();
    let (mut read, mut refused) = (0, 0);
    while begun.elapsed() < Duration::from_secs(6) {
        match text(&vault, reference).await {
            Ok(_) => read += 1,
            Err(error) => {
                assert_eq!(error.kind, Unavailable, "{error}");
                refused += 1;
            }
        }
    }
    assert!(read >= 2, "{read} read, {refused} refused");
    format!("one read each 2 s allowed: {read} read in 6 s, {refused} unavailable")
}

/// Logs in and then plays `replies` to reads, one after another, the last for ever.
async fn reads(replies: Vec<Reply>) -> Peer {
    Peer::start(move |asked, before| match asked.path.as_str() {
        "auth/approle/login" => login("t", 3600),
        _ => replies[before.min(replies.len() - 1)].clone(),
    })
    .await
}

pub(crate) async fn a_change_of_leader_is_sat_out() -> String {
    let active = reads(vec![document(7, "from the active node")]).await;
    let there = format!("{}/v1/kv/data/a", active.address);
    let sealed = Reply::errors(503, "Vault is sealed");
    let standby = reads(vec![
        Reply::new(472, "{}"),
        Reply::new(473, "{}"),
        sealed.after(Duration::from_millis(300)),
        Reply::new(307, "").header("location", &there),
    ])
    .await;
    let vault = vault(&at_peer(&standby.address));
    let begun = Instant::now();
    assert_eq!(
        text(&vault, "vault:kv/a#k").await.unwrap(),
        "from the active node"
    );
    let taken = active.asked().pop().unwrap();
    assert_eq!(taken.token.as_deref(), Some("t"), "the token goes along");
    assert_eq!(standby.count("login"), 1);
    format!(
        "472, 473, 503, then 307 to the active node: read after {} ms",
        begun.elapsed().as_millis()
    )
}

pub(crate) async fn a_login_follows_to_the_active_node() -> String {
    let active = reads(vec![document(1, "v")]).await;
    let address = active.address.clone();
    let standby = Peer::start(move |asked, _| {
        Reply::new(307, "").header("location", format!("{address}/v1/{}", asked.path))
    })
    .await;
    let vault = vault(&at_peer(&standby.address));
    assert_eq!(text(&vault, "vault:kv/a#k").await.unwrap(), "v");
    let login = &active.asked()[0];
    assert_eq!(
        (login.method.as_str(), &login.body["role_id"]),
        ("POST", &json!("role"))
    );
    "POST stays POST, with its body".to_owned()
}

pub(crate) async fn redirects_without_end_are_an_outage() -> String {
    let peer =
        Peer::start(|asked, _| Reply::new(307, "").header("location", format!("/v1/{}", asked.path))).await;
    let vault = vault(&at_peer(&peer.address));
    let error = text(&vault, "vault:kv/a#k").await.unwrap_err();
    assert!(error.message.contains("redirected more than"), "{error}");
    let nowhere = reads(vec![Reply::new(307, "")]).await;
    let error = text(&self::vault(&at_peer(&nowhere.address)), "vault:kv/a#k")
        .await
        .unwrap_err();
    assert_eq!(error.kind, Unavailable, "{error}");
    format!("{} requests, then given up", peer.asked().len())
}

pub(crate) async fn a_quota_is_waited_for_when_it_says_how_long() -> String {
    let quota = || Reply::errors(429, "request path \"kv/data/a\": rate limit quota exceeded");
    let soon = reads(vec![quota().header("Retry-After", 1), document(1, "v")]).await;
    let begun = Instant::now();
    assert!(
        text(&vault(&at_peer(&soon.address)), "vault:kv/a#k")
            .await
            .is_ok()
    );
    let waited = begun.elapsed();
    assert!(waited >= Duration::from_secs(1), "{waited:?}");
    let late = reads(vec![quota().header("Retry-After", 60)]).await;
    let error = text(&vault(&at_peer(&late.address)), "vault:kv/a#k")
        .await
        .unwrap_err();
    assert_eq!(error.kind, Unavailable, "{error}");
    assert_eq!(late.count("data/a"), 1);
    let silent = reads(vec![quota(), quota(), document(1, "v")]).await;
    assert!(
        text(&vault(&at_peer(&silent.address)), "vault:kv/a#k")
            .await
            .is_ok()
    );
    "1 s is waited for, 60 s is not, without the header it is tried again".to_owned()
}

pub(crate) async fn strange_answers_are_outages() -> String {
    let long = format!(r#"{{"data":"{}"}}"#, "x".repeat(3 << 20));
    let replies = [
        ("cut", document(1, "canary").cut()),
        ("garbage", Reply::new(200, "<html>canary</html>")),
        ("half of JSON", Reply::new(200, r#"{"data":{"data":{"k":"canary"#)),
        ("too long", Reply::new(200, long)),
        ("a gateway's 502", Reply::new(502, "<html>canary</html>")),
        ("a gateway's 404", Reply::new(404, "<html>canary</html>")),
    ];
    for (what, reply) in replies {
        let peer = reads(vec![reply]).await;
        let error = text(&vault(&at_peer(&peer.address)), "vault:kv/a#k")
            .await
            .unwrap_err();
        assert_eq!(error.kind, Unavailable, "{what}: {error}");
        assert!(!error.message.contains("canary"), "{what}: {error}");
    }
    let once = reads(vec![document(1, "v").cut(), document(1, "v")]).await;
    assert!(
        text(&vault(&at_peer(&once.address)), "vault:kv/a#k")
            .await
            .is_ok()
    );
    "cut, garbage, too long, a gateway's: no value, no panic, nothing shown".to_owned()
}

pub(crate) async fn silence_is_bounded() -> String {
    let peer = reads(vec![Reply::silent()]).await;
    let mut settings = at_peer(&peer.address);
    settings.timeout = hafnium_core::config::Duration::from_millis(700);
    let silent = vault(&settings);
    let begun = Instant::now();
    let error = text(&silent, "vault:kv/a#k").await.unwrap_err();
    let took = begun.elapsed();
    assert_eq!(error.kind, Unavailable, "{error}");
    assert!(took < Duration::from_secs(5), "{took:?}");
    // Nobody listens there.
    let gone = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let error = text(&vault(&at_peer(&gone)), "vault:kv/a#k").await.unwrap_err();
    assert_eq!(error.kind, Unavailable, "{error}");
    assert!(error.message.contains("refused"), "{error}");
    format!("given up after {} ms", took.as_millis())
}

pub(crate) async fn a_refused_login_backs_off() -> String {
    let peer = Peer::start(|_, _| Reply::errors(400, "invalid role or secret ID")).await;
    let vault = vault(&at_peer(&peer.address));
    let (end, mut questions) = (Instant::now() + Duration::from_secs(2), 0);
    while Instant::now() < end {
        let error = fetch(&vault, "vault:kv/a#k", None).await.unwrap_err();
        assert_eq!(error.kind, Denied, "{error}");
        assert!(!error.message.contains("canary"), "{error}");
        questions += 1;
        pause(10).await;
    }
    let logins = peer.count("login");
    assert!(logins <= 8, "{logins}");
    vault.release(seconds(1.0)).await;
    format!("{questions} questions in 2 s, {logins} logins")
}
