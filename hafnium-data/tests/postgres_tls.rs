//! TLS to a real server with a certificate made for the test: who is trusted, and what is said to whoever is not.

#![cfg(all(feature = "postgres", feature = "tls"))]
#![allow(
    clippy::unwrap_used,
    reason = "a test may end where it stands, its helpers too"
)]
#![allow(clippy::disallowed_methods, reason = "real servers take real time")]

mod certificates;

use std::time::Duration;

use certificates::Authority;
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
