//! TLS to a real server with a certificate made for the test: who is trusted, and what is said to whoever is not.

#![cfg(all(feature = "postgres", feature = "tls"))]
#![allow(
    clippy::unwrap_used,
    reason = "a test may end where it stands, its helpers too"
)]
#![allow(clippy::disallowed_methods, reason = "real servers take real time")]

mod certificates;

use std::time::Duration;

use certificates::{Authority, Signed, TestFile};
use hafnium_core::config::{Live, Loader, Sources};
use hafnium_core::secret::Secret;
use hafnium_core::{Context, StartError};
use hafnium_data::postgres::{Postgres, PostgresSettings};
use hafnium_testkit::dns::NameServer;
use hafnium_testkit::postgres::PostgresCluster;

const NAME: &str = "ledger.example";

/// A server with a certificate for [`NAME`], which a name server knows.
struct Rig {
    cluster: PostgresCluster,
    names: NameServer,
    authority: Authority,
}

impl Rig {
    async fn start(test: &str) -> Rig {
        let rig = Rig {
            cluster: PostgresCluster::single().await.unwrap(),
            names: NameServer::start().unwrap(),
            authority: Authority::new(test),
        };
        let signed = rig.authority.sign(&[NAME]);
        rig.cluster
            .offer_tls(0, &signed.certificate, &signed.key)
            .await
            .unwrap();
        for name in [NAME, "other.example"] {
            rig.names
                .set(name, [[127, 0, 0, 1].into()], Duration::from_secs(60));
        }
        rig
    }

    fn settings(&self, host: &str, parameters: &str) -> PostgresSettings {
        let url = format!("{}?{parameters}", self.cluster.url("app"));
        let mut settings = PostgresSettings::new(Secret::new(url.replace("127.0.0.1", host)));
        settings.resolver = vec![self.names.address().to_string()];
        settings.timeout = Duration::from_secs(3).into();
        settings
    }

    async fn connect(&self, host: &str, parameters: &str, cx: &Context) -> Result<Postgres, StartError> {
        Postgres::connect(self.settings(host, parameters), cx).await
    }

    async fn refusal(&self, host: &str, parameters: &str) -> String {
        let result = self.connect(host, parameters, &environment("prod")).await;
        result.unwrap_err().to_string()
    }
}

fn environment(name: &str) -> Context {
    let config = Loader::new("risk-engine")
        .environment(Some(name))
        .sources(Sources::none())
        .load()
        .unwrap();
    Context::standalone().with_config(Live::new(config))
}

