//! LISTEN through failovers, frozen and silent servers: every loss is told, and nothing else is missed.

#![cfg(feature = "postgres")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test may end where it stands, its helpers too"
)]

mod sockets;

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::StreamExt;
use hafnium_core::secret::Secret;
use hafnium_core::{Component, Context, Deadline, Stopped};
use hafnium_data::postgres::{Event, Listener, Lost, Postgres, PostgresSettings};
use hafnium_testkit::Proxy;
use hafnium_testkit::postgres::PostgresCluster;
use sockets::sockets_to;
use tokio::time::Instant;

const LONG: Duration = Duration::from_secs(30);

async fn connect(url: String) -> Postgres {
    let mut settings = PostgresSettings::new(Secret::new(url));
    settings.timeout = hafnium_core::config::Duration::from_secs(20);
    Postgres::connect(settings, &Context::standalone()).await.unwrap()
}

async fn notify(postgres: &Postgres, text: &str) {
    sqlx::query("SELECT pg_notify('news', $1)")
        .bind(text)
        .execute(&postgres.idempotent())
        .await
        .unwrap();
}

async fn next(listener: &mut Listener) -> Event {
    tokio::time::timeout(LONG, listener.recv())
        .await
        .expect("an event comes")
        .expect("the client runs")
}

async fn heard(listener: &mut Listener) -> String {
    match next(listener).await {
        Event::Notification(news) => news.payload().to_owned(),
        other => panic!("no notification: {other:?}"),
    }
}

