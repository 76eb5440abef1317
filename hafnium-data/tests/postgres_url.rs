//! What a URL asks for by libpq's parameters, on a real primary with two standbys.

#![cfg(feature = "postgres")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may end where it stands, its helpers too"
)]
#![allow(clippy::disallowed_methods, reason = "real servers take real time")]

use std::collections::BTreeSet;
use std::time::Duration;

use hafnium_core::health::Health;
use hafnium_core::secret::Secret;
use hafnium_core::{Classify, Context, Fault, Outcome};
use hafnium_data::postgres::{Detail, MARKERS, Postgres, PostgresSettings, classify, detail};
use hafnium_testkit::postgres::PostgresCluster;
use tokio::time::Instant;

async fn connect(url: String, cx: &Context) -> Postgres {
    let mut settings = PostgresSettings::new(Secret::new(url));
    // Longer than a busy machine takes.
    settings.timeout = Duration::from_secs(15).into();
    Postgres::connect(settings, cx).await.unwrap()
}

/// The nodes that serve, by their ports, within `limit`.
async fn served_by(postgres: &Postgres, limit: Duration) -> Result<BTreeSet<u16>, sqlx::Error> {
    let mut ports = BTreeSet::new();
    for _ in 0..20 {
        let view = postgres.read_only().within(limit);
        let port = sqlx::query_scalar::<_, i32>("SELECT inet_server_port()");
        ports.insert(u16::try_from(port.fetch_one(&view).await?).unwrap());
    }
    Ok(ports)
}

async fn writes(postgres: &Postgres) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO t VALUES (1)")
        .execute(postgres)
        .await
        .map(drop)
}

