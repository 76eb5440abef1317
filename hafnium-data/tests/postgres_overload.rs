//! The Postgres handle when more is asked for than can be served, and when connections are dear: what is not served fails
//! as not run, and when the load is what it was so is the service. Real servers behind a relay that is slow at logins.

#![cfg(feature = "postgres")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may end where it stands, its helpers too"
)]
#![allow(clippy::disallowed_methods, reason = "real servers take real time")]

mod overload;

use std::net::SocketAddr;
use std::time::Duration;

use hafnium_core::secret::Secret;
use hafnium_core::{Classify, Context, Outcome};
use hafnium_data::postgres::{Detail, Postgres, PostgresSettings, classify, detail};
use hafnium_testkit::{PostgresCluster, Proxy};
use overload::load;
use overload::narrow::Narrow;
use tokio::time::Instant;

/// A handle that reaches the server by way of `via`.
async fn connect(
    cluster: &PostgresCluster,
    via: SocketAddr,
    change: impl FnOnce(&mut PostgresSettings),
) -> Postgres {
    let url = cluster.create_database("ledger").await.unwrap();
    let url = url.replace(&server(cluster).to_string(), &via.to_string());
    let mut settings = PostgresSettings::new(Secret::new(url));
    settings.warm = 0;
    change(&mut settings);
    Postgres::connect(settings, &Context::standalone()).await.unwrap()
}

fn server(cluster: &PostgresCluster) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], cluster.port(0)))
}

async fn session(postgres: &Postgres) -> i32 {
    sqlx::query_scalar("SELECT pg_backend_pid()")
        .fetch_one(postgres)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logins_that_take_each_others_time_are_tried_one_by_one_until_they_succeed() {
    let cluster = PostgresCluster::single().await.unwrap();
    let narrow = Narrow::before(server(&cluster));
    let postgres = connect(&cluster, narrow.address(), |settings| {
        settings.connect_timeout = Duration::from_secs(2).into();
        settings.timeout = Duration::from_secs(20).into();
    })
    .await;
    // One alone is in time, two at once are not.
    narrow.each_login_takes(Duration::from_millis(1300));
    let begun = Instant::now();
    let callers = (0..6).map(|_| {
        let postgres = postgres.clone();
        tokio::spawn(async move { sqlx::query("SELECT 1").execute(&postgres).await.map(drop) })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.unwrap().unwrap();
    }
    let logins = narrow.logins();
    println!("served after {:?}, {logins:?}", begun.elapsed());
    assert!(logins.given_up >= 2, "two at once were not in time");
    assert_eq!(postgres.nodes()[0].state, "up", "slow logins are no failed node");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_requests_is_over_when_it_is_over() {
    const DEADLINE: Duration = Duration::from_secs(1);
    let cluster = PostgresCluster::single().await.unwrap();
    let narrow = Narrow::before(server(&cluster));
    let postgres = connect(&cluster, narrow.address(), |settings| settings.max = 8).await;
    // Twenty connections in a second, each of which serves fifty statements in a second.
    narrow.each_login_takes(Duration::from_millis(50));
    let rates = [100, 100, 1000, 1000, 100, 100, 100, 100, 100, 100];
    let seconds = load::run(&postgres, "SELECT pg_sleep(0.02)", &rates, DEADLINE).await;
    println!("{:?}", narrow.logins());
    // Whoever was not served was not begun either; what a busy machine held up is no matter.
    let unknown: u64 = seconds
        .iter()
        .flat_map(|second| &second.failed)
        .filter(|(code, _)| **code == "postgres.deadline_exceeded")
        .map(|(_, count)| count)
        .sum();
    assert!(unknown < 200, "{unknown} ended in time-outs");
    for (number, second) in seconds.iter().enumerate().skip(7) {
        assert!(
            second.done * 10 >= second.arrived * 8,
            "second {number} after the storm: {second:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_too_late_is_not_begun_and_costs_no_connection() {
    let cluster = PostgresCluster::single().await.unwrap();
    let proxy = Proxy::start(server(&cluster)).unwrap();
    let postgres = connect(&cluster, proxy.address(), |settings| settings.max = 1).await;
    proxy.latency(Duration::from_millis(30));
    let sleep = |seconds: f64| {
        let postgres = postgres.clone();
        tokio::spawn(async move {
            sqlx::query("SELECT pg_sleep($1)")
                .bind(seconds)
                .execute(&postgres)
                .await
        })
    };
    // The probe learns how far the server is.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    sleep(0.0).await.unwrap().unwrap();
    let before = session(&postgres).await;

    let holder = sleep(1.0);
    tokio::time::sleep(Duration::from_millis(100)).await;
    // It is free after some 960 ms. Some of these have run out of time by then, and some have time enough.
    let waiting: Vec<_> = (85..130)
        .map(|hundredths| {
            let view = postgres.within(Duration::from_millis(10) * hundredths);
            tokio::spawn(async move { sqlx::query("SELECT 1").execute(&view).await })
        })
        .collect();
    holder.await.unwrap().unwrap();
    let mut late = 0;
    for waiting in waiting {
        if let Err(error) = waiting.await.unwrap() {
            assert_eq!(classify(&error).outcome(), Outcome::NotRun, "{error}");
            assert!(classify(&error).retryable(), "{error}");
            late += usize::from(matches!(detail(&error), Some(Detail::TooLate { .. })));
        }
    }
    println!("{late} came too late");
    assert!(late > 0);
    assert_eq!(session(&postgres).await, before, "the connection serves on");
}
