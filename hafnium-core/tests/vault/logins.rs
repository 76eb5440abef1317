//! Rows about logging in and about the token's life.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hafnium_core::secret::vault::{Kubernetes, VaultSettings};
use hafnium_core::secret::{FetchErrorKind, Provider, Secret};
use serde_json::json;

use super::ground::{Ground, at_peer, fetch, pause, seconds, text, vault};
use super::peer::{Peer, Reply, document, login, renewed};

pub(crate) async fn a_given_token(ground: Arc<Ground>) -> String {
    ground.write("given", "v").await;
    let create = json!({ "policies": ["app"], "ttl": "1h" });
    let created = ground.root("POST", "auth/token/create", create).await;
    let mut settings = VaultSettings::new(ground.server.address());
    settings.token = Some(Secret::new(created["auth"]["client_token"].as_str().unwrap()));
    let vault = vault(&settings);
    assert_eq!(text(&vault, "vault:secret/app/given#k").await.unwrap(), "v");
    // Not ours: it is given back by whoever gave it.
    vault.release(seconds(5.0)).await;
    let accessor = json!({ "accessor": created["auth"]["accessor"] });
    ground.root("POST", "auth/token/lookup-accessor", accessor).await;
    "read; not revoked on release".to_owned()
}

pub(crate) async fn a_root_or_batch_token(ground: Arc<Ground>) -> String {
    ground.write("kinds", "v").await;
    let create = json!({ "policies": ["app"], "ttl": "1h", "type": "batch" });
    let batch = ground.root("POST", "auth/token/create", create).await;
    let batch = batch["auth"]["client_token"].as_str().unwrap().to_owned();
    for token in [ground.server.root_token(), &batch] {
        let mut settings = VaultSettings::new(ground.server.address());
        settings.token = Some(Secret::new(token));
        assert_eq!(
            text(&vault(&settings), "vault:secret/app/kinds#k").await.unwrap(),
            "v"
        );
    }
    "both read".to_owned()
}

pub(crate) async fn a_batch_role(ground: Arc<Ground>) -> String {
    ground.write("batch", "v").await;
    let role = json!({ "token_type": "batch", "token_ttl": "3s", "token_max_ttl": "3s" });
    let vault = vault(&ground.role("batch", role).await);
    keep_reading(&vault, "vault:secret/app/batch#k", 7.0).await
}

/// Reads all the time; each read must succeed.
async fn keep_reading(vault: &impl Provider, reference: &str, secs: f64) -> String {
    let address = super::ground::at(reference);
    let (end, mut reads) = (Instant::now() + Duration::from_secs_f64(secs), 0);
    while Instant::now() < end {
        let read = vault.fetch(&address, None).await;
        assert!(read.is_ok(), "after {reads} reads: {read:?}");
        reads += 1;
        pause(100).await;
    }
    format!("{reads} reads in {secs} s, none failed")
}

pub(crate) async fn approle_works_and_a_wrong_id_is_denied(ground: Arc<Ground>) -> String {
    ground.write("approle", "v").await;
    let mut settings = ground.role("approle", json!({})).await;
    assert_eq!(
        text(&vault(&settings), "vault:secret/app/approle#k")
            .await
            .unwrap(),
        "v"
    );
    if let Some(role) = &mut settings.approle {
        role.secret_id = Some(Secret::new("wrong"));
    }
    let error = text(&vault(&settings), "vault:secret/app/approle#k")
        .await
        .unwrap_err();
    assert_eq!(error.kind, FetchErrorKind::Denied, "{error}");
    assert!(error.message.contains("invalid role or secret ID"), "{error}");
    "a wrong secret id (400) is denied".to_owned()
}