async fn lost(listener: &mut Listener) -> Lost {
    match next(listener).await {
        Event::Lost(lost) => {
            println!("deaf for {:?}: {}; now {}", lost.deaf, lost.reason, lost.node);
            lost
        }
        other => panic!("no loss: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn notifications_come_in_order_and_none_is_lost_by_a_reader_that_gives_up() {
    let cluster = PostgresCluster::single().await.unwrap();
    let postgres = connect(cluster.create_database("ledger").await.unwrap()).await;
    let mut listener = postgres.listen(["news", "Other News"]).await.unwrap();
    let sender = postgres.clone();
    let sending = tokio::spawn(async move {
        for number in 0..200 {
            notify(&sender, &number.to_string()).await;
        }
    });
    let mut expected = 0;
    while expected < 200 {
        // Given up at a random moment, again and again.
        let patience = Duration::from_micros(fastrand::u64(0..3000));
        if let Ok(event) = tokio::time::timeout(patience, listener.recv()).await {
            match event.unwrap() {
                Event::Notification(news) => assert_eq!(news.payload(), expected.to_string()),
                other => panic!("{other:?}"),
            }
            expected += 1;
        }
    }
    sending.await.unwrap();
    sqlx::query(r#"NOTIFY "Other News", 'quoted'"#)
        .execute(&postgres)
        .await
        .unwrap();
    assert_eq!(heard(&mut listener).await, "quoted");

    // It ends with the client, also as a stream.
    let stopped = postgres.stop(Deadline::after(Duration::from_secs(5))).await;
    assert_eq!(stopped, Stopped::Clean);
    assert!(listener.next().await.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_tells_the_loss_and_follows_the_primary_after_kill_9() {
    let cluster = PostgresCluster::builder().standbys(1).start().await.unwrap();
    let postgres = connect(cluster.create_database("ledger").await.unwrap()).await;
    let mut listener = postgres.listen(["news"]).await.unwrap();
    notify(&postgres, "before").await;
    assert_eq!(heard(&mut listener).await, "before");

    println!("{}", cluster.kill9(0).await.unwrap());
    println!("{}", cluster.promote(1).await.unwrap());
    let told = lost(&mut listener).await;
    assert!(told.node.ends_with(&cluster.port(1).to_string()), "{told:?}");
    // It listens already when it tells the loss.
    notify(&postgres, "after").await;
    assert_eq!(heard(&mut listener).await, "after");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_leaves_a_frozen_primary_with_its_socket() {
    let cluster = PostgresCluster::builder().standbys(1).start().await.unwrap();
    let postgres = connect(cluster.create_database("ledger").await.unwrap()).await;
    let mut listener = postgres.listen(["news"]).await.unwrap();
    notify(&postgres, "before").await;
    assert_eq!(heard(&mut listener).await, "before");

    println!("{}", cluster.freeze(0).unwrap());
    println!("{}", cluster.promote(1).await.unwrap());
    lost(&mut listener).await;
    notify(&postgres, "after").await;
    assert_eq!(heard(&mut listener).await, "after");

    // Only the monitor goes on asking the frozen node, one login at a time: nothing waits for it on an old connection.
    let end = Instant::now() + Duration::from_secs(10);
    while sockets_to(cluster.port(0)) > 1 {
        assert!(Instant::now() < end, "{} sockets", sockets_to(cluster.port(0)));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!("{}", cluster.thaw(0).await.unwrap());
    // What the deposed node says is not heard.
    let old = cluster.connect(0, "ledger").await.unwrap();
    old.batch_execute("NOTIFY news, 'deposed'").await.unwrap();
    notify(&postgres, "at last").await;
    assert_eq!(heard(&mut listener).await, "at last");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_whose_own_connection_ends_or_falls_silent_tells_so() {
    let cluster = PostgresCluster::single().await.unwrap();
    cluster.create_database("ledger").await.unwrap();
    let direct = connect(cluster.url("ledger")).await;
    let target = format!("127.0.0.1:{}", cluster.port(0));
    let proxy = Proxy::start(target.parse().unwrap()).unwrap();
    let through = cluster
        .url("ledger")
        .replace(&target, &proxy.address().to_string());
    let postgres = connect(through).await;
    let mut listener = postgres.listen(["news"]).await.unwrap();

    let session = cluster.connect(0, "ledger").await.unwrap();
    let ended = session
        .query_one(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'",
            &[],
        )
        .await
        .unwrap();
    assert_eq!(ended.get::<_, i64>(0), 1);
    let told = lost(&mut listener).await;
    assert!(told.deaf < Duration::from_secs(5), "{told:?}");
    notify(&direct, "again").await;
    assert_eq!(heard(&mut listener).await, "again");

    // Silence on the line, without a word to anyone: only the sign of life finds it out.
    proxy.black_hole();
    tokio::time::sleep(Duration::from_secs(9)).await;
    notify(&direct, "missed").await;
    proxy.heal();
    println!("{:?}", proxy.counters());
    let told = lost(&mut listener).await;
    assert!(told.reason.contains("sign of life"), "{told:?}");
    notify(&direct, "heard").await;
    assert_eq!(heard(&mut listener).await, "heard");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_tries_no_password_that_was_refused() {
    let cluster = PostgresCluster::single().await.unwrap();
    let postgres = connect(cluster.create_database("ledger").await.unwrap()).await;
    let mut listener = postgres.listen(["news"]).await.unwrap();
    let former = cluster.password();
    println!("{}", cluster.set_password("another").await.unwrap());
    // Each with its time and process; the tail is short, so that it is read often.
    let refusals = || -> BTreeSet<String> {
        let log = cluster.log_tail(0);
        let refused = log
            .lines()
            .filter(|line| line.contains("password authentication failed"));
        refused.map(str::to_owned).collect()
    };
    let session = cluster.connect(0, "ledger").await.unwrap();
    let before = refusals();
    let ended = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'";
    let ended = session.query_one(ended, &[]).await.unwrap();
    assert_eq!(ended.get::<_, i64>(0), 1);
    // One of the listener, and those of the one task that looks for credentials: at once, after 1 s, 2 s, 4 s, 8 s.
    let (mut refused, end) = (BTreeSet::new(), Instant::now() + Duration::from_secs(12));
    while Instant::now() < end {
        refused.extend(refusals());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let refused = refused.difference(&before).count();
    println!("{refused} logins were refused");
    assert!((1..10).contains(&refused), "{}", cluster.log_tail(0));

    let same = format!("ALTER ROLE \"{}\" PASSWORD '{former}'", cluster.user());
    session.batch_execute(&same).await.unwrap();
    lost(&mut listener).await;
    notify(&postgres, "again").await;
    assert_eq!(heard(&mut listener).await, "again");
}
