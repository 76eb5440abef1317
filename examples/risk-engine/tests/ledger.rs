//! The ledger alone, each test with a database of its own.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(dead_code, reason = "a part of the service is tested, not all of it")]

#[path = "../src/ledger.rs"]
mod ledger;
#[path = "../src/payment.rs"]
mod payment;

use hafnium::Context;
use hafnium::postgres::{Postgres, PostgresSettings};
use hafnium::secret::Secret;
use ledger::Ledger;
use payment::{Payment, Score};

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!();

async fn ledger(url: String) -> Ledger {
    let settings = PostgresSettings::new(Secret::new(url));
    let postgres = Postgres::connect(settings, &Context::standalone()).await.unwrap();
    postgres.migrate(&MIGRATIONS).await.unwrap();
    Ledger::new(postgres)
}

fn scored(id: &str, score: i32) -> (Payment, Score) {
    let payment = Payment {
        id: id.to_owned(),
        account: "acct-1".to_owned(),
        amount: 100,
    };
    let score = Score {
        payment_id: id.to_owned(),
        score,
        velocity: Some(1),
    };
    (payment, score)
}

hafnium_testkit::test! {
    async fn the_first_score_of_a_payment_counts_and_has_one_effect(sandbox: Sandbox) {
        let ledger = ledger(sandbox.url()).await;
        let (payment, first) = scored("pay-1", 10);
        assert_eq!(ledger.store(&payment, first.clone()).await.unwrap(), first);
        let (_, second) = scored("pay-1", 90);
        assert_eq!(ledger.store(&payment, second).await.unwrap(), first);
        let session = sandbox.session().await.unwrap();
        let effects = session.query_one("SELECT count(*) FROM exposure", &[]).await.unwrap();
        assert_eq!(effects.get::<_, i64>(0), 1);
    }

    async fn a_database_is_the_tests_own(sandbox: Sandbox) {
        let ledger = ledger(sandbox.url()).await;
        assert_eq!(ledger.score("pay-1").await.unwrap(), None);
    }

    async fn a_score_outlives_its_primary(sandbox: Breakable) {
        let ledger = ledger(sandbox.url()).await;
        let (payment, score) = scored("pay-1", 10);
        ledger.store(&payment, score.clone()).await.unwrap();
        sandbox.kill9_primary().await.unwrap();
        sandbox.promote().await.unwrap();
        assert_eq!(ledger.score("pay-1").await.unwrap(), Some(score));
    }
}
