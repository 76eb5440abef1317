//! Rows about logins that the database engine lends or rotates.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hafnium_core::secret::{FetchErrorKind, Fetched, Provider};
use serde_json::json;

use super::ground::{Ground, at, at_peer, fetch, pause, seconds, user, vault};
use super::peer::{Peer, Reply, lent, login, renewed};

pub(crate) async fn a_login_is_lent_and_renewed(ground: Arc<Ground>) -> String {
    ground.dynamic("renewed", 9, 3600).await;
    let vault = vault(&ground.role("renewed", json!({})).await);
    let first = fetch(&vault, "vault-db:renewed", None).await.unwrap();
    assert!(
        first.refresh_after.unwrap() <= Duration::from_secs(6),
        "{first:?}"
    );
    assert!(
        first.expires_after.unwrap() <= Duration::from_secs(9),
        "{first:?}"
    );
    let (mut refresh_after, begun) = (first.refresh_after, Instant::now());
    while begun.elapsed() < Duration::from_secs(15) {
        tokio::time::sleep(refresh_after.unwrap()).await;
        let again = fetch(&vault, "vault-db:renewed", Some(&first.version))
            .await
            .unwrap();
        assert_eq!(again.version, first.version, "renewed, not replaced");
        assert!(ground.logs_in(&again).await);
        refresh_after = again.refresh_after;
    }
    "one login of 9 s works for 15 s".to_owned()
}

/// What the store does: asks again when the provider wishes, and lends out what it has. Every login must work.
async fn follow(ground: &Ground, vault: &impl Provider, reference: &str, secs: f64) -> (usize, usize) {
    let address = at(reference);
    let mut current: Fetched = vault.fetch(&address, None).await.unwrap();
    let (begun, mut logins, mut credentials) = (Instant::now(), 0, 1);
    let mut ask_at = begun + current.refresh_after.unwrap();
    while begun.elapsed() < Duration::from_secs_f64(secs) {
        if Instant::now() >= ask_at {
            let next = vault.fetch(&address, Some(&current.version)).await.unwrap();
            ask_at = Instant::now() + next.refresh_after.unwrap();
            if next.version != current.version {
                credentials += 1;
                assert!(
                    ground.logs_in(&current).await,
                    "the old one still works when the new one comes"
                );
            }
            current = next;
        }
        assert!(ground.logs_in(&current).await, "after {:?}", begun.elapsed());
        logins += 1;
        pause(150).await;
    }
    (logins, credentials)
}

pub(crate) async fn another_login_comes_before_the_old_one_ends(ground: Arc<Ground>) -> String {
    ground.dynamic("capped", 6, 10).await;
    let vault = vault(&ground.role("capped", json!({})).await);
    let (logins, credentials) = follow(&ground, &vault, "vault-db:capped", 20.0).await;
    assert!((2..=8).contains(&credentials), "{credentials} credentials");
    format!("{logins} logins in 20 s, all worked; {credentials} credentials of at most 10 s")
}

pub(crate) async fn leases_are_handed_over_before_their_token_ends(ground: Arc<Ground>) -> String {
    // The leases would live for an hour; the tokens they hang on don't.
    ground.dynamic("handover", 3600, 7200).await;
    let role = json!({ "token_ttl": "6s", "token_max_ttl": "10s" });
    let vault = vault(&ground.role("handover", role).await);
    let (logins, credentials) = follow(&ground, &vault, "vault-db:handover", 20.0).await;
    assert!((2..=8).contains(&credentials), "{credentials} credentials");
    format!("{logins} logins in 20 s, all worked; tokens of at most 10 s, {credentials} credentials of 1 h")
}

pub(crate) async fn release_gives_logins_back(ground: Arc<Ground>) -> String {
    ground.dynamic("released", 3600, 3600).await;
    let vault = vault(&ground.role("released", json!({})).await);
    let login = fetch(&vault, "vault-db:released", None).await.unwrap();
    assert!(ground.logs_in(&login).await);
    let begun = Instant::now();
    vault.release(seconds(10.0)).await;
    let took = begun.elapsed();
    assert!(!ground.logs_in(&login).await, "gone as soon as release says so");
    let error = fetch(&vault, "vault-db:released", None).await.unwrap_err();
    assert_eq!(error.kind, FetchErrorKind::Unavailable);
    format!("gone after {} ms", took.as_millis())
}

