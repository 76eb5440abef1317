//! Rows in which the store asks the provider, as in a service.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hafnium_core::config::{Config, Loader, Sources};
use hafnium_core::secret::vault::{VaultSection, VaultSettings};
use hafnium_core::secret::{Login, Provider, Secret, SecretState, Secrets, SecretsSettings};
use hafnium_core::{Context, Deadline};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::ground::{Ground, approle, own_server, pause, seconds, text, vault};
use super::peer::{Peer, Reply, document};

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
struct Settings {
    password: Option<Secret>,
    login: Option<Login>,
}

/// A service's store with one secret, asked each second.
async fn store(settings: &VaultSettings, key: &str, reference: &str) -> (Config, Secrets, Arc<dyn Provider>) {
    let sources = Sources::none()
        .variable(format!("HAFNIUM__SETTINGS__{key}"), reference)
        .variable("HAFNIUM__SECRETS__REFRESH", "1s");
    let loader = Loader::new("contract").settings::<Settings>();
    let config = loader
        .section::<SecretsSettings>()
        .sources(sources)
        .load()
        .unwrap();
    let provider: Arc<dyn Provider> = Arc::new(vault(settings));
    let secrets = Secrets::new(config.get::<SecretsSettings>().unwrap(), vec![provider.clone()]);
    secrets.open(&config, seconds(20.0)).await.unwrap();
    secrets.follow(&Context::standalone());
    (config, secrets, provider)
}

async fn until(what: &str, mut held: impl FnMut() -> bool) -> Duration {
    let begun = Instant::now();
    while !held() {
        assert!(begun.elapsed() < Duration::from_secs(30), "waited for {what}");
        pause(50).await;
    }
    begun.elapsed()
}

pub(crate) async fn the_last_value_serves_on_while_sealed(_: Arc<Ground>) -> String {
    let server = own_server().await;
    let write = async |value: &str| {
        let body = json!({ "data": { "k": value } });
        server
            .root("POST", "secret/data/app/stale", Some(body))
            .await
            .unwrap();
    };
    write("one").await;
    // One login: the seal must not lead to another.
    let role = json!({ "secret_id_num_uses": 1, "token_ttl": "1h" });
    let settings = approle(&server, "stale", role).await;
    let (config, secrets, _provider) = store(&settings, "PASSWORD", "vault:secret/app/stale#k").await;
    let password = config.settings::<Settings>().unwrap().password.unwrap();
    assert_eq!(password.current().expose(), "one");
    server.seal().await.unwrap();
    until("the report to say so", || {
        secrets.report()[0].state != SecretState::Current
    })
    .await;
    assert_eq!(password.current().expose(), "one", "stale, and in use");
    let said = secrets.report()[0].to_string();
    server.unseal().await.unwrap();
    write("two").await;
    let seen = until("the next value", || password.current().expose() == "two").await;
    assert_eq!(secrets.report()[0].state, SecretState::Current);
    assert!(!said.contains("one"), "{said}");
    format!(
        "kept; after the unseal the next value is there within {:.1} s",
        seen.as_secs_f64()
    )
}

pub(crate) async fn a_store_never_holds_a_login_that_ended(ground: Arc<Ground>) -> String {
    ground.dynamic("followed", 6, 10).await;
    let settings = ground.role("followed", json!({})).await;
    let (config, _secrets, provider) = store(&settings, "LOGIN", "vault-db:followed").await;
    let login = config.settings::<Settings>().unwrap().login.unwrap();
    let (begun, mut logins, mut users) = (Instant::now(), 0, std::collections::BTreeSet::new());
    while begun.elapsed() < Duration::from_secs(20) {
        let current = login.current();
        let (user, password) = current.login().unwrap();
        assert!(
            ground.can_log_in(user, password).await,
            "after {:?}",
            begun.elapsed()
        );
        users.insert(user.to_owned());
        logins += 1;
        pause(200).await;
    }
    assert!((2..=6).contains(&users.len()), "{users:?}");
    // Refused where it is used: another one, by the same handle.
    pause(5500).await;
    let refused = login.current();
    let begun = Instant::now();
    while login.current().version() == refused.version() {
        assert!(begun.elapsed() < Duration::from_secs(20), "never replaced");
        login
            .secret()
            .refresh(Deadline::after(Duration::from_secs(10)))
            .await
            .unwrap();
    }
    let current = login.current();
    let (user, password) = current.login().unwrap();
    assert!(ground.can_log_in(user, password).await);
    provider.release(seconds(10.0)).await;
    assert!(!ground.can_log_in(user, password).await, "given back");
    format!(
        "{logins} logins in 20 s, all worked, as {} users of at most 10 s",
        users.len()
    )
}

/// As an agent beside the service does: another token in the same file.
pub(crate) async fn a_given_token_that_is_replaced_in_its_file() -> String {
    let peer = Peer::start(|asked, _| match asked.path.as_str() {
        "auth/token/lookup-self" => {
            let data = json!({ "ttl": 3600, "creation_ttl": 3600, "period": 0, "renewable": true });
            Reply::new(200, json!({ "data": data }))
        }
        _ => document(1, "v"),
    })
    .await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    std::fs::write(&file, "hvs.one\n").unwrap();
    let sources = Sources::none()
        .variable("VAULT_ADDR", peer.address.clone())
        .variable("VAULT_TOKEN", format!("file:{}", file.display()));
    let loader = Loader::new("contract").section::<VaultSection>();
    let config = loader
        .section::<SecretsSettings>()
        .sources(sources)
        .load()
        .unwrap();
    let secrets = Secrets::new(config.get::<SecretsSettings>().unwrap(), Vec::new());
    secrets.open(&config, seconds(20.0)).await.unwrap();
    secrets.follow(&Context::standalone());
    let vault = vault(&config.get::<VaultSection>().unwrap());
    let used = || peer.asked().pop().unwrap().token.unwrap();
    assert!(text(&vault, "vault:kv/a#k").await.is_ok());
    assert_eq!(used(), "hvs.one");
    std::fs::write(&file, "hvs.two\n").unwrap();
    let begun = Instant::now();
    while used() != "hvs.two" {
        assert!(begun.elapsed() < Duration::from_secs(40), "never taken");
        assert!(text(&vault, "vault:kv/a#k").await.is_ok());
        pause(100).await;
    }
    let looked = peer.count("lookup-self");
    assert_eq!(looked, 2);
    format!(
        "taken after {:.1} s, looked up once",
        begun.elapsed().as_secs_f64()
    )
}
