//! What the rows stand on: the real server with a private Postgres behind its database engine, and how to ask the
//! provider under test.

use std::time::Duration;

use hafnium_core::Deadline;
use hafnium_core::secret::vault::{AppRole, Vault, VaultSettings};
use hafnium_core::secret::{Address, FetchError, Fetched, Material, Provider, Secret, Version};
use hafnium_testkit::postgres::tokio_postgres;
use hafnium_testkit::vault::Absent;
use hafnium_testkit::{PostgresCluster, VaultServer};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

pub(crate) struct Ground {
    pub(crate) server: VaultServer,
    pub(crate) postgres: PostgresCluster,
}

pub(crate) const POLICY: &str = r#"
path "secret/data/app/*" { capabilities = ["read"] }
path "kv1/*" { capabilities = ["read"] }
path "nope/*" { capabilities = ["read"] }
path "database/creds/*" { capabilities = ["read"] }
path "database/static-creds/*" { capabilities = ["read"] }
path "sys/leases/revoke" { capabilities = ["update"] }
"#;

impl Ground {
    pub(crate) async fn lay() -> Result<Self, Absent> {
        let server = VaultServer::start().await.unwrap()?;
        let postgres = PostgresCluster::single().await.unwrap();
        server.connect_database(&postgres).await.unwrap();
        prepare(&server).await;
        Ok(Self { server, postgres })
    }

    pub(crate) async fn root(&self, method: &str, path: &str, body: Value) -> Value {
        let body = Some(body).filter(|body| !body.is_null());
        self.server.root(method, path, body).await.unwrap()
    }

    pub(crate) async fn write(&self, name: &str, value: &str) {
        let body = json!({ "data": { "k": value } });
        self.root("POST", &format!("secret/data/app/{name}"), body).await;
    }

    /// Settings with an AppRole of its own.
    pub(crate) async fn role(&self, name: &str, role: Value) -> VaultSettings {
        approle(&self.server, name, role).await
    }

    /// A dynamic role whose logins live for so many seconds.
    pub(crate) async fn dynamic(&self, name: &str, ttl: u64, longest: u64) {
        let statement = "CREATE ROLE \"{{name}}\" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'";
        let role = json!({
            "db_name": "pg",
            "creation_statements": [statement],
            "default_ttl": format!("{ttl}s"),
            "max_ttl": format!("{longest}s"),
        });
        self.root("POST", &format!("database/roles/{name}"), role).await;
    }

    /// Whether the login works, at a new connection.
    pub(crate) async fn logs_in(&self, fetched: &Fetched) -> bool {
        let Material::Login { user, password } = &fetched.material else {
            panic!("a login");
        };
        self.can_log_in(user, password.expose_secret()).await
    }

    pub(crate) async fn can_log_in(&self, user: &str, password: &str) -> bool {
        let mut config = tokio_postgres::Config::new();
        config
            .host("127.0.0.1")
            .port(self.postgres.port(0))
            .user(user)
            .password(password)
            .dbname("postgres");
        match config.connect(tokio_postgres::NoTls).await {
            Err(error) => {
                let code = error.as_db_error().map(|db| db.code().code().to_owned());
                assert!(matches!(code.as_deref(), Some("28P01" | "28000")), "{error:?}");
                false
            }
            Ok((client, connection)) => {
                let driver = tokio::spawn(connection);
                let works = client.simple_query("SELECT 1").await.is_ok();
                driver.abort();
                works
            }
        }
    }
}

async fn prepare(server: &VaultServer) {
    let root = async |path: &str, body: Value| {
        server.root("POST", path, Some(body)).await.unwrap();
    };
    root("sys/policies/acl/app", json!({ "policy": POLICY })).await;
    root("sys/auth/approle", json!({ "type": "approle" })).await;
    root("sys/auth/kubernetes", json!({ "type": "kubernetes" })).await;
    root(
        "sys/mounts/kv1",
        json!({ "type": "kv", "options": { "version": "1" } }),
    )
    .await;
}

/// A server of one's own, for what would be in the way of others.
pub(crate) async fn own_server() -> VaultServer {
    let server = VaultServer::start().await.unwrap().unwrap();
    prepare(&server).await;
    server
}

pub(crate) async fn approle(server: &VaultServer, name: &str, mut role: Value) -> VaultSettings {
    role["token_policies"] = json!("app");
    let path = format!("auth/approle/role/{name}");
    server.root("POST", &path, Some(role)).await.unwrap();
    let role_id = server
        .root("GET", &format!("{path}/role-id"), None)
        .await
        .unwrap();
    let secret_id = server
        .root("POST", &format!("{path}/secret-id"), Some(json!({})))
        .await
        .unwrap();
    let text = |answer: &Value, field: &str| answer["data"][field].as_str().unwrap().to_owned();
    let mut settings = VaultSettings::new(server.address());
    let secret_id = Secret::new(text(&secret_id, "secret_id"));
    settings.approle = Some(AppRole::new(text(&role_id, "role_id"), Some(secret_id)));
    settings
}

/// Settings for a peer, with an AppRole.
pub(crate) fn at_peer(address: &str) -> VaultSettings {
    let mut settings = VaultSettings::new(address);
    settings.approle = Some(AppRole::new("role", Some(Secret::new("canary-secret-id"))));
    settings
}

pub(crate) fn vault(settings: &VaultSettings) -> Vault {
    Vault::new(settings).unwrap()
}

/// The address that a reference means.
pub(crate) fn at(reference: &str) -> Address {
    let (scheme, rest) = reference.split_once(':').unwrap();
    let (path, key) = match rest.split_once('#') {
        Some((path, key)) => (path, Some(key.to_owned())),
        None => (rest, None),
    };
    Address {
        scheme: scheme.to_owned(),
        path: path.to_owned(),
        key,
    }
}

pub(crate) async fn fetch(
    vault: &Vault,
    reference: &str,
    held: Option<&Version>,
) -> Result<Fetched, FetchError> {
    vault.fetch(&at(reference), held).await
}

pub(crate) async fn text(vault: &Vault, reference: &str) -> Result<String, FetchError> {
    fetch(vault, reference, None)
        .await
        .map(|fetched| match fetched.material {
            Material::Text(text) => text.expose_secret().to_owned(),
            _ => panic!("a text"),
        })
}

pub(crate) fn user(fetched: &Fetched) -> &str {
    match &fetched.material {
        Material::Login { user, .. } => user,
        _ => panic!("a login"),
    }
}

pub(crate) fn seconds(secs: f64) -> Deadline {
    Deadline::after(Duration::from_secs_f64(secs))
}

pub(crate) async fn pause(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}