pub(crate) async fn a_refused_login_is_replaced(ground: Arc<Ground>) -> String {
    ground.dynamic("refused", 3600, 3600).await;
    let vault = vault(&ground.role("refused", json!({})).await);
    let first = fetch(&vault, "vault-db:refused", None).await.unwrap();
    // Asked without the one in use: it was refused where it is used. At first a replica may not know it yet.
    let same = fetch(&vault, "vault-db:refused", None).await.unwrap();
    assert_eq!(user(&first), user(&same));
    pause(5100).await;
    let second = fetch(&vault, "vault-db:refused", None).await.unwrap();
    assert_ne!(user(&first), user(&second));
    assert!(ground.logs_in(&second).await);
    let error = fetch(&vault, "vault-db:none", None).await.unwrap_err();
    assert_eq!(error.kind, FetchErrorKind::Invalid, "{error}");
    "another login; an unknown role (400) is invalid".to_owned()
}

pub(crate) async fn a_lease_that_is_gone_is_replaced(ground: Arc<Ground>) -> String {
    ground.dynamic("gone", 3, 3600).await;
    let vault = vault(&ground.role("gone", json!({})).await);
    let first = fetch(&vault, "vault-db:gone", None).await.unwrap();
    let revoke = json!({ "lease_id": first.version.0, "sync": true });
    ground.root("POST", "sys/leases/revoke", revoke).await;
    assert!(!ground.logs_in(&first).await);
    tokio::time::sleep(first.refresh_after.unwrap()).await;
    let second = fetch(&vault, "vault-db:gone", Some(&first.version))
        .await
        .unwrap();
    assert!(ground.logs_in(&second).await);
    "revoked from outside: another login when its renewal is due".to_owned()
}

pub(crate) async fn a_static_login_follows_its_rotation(ground: Arc<Ground>) -> String {
    let session = ground.postgres.connect(0, "postgres").await.unwrap();
    session
        .batch_execute("CREATE ROLE legacy LOGIN PASSWORD 'old'")
        .await
        .unwrap();
    let role = json!({ "db_name": "pg", "username": "legacy", "rotation_period": "5s" });
    ground.root("POST", "database/static-roles/legacy", role).await;
    let vault = vault(&ground.role("static", json!({})).await);
    let first = fetch(&vault, "vault-static:legacy", None).await.unwrap();
    assert!(ground.logs_in(&first).await);
    assert_eq!((user(&first), first.expires_after), ("legacy", None));
    ground
        .root("POST", "database/rotate-role/legacy", json!({}))
        .await;
    let second = fetch(&vault, "vault-static:legacy", Some(&first.version))
        .await
        .unwrap();
    assert_ne!(first.version, second.version);
    assert!(!ground.logs_in(&first).await && ground.logs_in(&second).await);
    // Vault's own rotation, which may be late: asked when it wishes to be, the new one is seen soon.
    let (begun, mut questions) = (Instant::now(), 0);
    let third = loop {
        let next = fetch(&vault, "vault-static:legacy", Some(&second.version))
            .await
            .unwrap();
        if next.version != second.version {
            break next;
        }
        assert!(
            begun.elapsed() < Duration::from_secs(40),
            "no rotation of its own"
        );
        questions += 1;
        tokio::time::sleep(next.refresh_after.unwrap()).await;
    };
    assert!(ground.logs_in(&third).await);
    assert!(questions < 80, "{questions}");
    format!(
        "own rotation seen after {:.1} s and {questions} questions",
        begun.elapsed().as_secs_f64()
    )
}

pub(crate) async fn a_late_rotation_is_waited_for_patiently() -> String {
    let peer = Peer::start(|asked, _| match asked.path.as_str() {
        "auth/approle/login" => login("t", 3600),
        // Due long ago, and the old password still works.
        _ => Reply::new(
            200,
            json!({ "data": { "username": "u", "password": "canary", "ttl": 0, "rotation_period": 60,
                "last_vault_rotation": "2026-01-02T03:04:05.6Z" } }),
        ),
    })
    .await;
    let vault = vault(&at_peer(&peer.address));
    let fetched = fetch(&vault, "vault-static:u", None).await.unwrap();
    assert_eq!(fetched.expires_after, None, "it still works");
    assert_eq!(fetched.refresh_after, Some(Duration::from_secs(10)));
    "ttl 0: the password serves on, asked again after 0.5 to 10 s".to_owned()
}