pub(crate) async fn kubernetes_reads_its_file_at_each_login(ground: Arc<Ground>) -> String {
    ground.write("pod", "v").await;
    let reviewer = Peer::start(|asked, _| {
        let token = asked.body["spec"]["token"].as_str().unwrap_or_default();
        let status = json!({
            "authenticated": token.contains("good"),
            "audiences": asked.body["spec"]["audiences"],
            "user": { "username": "system:serviceaccount:ns:sa", "uid": "u1", "groups": [] },
        });
        let review =
            json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "status": status });
        Reply::new(201, review).header("content-type", "application/json")
    })
    .await;
    let config = json!({ "kubernetes_host": reviewer.address, "disable_local_ca_jwt": true });
    ground.root("POST", "auth/kubernetes/config", config).await;
    let role = json!({
        "bound_service_account_names": "sa",
        "bound_service_account_namespaces": "ns",
        "token_policies": "app",
        "token_ttl": "2s",
        "token_max_ttl": "3s",
        "audience": "vault",
    });
    ground.root("POST", "auth/kubernetes/role/pod", role).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut settings = VaultSettings::new(ground.server.address());
    let mut kubernetes = Kubernetes::new("pod");
    kubernetes.jwt_path = file.path().to_owned();
    settings.kubernetes = Some(kubernetes);
    let vault = vault(&settings);
    std::fs::write(file.path(), jwt("otherone")).unwrap();
    let error = text(&vault, "vault:secret/app/pod#k").await.unwrap_err();
    assert_eq!(error.kind, FetchErrorKind::Denied, "{error}");
    // As the kubelet does: another token in the same place.
    std::fs::write(file.path(), jwt("goodgood")).unwrap();
    pause(600).await;
    assert_eq!(text(&vault, "vault:secret/app/pod#k").await.unwrap(), "v");
    let said = keep_reading(&vault, "vault:secret/app/pod#k", 5.0).await;
    format!("{said}; a rejected review is denied")
}

/// The signature is the reviewer's business; the base64 of what it checks was made once.
fn jwt(signature: &str) -> String {
    const HEAD: &str = "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9";
    const CLAIMS: &str = "eyJhdWQiOlsidmF1bHQiXSwiZXhwIjo0MDAwMDAwMDAwLCJpYXQiOjE3MDAwMDAwMDAsIm5iZiI6MTcwMDAwMDAwMCwiaXNzIjoieCIsInN1YiI6InN5c3RlbTpzZXJ2aWNlYWNjb3VudDpuczpzYSIsImt1YmVybmV0ZXMuaW8iOnsibmFtZXNwYWNlIjoibnMiLCJzZXJ2aWNlYWNjb3VudCI6eyJuYW1lIjoic2EiLCJ1aWQiOiJ1MSJ9fX0";
    format!("{HEAD}.{CLAIMS}.{signature}")
}

pub(crate) async fn the_token_is_replaced_before_its_longest_life(ground: Arc<Ground>) -> String {
    ground.write("expiry", "v").await;
    let role = json!({ "token_ttl": "3s", "token_max_ttl": "5s" });
    let vault = vault(&ground.role("expiry", role).await);
    keep_reading(&vault, "vault:secret/app/expiry#k", 11.0).await
}

pub(crate) async fn a_periodic_token_needs_one_login(ground: Arc<Ground>) -> String {
    ground.write("periodic", "v").await;
    // The secret id is good for one login.
    let role = json!({ "token_period": "8s", "secret_id_num_uses": 1 });
    let vault = vault(&ground.role("periodic", role).await);
    keep_reading(&vault, "vault:secret/app/periodic#k", 18.0).await
}

pub(crate) async fn a_revoked_token_leads_to_one_login(ground: Arc<Ground>) -> String {
    ground.write("revoked", "v").await;
    // Two logins and no third: the first, and one for all who notice.
    let role = json!({ "secret_id_num_uses": 2, "token_ttl": "1h" });
    let vault = Arc::new(vault(&ground.role("revoked", role).await));
    assert!(text(&vault, "vault:secret/app/revoked#k").await.is_ok());
    pause(1100).await;
    let mut ours = 0;
    let accessors = ground.root("LIST", "auth/token/accessors", json!(null)).await;
    for accessor in accessors["data"]["keys"].as_array().unwrap() {
        let accessor = json!({ "accessor": accessor });
        let looked = ground
            .server
            .call(
                "POST",
                "auth/token/lookup-accessor",
                Some("root"),
                Some(accessor.clone()),
            )
            .await
            .unwrap();
        if looked.body["data"]["meta"]["role_name"] == "revoked" {
            ground.root("POST", "auth/token/revoke-accessor", accessor).await;
            ours += 1;
        }
    }
    assert_eq!(ours, 1);
    let reads = (0..10).map(|_| {
        let vault = vault.clone();
        tokio::spawn(async move { text(&vault, "vault:secret/app/revoked#k").await })
    });
    for read in futures_util::future::join_all(reads).await {
        assert_eq!(read.unwrap().unwrap(), "v");
    }
    "10 reads at once noticed, 1 login".to_owned()
}