async fn is_encrypted(postgres: &Postgres) -> bool {
    sqlx::query_scalar("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
        .fetch_one(postgres)
        .await
        .unwrap()
}

#[tokio::test]
async fn the_right_name_of_a_trusted_authority_is_accepted_at_an_address_we_resolved_ourselves() {
    let rig = Rig::start("right").await;
    // Nothing is said of TLS: outside dev it is verify-full.
    let trusted = format!("sslrootcert={}", rig.authority.file());
    for name in ["staging", "prod", "dr"] {
        let postgres = rig.connect(NAME, &trusted, &environment(name)).await.unwrap();
        assert!(is_encrypted(&postgres).await);
    }
    assert!(rig.names.asked(NAME) > 0, "by our own resolver");
}

#[tokio::test]
async fn a_wrong_name_and_a_strange_authority_are_refused_and_the_error_says_what_to_do() {
    let rig = Rig::start("wrong").await;
    let stranger = Authority::new("stranger");
    let trusted = format!("sslrootcert={}", rig.authority.file());

    let error = rig.refusal("other.example", &trusted).await;
    assert!(
        error.contains("other.example") && error.contains("connect by a name that the certificate has"),
        "{error}"
    );
    // The chain without the name is what verify-ca asks for, and what libpq makes of require with an authority.
    for mode in ["verify-ca", "require"] {
        let parameters = format!("{trusted}&sslmode={mode}");
        let postgres = rig
            .connect("other.example", &parameters, &environment("prod"))
            .await;
        assert!(is_encrypted(&postgres.unwrap()).await, "{mode}");
    }
    for strange in [
        format!("sslrootcert={}", stranger.file()),
        format!("sslrootcert={}&sslmode=verify-ca", stranger.file()),
        format!("sslrootcert={}&sslmode=require", stranger.file()),
        String::new(),
    ] {
        let error = rig.refusal(NAME, &strange).await;
        assert!(
            error.contains("its authority is not trusted") && error.contains("sslrootcert"),
            "{strange}: {error}"
        );
    }
    let anyone = rig.connect(NAME, "sslmode=require", &environment("prod")).await;
    assert!(is_encrypted(&anyone.unwrap()).await);
    let off = rig.connect(NAME, "sslmode=disable", &environment("prod")).await;
    assert!(!is_encrypted(&off.unwrap()).await);
}

#[tokio::test]
async fn a_server_without_tls_is_refused_outside_dev_and_the_error_says_what_to_do() {
    let cluster = PostgresCluster::single().await.unwrap();
    let connect = async |cx: Context| {
        let mut settings = PostgresSettings::new(Secret::new(cluster.url("app")));
        settings.timeout = Duration::from_secs(2).into();
        Postgres::connect(settings, &cx).await
    };
    let error = connect(environment("staging")).await.unwrap_err().to_string();
    assert!(
        error.contains("server does not support TLS") && error.contains("sslmode=disable"),
        "{error}"
    );
    let postgres = connect(environment("dev")).await.unwrap();
    assert!(!is_encrypted(&postgres).await);
}

/// What `sslcert` and `sslkey` name.
struct Shown {
    certificate: TestFile,
    key: TestFile,
}

impl Shown {
    fn new(name: &str, signed: &Signed) -> Shown {
        Shown {
            certificate: TestFile::new(&format!("{name}-cert"), &signed.certificate),
            key: TestFile::new(&format!("{name}-key"), &signed.key),
        }
    }

    fn parameters(&self) -> String {
        format!("sslcert={}&sslkey={}", self.certificate.path(), self.key.path())
    }
}

#[tokio::test]
async fn a_certificate_of_the_client_is_shown_and_a_wrong_one_is_refused_with_what_to_look_at() {
    let rig = Rig::start("client").await;
    let clients = Authority::new("clients");
    rig.cluster
        .demand_client_certificates(0, &clients.pem())
        .await
        .unwrap();
    let trusted = format!("sslrootcert={}", rig.authority.file());
    let user = rig.cluster.user();
    let ours = clients.sign_user(&user);
    let shown = Shown::new("ours", &ours);
    let url = format!("{trusted}&{}", shown.parameters());
    let postgres = rig.connect(NAME, &url, &environment("prod")).await.unwrap();
    let seen: String = sqlx::query_scalar("SELECT client_dn FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
        .fetch_one(&postgres)
        .await
        .unwrap();
    assert!(seen.contains(&format!("CN={user}")), "{seen}");

    let error = rig.refusal(NAME, &trusted).await;
    assert!(
        error.contains("requires a valid client certificate (28000)"),
        "{error}"
    );
    let other = Shown::new("other", &clients.sign_user("somebody"));
    let error = rig
        .refusal(NAME, &format!("{trusted}&{}", other.parameters()))
        .await;
    assert!(
        error.contains("certificate authentication failed for user") && error.contains("(28000)"),
        "{error}"
    );
    let stranger = Shown::new("stranger", &Authority::new("strangers").sign_user(&user));
    let url = format!("{trusted}&{}", stranger.parameters());
    // The server closes the connection as soon as it has said why; a client that still writes may miss that.
    let mut tries = 0;
    loop {
        let error = rig.refusal(NAME, &url).await;
        if error.contains("the server refuses the client's certificate: sslcert in the URL") {
            break;
        }
        tries += 1;
        assert!(tries < 5, "{error}");
    }
    let mixed = format!(
        "{trusted}&sslcert={}&sslkey={}",
        shown.certificate.path(),
        other.key.path()
    );
    let error = rig.refusal(NAME, &mixed).await;
    assert!(
        error.contains("the key of sslkey is not that of the certificate in sslcert"),
        "{error}"
    );
}

#[tokio::test]
async fn a_file_that_is_missing_or_holds_something_else_is_named_with_its_parameter() {
    let rig = Rig::start("files").await;
    let signed = rig.authority.sign_user("app");
    let shown = Shown::new("files-client", &signed);
    let missing = "/nowhere/authority.pem";
    let key = shown.key.path();
    for (parameters, said) in [
        (
            format!("sslrootcert={missing}"),
            format!("url: parameter \"sslrootcert\": {missing} can't be read: No such file"),
        ),
        (
            format!("sslrootcert={key}"),
            format!("url: parameter \"sslrootcert\": {key} holds no certificate in PEM"),
        ),
        (
            format!("sslmode=require&sslcert={missing}&sslkey={key}"),
            format!("url: parameter \"sslcert\": {missing} can't be read: No such file"),
        ),
        (
            format!(
                "sslmode=require&sslcert={}&sslkey={missing}",
                shown.certificate.path()
            ),
            format!("url: parameter \"sslkey\": {missing} can't be read: No such file"),
        ),
    ] {
        let begun = std::time::Instant::now();
        let error = rig
            .connect(NAME, &parameters, &environment("prod"))
            .await
            .unwrap_err();
        assert!(matches!(error, StartError::Configuration { .. }), "{error}");
        assert!(error.to_string().contains(&said), "{error}");
        assert!(
            begun.elapsed() < Duration::from_secs(1),
            "nothing was tried to connect to"
        );
    }

    // One that goes missing later is named by what fails for it, and used again when it is back.
    let root = TestFile::new("files-root", &rig.authority.pem());
    let path = root.path().to_owned();
    let postgres = rig
        .connect(NAME, &format!("sslrootcert={path}"), &environment("prod"))
        .await
        .unwrap();
    drop(root);
    let session = rig.cluster.connect(0, "postgres").await.unwrap();
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_ssl WHERE ssl";
    session.batch_execute(end).await.unwrap();
    let view = postgres.within(Duration::from_secs(2)).read_only();
    let said = format!("url: parameter \"sslrootcert\": {path} can't be read: No such file");
    let error = sqlx::query("SELECT 1")
        .execute(&view)
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains(&said), "{error}");
    std::fs::write(&path, rig.authority.pem()).unwrap();
    let view = postgres.read_only();
    sqlx::query("SELECT 1").execute(&view).await.unwrap();
    std::fs::remove_file(&path).unwrap();
}

#[tokio::test]
async fn an_expired_certificate_of_the_server_is_refused_and_the_error_says_so() {
    let rig = Rig::start("expired").await;
    let signed = rig.authority.sign_as(&[NAME], |params| {
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    });
    rig.cluster
        .offer_tls(0, &signed.certificate, &signed.key)
        .await
        .unwrap();
    let trusted = format!("sslrootcert={}", rig.authority.file());
    let end = std::time::Instant::now() + Duration::from_secs(20);
    loop {
        // The server takes its new certificate a moment after it was told to.
        match rig.connect(NAME, &trusted, &environment("prod")).await {
            Ok(_) => assert!(std::time::Instant::now() < end, "the server shows its old one"),
            Err(error) => {
                let error = error.to_string();
                assert!(error.contains("the server needs a new certificate"), "{error}");
                break;
            }
        }
    }
}