/// A peer that lends numbered logins.
async fn lender(ttl: u64, renewal: u64) -> Peer {
    Peer::start(move |asked, before| match asked.path.as_str() {
        "auth/approle/login" => login("t", 3600),
        path if path.ends_with("/creds/app") => lent(before, ttl).after(Duration::from_millis(300)),
        "sys/leases/renew" => renewed(&asked.body["lease_id"], renewal),
        _ => Reply::new(204, ""),
    })
    .await
}

pub(crate) async fn a_shortened_renewal_of_a_lease() -> String {
    let peer = lender(9, 8).await;
    let vault = vault(&at_peer(&peer.address));
    let first = fetch(&vault, "vault-db:app", None).await.unwrap();
    let early = fetch(&vault, "vault-db:app", Some(&first.version)).await.unwrap();
    assert_eq!(
        (user(&early), peer.count("leases/renew")),
        ("v-0", 0),
        "not due yet"
    );
    tokio::time::sleep(first.refresh_after.unwrap()).await;
    let second = fetch(&vault, "vault-db:app", Some(&first.version)).await.unwrap();
    assert_eq!((user(&first), user(&second)), ("v-0", "v-1"));
    assert_eq!((peer.count("leases/renew"), peer.count("creds/app")), (1, 2));
    assert_eq!(
        peer.count("leases/revoke"),
        0,
        "the old one is left to those who still use it"
    );
    "asked for 9 s, got 8 s: another login while the old one works".to_owned()
}

pub(crate) async fn a_dropped_fetch_leaks_no_lease() -> String {
    let peer = lender(60, 60).await;
    let vault = vault(&at_peer(&peer.address));
    let address = at("vault-db:app");
    let dropped = tokio::time::timeout(Duration::from_millis(100), vault.fetch(&address, None)).await;
    assert!(dropped.is_err(), "the answer takes 300 ms");
    let got = fetch(&vault, "vault-db:app", None).await.unwrap();
    assert_eq!(user(&got), "v-0");
    assert_eq!(peer.count("creds/app"), 1);
    // Dropped right before the end: given back all the same.
    let other = at("vault-db:other/app");
    let dropped = tokio::time::timeout(Duration::from_millis(100), vault.fetch(&other, None)).await;
    assert!(dropped.is_err());
    vault.release(seconds(5.0)).await;
    assert_eq!((peer.count("leases/revoke"), peer.count("revoke-self")), (2, 1));
    "the next fetch got it; release gave it back".to_owned()
}

pub(crate) async fn release_keeps_its_deadline() -> String {
    let peer = Peer::start(|asked, before| match asked.path.as_str() {
        "auth/approle/login" => login("t", 3600),
        "database/creds/app" => lent(before, 60),
        "sys/leases/revoke" => Reply::silent(),
        _ => Reply::new(204, ""),
    })
    .await;
    let vault = vault(&at_peer(&peer.address));
    fetch(&vault, "vault-db:app", None).await.unwrap();
    let begun = Instant::now();
    vault.release(seconds(4.5)).await;
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(6), "{took:?}");
    assert_eq!(
        peer.count("revoke-self"),
        1,
        "the token has its turn, and the lease hangs on it"
    );
    format!("4.5 s given, {} ms taken; the token went", took.as_millis())
}

pub(crate) async fn no_other_login_yet_keeps_the_one_in_use() -> String {
    let peer = Peer::start(|asked, before| match (asked.path.as_str(), before) {
        ("auth/approle/login", _) => login("t", 3600),
        ("database/creds/app", 0) => lent(0, 9),
        ("database/creds/app", 1) => {
            Reply::errors(500, "failed to execute query: syntax error at or near \"canary\"")
        }
        ("database/creds/app", _) => lent(before, 60),
        ("sys/leases/renew", _) => renewed(&asked.body["lease_id"], 8),
        _ => Reply::new(204, ""),
    })
    .await;
    let vault = vault(&at_peer(&peer.address));
    let first = fetch(&vault, "vault-db:app", None).await.unwrap();
    tokio::time::sleep(first.refresh_after.unwrap()).await;
    let second = fetch(&vault, "vault-db:app", Some(&first.version)).await.unwrap();
    assert_eq!(first.version, second.version);
    assert!(
        second.refresh_after.unwrap() <= Duration::from_secs(4),
        "asked again before it ends"
    );
    let third = fetch(&vault, "vault-db:app", Some(&first.version)).await.unwrap();
    assert_eq!(user(&third), "v-2");
    "a failed statement (500) was asked once; the next question gave another".to_owned()
}