/// Waits until every node was heard.
async fn all_up(postgres: &Postgres) {
    let end = Instant::now() + Duration::from_secs(15);
    while postgres.nodes().iter().any(|node| node.state != "up") {
        assert!(Instant::now() < end, "{:?}", postgres.nodes());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn each_value_of_target_session_attrs_goes_where_libpq_would_stay_and_follows() {
    let cluster = PostgresCluster::builder().start().await.unwrap();
    let url = cluster.create_database("ledger").await.unwrap();
    let cx = Context::standalone();
    cx.health().run(cx.tasks(), cx.metrics());
    let everyone = connect(url.clone(), &cx).await;
    sqlx::query("CREATE TABLE t (id int)")
        .execute(&everyone)
        .await
        .unwrap();
    cluster.await_replay().await.unwrap();

    let primary = BTreeSet::from([cluster.port(0)]);
    let standbys = BTreeSet::from([cluster.port(1), cluster.port(2)]);
    let patient = Duration::from_secs(15);
    let mut handles = Vec::new();
    for (attrs, wanted) in [
        ("any", &primary),
        ("read-write", &primary),
        ("primary", &primary),
        ("read-only", &standbys),
        ("standby", &standbys),
        ("prefer-standby", &standbys),
    ] {
        let postgres = connect(format!("{url}?target_session_attrs={attrs}"), &cx).await;
        all_up(&postgres).await;
        let served = served_by(&postgres, patient).await.unwrap();
        assert!(served.is_subset(wanted), "{attrs}: {served:?}");
        let written = writes(&postgres).await;
        assert_eq!(written.is_ok(), wanted == &primary, "{attrs}: {written:?}");
        if let Err(error) = written {
            assert!(
                matches!(detail(&error), Some(Detail::ReadOnly { .. })),
                "{attrs}: {error}"
            );
        }
        handles.push((attrs, postgres));
    }

    // Without standbys.
    cluster.kill9(1).await.unwrap();
    cluster.kill9(2).await.unwrap();
    let short = Duration::from_millis(500);
    for (attrs, postgres) in &handles {
        let end = Instant::now() + patient;
        while postgres.nodes()[1].state != "down" || postgres.nodes()[2].state != "down" {
            assert!(Instant::now() < end, "{:?}", postgres.nodes());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        match *attrs {
            "standby" | "read-only" => {
                let error = served_by(postgres, short).await.unwrap_err().to_string();
                let wanted = if *attrs == "standby" {
                    "standby"
                } else {
                    "read-only node"
                };
                assert!(error.contains(wanted), "{attrs}: {error}");
            }
            _ => assert_eq!(served_by(postgres, patient).await.unwrap(), primary, "{attrs}"),
        }
    }

    // A primary whose sessions are read-only.
    let session = cluster.connect(0, "ledger").await.unwrap();
    // Not in one message, which would be one transaction.
    for statement in [
        "ALTER SYSTEM SET default_transaction_read_only = on",
        "SELECT pg_reload_conf()",
    ] {
        session.batch_execute(statement).await.unwrap();
    }
    for (attrs, postgres) in &handles {
        let end = Instant::now() + patient;
        let expected = *attrs != "standby";
        while served_by(postgres, short).await.is_ok() != expected {
            assert!(Instant::now() < end, "{attrs}: {:?}", postgres.nodes());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

#[tokio::test]
async fn a_service_that_only_reads_starts_without_a_primary_is_well_and_refuses_to_write() {
    let cluster = PostgresCluster::builder().start().await.unwrap();
    let url = cluster.create_database("ledger").await.unwrap();
    let session = cluster.connect(0, "ledger").await.unwrap();
    session.batch_execute("CREATE TABLE t (id int)").await.unwrap();
    session.batch_execute(MARKERS).await.unwrap();
    cluster.await_replay().await.unwrap();
    drop(session);
    println!("{}", cluster.kill9(0).await.unwrap());
    for attrs in ["any", "read-only", "standby", "prefer-standby"] {
        let cx = Context::standalone();
        cx.health().run(cx.tasks(), cx.metrics());
        let postgres = connect(format!("{url}?target_session_attrs={attrs}"), &cx).await;
        assert!(
            served_by(&postgres, Duration::from_secs(15)).await.is_ok(),
            "{attrs}"
        );
        if attrs == "any" {
            // How far behind a standby is can't be told without a primary: a reader, which asks for that, finds none.
            continue;
        }
        let one: i32 = sqlx::query_scalar("SELECT 1")
            .fetch_one(&postgres.reader())
            .await
            .unwrap();
        assert_eq!(one, 1);
        let end = Instant::now() + Duration::from_secs(15);
        while cx.health().report().checks[0].health != Health::Up {
            assert!(Instant::now() < end, "{attrs}: {:?}", cx.health().report());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        refuses_writes(&postgres, attrs).await;
        assert!(
            served_by(&postgres, Duration::from_secs(15)).await.is_ok(),
            "{attrs}"
        );
    }
}

/// Every way to write is refused at once as the caller's mistake: nothing is waited for, repeated or suspected.
async fn refuses_writes(postgres: &Postgres, attrs: &str) {
    let begun = Instant::now();
    let mut refusals = vec![writes(postgres).await];
    let transaction = postgres.transaction(async |mut tx| {
        sqlx::query("INSERT INTO t VALUES (1)")
            .execute(&mut *tx)
            .await
            .map(drop)
    });
    refusals.push(transaction.await);
    let once = postgres.exactly_once("key", async |_| -> Result<(), sqlx::Error> { Ok(()) });
    refusals.push(once.await.map(drop));
    let mut session = postgres.acquire().await.unwrap();
    let insert = sqlx::query("INSERT INTO t VALUES (1)").execute(&mut session);
    refusals.push(insert.await.map(drop));
    for refusal in refusals {
        let error = refusal.unwrap_err();
        assert!(
            matches!(detail(&error), Some(Detail::ReadOnly { .. })),
            "{attrs}: {error}"
        );
        assert!(error.to_string().contains("cannot execute INSERT"), "{error}");
        let answer = classify(&error);
        assert_eq!(
            (
                answer.outcome(),
                answer.fault(),
                answer.retryable(),
                answer.code()
            ),
            (Outcome::NotRun, Fault::Caller, false, "postgres.read_only"),
            "{attrs}: {error}"
        );
    }
    let took = begun.elapsed();
    assert!(
        took < Duration::from_secs(10),
        "{attrs}: {took:?} of a limit of 15 s each"
    );
    let standbys = &postgres.nodes()[1..];
    assert!(standbys.iter().all(|node| node.state == "up"), "{standbys:?}");
}

#[tokio::test]
async fn load_balance_hosts_chooses_the_first_or_any_and_the_rest_of_the_url_reaches_the_server() {
    let cluster = PostgresCluster::builder().start().await.unwrap();
    let url = cluster.create_database("ledger").await.unwrap();
    let cx = Context::standalone();
    let patient = Duration::from_secs(15);
    let standbys = format!("{url}?target_session_attrs=standby&load_balance_hosts");
    let postgres = connect(format!("{standbys}=disable"), &cx).await;
    all_up(&postgres).await;
    let served = served_by(&postgres, patient).await.unwrap();
    assert_eq!(served, BTreeSet::from([cluster.port(1)]), "the first that fits");
    let postgres = connect(format!("{standbys}=random"), &cx).await;
    all_up(&postgres).await;
    let served = served_by(&postgres, patient).await.unwrap();
    assert_eq!(
        served.len(),
        2,
        "one of two for 20 times in a row has the chance of one in 500,000"
    );

    let parameters = "application_name=risk%20engine&options=-c%20search_path%3Drisk%20-c%20work_mem%3D5MB\
                      &connect_timeout=9&client_encoding=utf8&channel_binding=prefer";
    let postgres = connect(format!("{url}?{parameters}"), &cx).await;
    let said: (String, String, String) = sqlx::query_as(
        "SELECT current_setting('application_name'), current_setting('search_path'), current_setting('work_mem')",
    )
    .fetch_one(&postgres)
    .await
    .unwrap();
    assert_eq!(said, ("risk engine".into(), "risk".into(), "5MB".into()));

    let password = "p@ss/w:rd?#%&,[]";
    println!("{}", cluster.set_password(password).await.unwrap());
    let encoded: String = password.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let (user, port) = (cluster.user(), cluster.port(0));
    let url = format!("postgres://{user}:{encoded}@127.0.0.1:{port}/ledger");
    assert!(served_by(&connect(url, &cx).await, patient).await.is_ok());
}