/// A peer that knows one token at a time; `invalid` says which requests it refuses to know.
pub(crate) async fn one_login_for_all_who_notice() -> String {
    let peer = Peer::start(|asked, before| match asked.path.as_str() {
        "auth/approle/login" => login(&format!("t{before}"), 3600).after(Duration::from_millis(100)),
        _ if asked.token.as_deref() == Some("t0") => Reply::invalid_token(),
        _ => document(1, "v"),
    })
    .await;
    let vault = Arc::new(vault(&at_peer(&peer.address)));
    let reads = (0..20).map(|_| {
        let vault = vault.clone();
        tokio::spawn(async move { text(&vault, "vault:kv/a#k").await })
    });
    for read in futures_util::future::join_all(reads).await {
        assert_eq!(read.unwrap().unwrap(), "v");
    }
    assert_eq!(peer.count("login"), 2);
    "20 reads at once noticed, 1 login more".to_owned()
}

pub(crate) async fn nothing_else_leads_to_a_login() -> String {
    let peer = Peer::start(|asked, before| match (asked.path.as_str(), before) {
        ("auth/approle/login", _) => login("t", 3600),
        (_, 0) => Reply::errors(403, "permission denied"),
        (_, 1) => Reply::errors(403, "1 error occurred:\n\t* permission denied\n\n"),
        (_, 2) => Reply::new(403, "<html>a gateway</html>"),
        (_, 3..9) => Reply::errors(503, "Vault is sealed"),
        _ => document(1, "v"),
    })
    .await;
    let vault = vault(&at_peer(&peer.address));
    let mut kinds = Vec::new();
    while let Err(error) = text(&vault, "vault:kv/a#k").await {
        kinds.push(error.kind);
    }
    use FetchErrorKind::{Denied, Unavailable};
    assert_eq!(kinds, [Denied, Denied, Denied, Unavailable]);
    assert_eq!(peer.count("login"), 1);
    "three refusals and six outages, 1 login".to_owned()
}

pub(crate) async fn a_token_that_is_never_known_makes_no_storm() -> String {
    let peer = Peer::start(|asked, before| match asked.path.as_str() {
        "auth/approle/login" => login(&format!("t{before}"), 3600),
        _ => Reply::invalid_token(),
    })
    .await;
    let vault = vault(&at_peer(&peer.address));
    let (end, mut reads) = (Instant::now() + Duration::from_secs(3), 0);
    while Instant::now() < end {
        assert!(text(&vault, "vault:kv/a#k").await.is_err());
        reads += 1;
        pause(20).await;
    }
    let logins = peer.count("login");
    assert!(logins <= 6, "{logins} logins");
    format!("{reads} reads in 3 s, {logins} logins")
}

/// The renewal grants less than was asked: the server says that the longest life is near.
pub(crate) async fn a_shortened_renewal_of_the_token() -> String {
    let peer = Peer::start(|asked, before| match asked.path.as_str() {
        "auth/approle/login" => login(&format!("t{before}"), 9),
        "auth/token/renew-self" => login(asked.token.as_deref().unwrap_or_default(), 8),
        _ => document(1, "v"),
    })
    .await;
    let vault = vault(&at_peer(&peer.address));
    assert!(text(&vault, "vault:kv/a#k").await.is_ok());
    pause(8000).await;
    // The renewal and the login came by themselves, without a fetch.
    assert_eq!((peer.count("renew-self"), peer.count("login")), (1, 2));
    assert!(text(&vault, "vault:kv/a#k").await.is_ok());
    let last = peer.asked().pop().unwrap();
    assert_eq!(last.token.as_deref(), Some("t1"));
    let renewal = peer
        .asked()
        .into_iter()
        .find(|asked| asked.path.ends_with("renew-self"));
    assert_eq!(renewal.unwrap().body["increment"], 9);
    "asked for 9 s, got 8 s: another login while the old token works".to_owned()
}

pub(crate) async fn an_outage_of_renewals_keeps_the_token() -> String {
    let peer = Peer::start(|asked, before| match (asked.path.as_str(), before) {
        ("auth/approle/login", _) => login("t", 10),
        ("auth/token/renew-self", 0..4) => Reply::errors(503, "Vault is sealed"),
        ("auth/token/renew-self", _) => login("t", 10),
        ("sys/leases/renew", _) => renewed(&asked.body["lease_id"], 60),
        _ => document(1, "v"),
    })
    .await;
    let vault = vault(&at_peer(&peer.address));
    assert!(text(&vault, "vault:kv/a#k").await.is_ok());
    pause(11_500).await;
    assert!(fetch(&vault, "vault:kv/a#k", None).await.is_ok());
    let renewals = peer.count("renew-self");
    assert_eq!(peer.count("login"), 1);
    assert!((5..12).contains(&renewals), "{renewals} renewals");
    format!("4 renewals got 503, {renewals} in all, 1 login")
}
