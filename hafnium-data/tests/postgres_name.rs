//! The Postgres handle on hosts that are names: resolved by ourselves, followed when they move. Real servers behind
//! proxies at addresses of their own, and a real name server.

#![cfg(feature = "postgres")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test may end where it stands, its helpers too"
)]
#![allow(clippy::disallowed_methods, reason = "real servers take real time")]

mod certificates;
mod faults;
mod names;
mod overload;

use std::time::Duration;

use faults::figures::{self, Case, Runs};
use faults::mix::Pace;
use faults::trio::POOL;
use hafnium_core::Classify;
use hafnium_core::secret::Secret;
use hafnium_data::postgres::{Detail, Event, Postgres, PostgresSettings, classify, detail};
use hafnium_testkit::referee::{Row, Samples};
use names::{NAME, NEW, OLD, Rig, address, server_of};
use overload::narrow::Narrow;
use sqlx::postgres::PgPoolOptions;
use tokio::time::Instant;

const TTL: Duration = Duration::from_secs(2);
const LONG: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_name_that_moves_is_followed_when_its_time_to_live_is_over_and_the_old_address_is_cut() {
    let _alone = figures::alone().await;
    let rig = Rig::single("sslmode=disable", TTL).await;
    let new = rig.proxy(NEW, 0);
    let postgres = rig.connect().await;
    let slow = tokio::spawn({
        let postgres = postgres.clone();
        async move {
            sqlx::raw_sql("SELECT pg_sleep(20)")
                .execute(&postgres.within(Duration::from_secs(20)))
                .await
        }
    });
    // Both addresses answer all the time: only the name says which one is meant.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let asked = rig.names.answers(NAME);
    let moved = std::time::Instant::now();
    rig.names.set(NAME, [address(NEW)], TTL);
    let believed = asked.last().unwrap().at + TTL;
    while std::time::Instant::now() + Duration::from_millis(100) < believed {
        sqlx::query("SELECT 1").execute(&postgres).await.unwrap();
        assert_eq!(new.counters().accepted, 0, "the old answer is still good");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let error = tokio::time::timeout(TTL * 3, slow)
        .await
        .unwrap()
        .unwrap()
        .unwrap_err();
    println!("cut {:?} after the name moved: {error}", moved.elapsed());
    assert!(!classify(&error).retryable(), "a statement was under way");
    assert!(
        matches!(detail(&error), Some(Detail::Cut { reason, .. }) if reason.contains("name has moved")),
        "{error}"
    );
    assert!(new.counters().accepted > 0);

    // What was on its way through the proxy has arrived.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let before = rig.old.counters();
    for _ in 0..20 {
        sqlx::query("SELECT 1").execute(&postgres).await.unwrap();
    }
    let after = rig.old.counters();
    assert_eq!(
        (after.accepted, after.to_server),
        (before.accepted, before.to_server),
        "nothing goes to the old address any more"
    );
    assert_eq!(postgres.nodes()[0].role, "primary");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_write_at_a_new_address_needs_no_login_but_that_which_found_it() {
    let _alone = figures::alone().await;
    let rig = Rig::single("sslmode=disable", Duration::from_secs(1)).await;
    let new = Narrow::at(rig.at(NEW), rig.server(0));
    let postgres = rig.connect().await;
    server_of(&postgres).await;
    // Less than the probe gives a login, and long against a statement.
    new.each_login_takes(Duration::from_millis(700));
    rig.names.set(NAME, [address(NEW)], Duration::from_secs(60));
    rig.old.black_hole();
    let view = postgres.within(Duration::from_secs(15)).idempotent();
    sqlx::query("INSERT INTO t VALUES (1)")
        .execute(&view)
        .await
        .unwrap();
    assert_eq!(new.logins().passed, 1, "{:?}", new.logins());
}

#[tokio::test]
async fn a_calm_name_is_asked_for_once_in_its_time_to_live() {
    let _alone = figures::alone().await;
    let rig = Rig::single("sslmode=disable", Duration::from_secs(60)).await;
    let postgres = rig.connect().await;
    let end = Instant::now() + Duration::from_secs(2);
    while Instant::now() < end {
        sqlx::query("SELECT 1").execute(&postgres).await.unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(rig.names.asked(NAME), 2, "one question for each kind of address");
}

#[tokio::test]
async fn a_name_server_that_falls_silent_disturbs_no_one() {
    let _alone = figures::alone().await;
    let rig = Rig::single("sslmode=disable", Duration::from_secs(1)).await;
    let postgres = rig.connect().await;
    rig.names.fall_silent();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let asked = rig.names.asked(NAME);
    rig.old.reset_all();
    // New logins go to the last known address.
    let end = Instant::now() + Duration::from_secs(4);
    while Instant::now() < end {
        let begun = Instant::now();
        sqlx::query("SELECT 1")
            .execute(&postgres.read_only())
            .await
            .unwrap();
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(rig.names.asked(NAME) > asked, "it was asked in vain");
}

#[tokio::test]
async fn every_address_of_a_name_is_tried_until_one_is_the_primary_and_the_next_primary_is_found_among_them()
{
    let rig = Rig::trio("sslmode=disable", Duration::from_secs(60)).await;
    let proxies = [rig.proxy("127.0.0.3", 1), rig.proxy("127.0.0.4", 2)];
    // Nobody listens at the first.
    let all = ["127.0.0.9", "127.0.0.4", "127.0.0.3", OLD].map(address);
    rig.names.set(NAME, all, Duration::from_secs(60));
    let postgres = rig.connect().await;
    assert_eq!(postgres.nodes().len(), 1, "the name is the node");
    assert_eq!(server_of(&postgres).await, rig.cluster.port(0));

    println!("{}", rig.cluster.kill9(0).await.unwrap());
    println!("{}", rig.cluster.promote_best().await.unwrap());
    let begun = Instant::now();
    let view = postgres.within(Duration::from_secs(10)).idempotent();
    let port: i32 = sqlx::query_scalar("INSERT INTO t VALUES (1) RETURNING inet_server_port()")
        .fetch_one(&view)
        .await
        .unwrap();
    println!("first write {:?} after the promotion", begun.elapsed());
    assert_eq!(port, i32::from(rig.cluster.port(rig.cluster.primary())));
    assert!(proxies.iter().any(|proxy| proxy.counters().to_server > 0));
}

#[tokio::test]
async fn several_hosts_may_be_names_and_the_writer_follows_the_primary_from_one_to_another() {
    let _alone = figures::alone().await;
    let rig = Rig::trio("sslmode=disable", Duration::from_secs(60)).await;
    let hosts: Vec<String> = (0..3)
        .map(|node| {
            let name = format!("n{node}.example");
            let here = [address("127.0.0.1")];
            rig.names.set(&name, here, Duration::from_secs(60));
            format!("{name}:{}", rig.cluster.port(node))
        })
        .collect();
    let (user, password) = (rig.cluster.user(), rig.cluster.password());
    let url = format!(
        "postgres://{user}:{password}@{}/ledger?sslmode=disable",
        hosts.join(",")
    );
    let mut settings = PostgresSettings::new(Secret::new(url));
    settings.resolver = vec![rig.names.address().to_string()];
    let postgres = Postgres::connect(settings, &names::dev()).await.unwrap();
    assert_eq!(server_of(&postgres).await, rig.cluster.port(0));
    rig.cluster.kill9(0).await.unwrap();
    rig.cluster.promote_best().await.unwrap();
    let primary = rig.cluster.port(rig.cluster.primary());
    assert_eq!(server_of(&postgres).await, primary);
    assert_eq!(postgres.nodes()[0].node, hosts[0]);
}

#[tokio::test]
async fn a_name_that_nobody_knows_is_named_by_the_error() {
    let _alone = figures::alone().await;
    let rig = Rig::single("sslmode=disable", TTL).await;
    rig.names.remove(NAME);
    let error = rig
        .try_connect(Duration::from_secs(2))
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains(&format!("no address for {NAME}")), "{error}");
    let mut settings = rig.settings();
    settings.resolver = vec!["dns.example".into()];
    let error = Postgres::new("x", settings, &names::dev())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("resolver: \"dns.example\"") && error.contains("10.0.0.2:53"),
        "{error}"
    );
}

/// The system knows nothing of the name.
async fn others_follow_the_name_too(rig: Rig) {
    let postgres = rig.connect().await;
    let mut listener = postgres.listen(["news"]).await.unwrap();
    let pool = postgres
        .unguarded_pool(PgPoolOptions::new().max_connections(3).acquire_timeout(LONG))
        .await
        .unwrap();
    let served = async || -> i32 {
        let one = sqlx::query_scalar("SELECT 1").fetch_one(&pool);
        tokio::time::timeout(LONG, one).await.unwrap().unwrap()
    };
    assert_eq!(served().await, 1);
    let notify = async |text: &str| {
        sqlx::query("SELECT pg_notify('news', $1)")
            .bind(text)
            .execute(&postgres.idempotent())
            .await
            .unwrap();
    };
    notify("before").await;
    let event = tokio::time::timeout(LONG, listener.recv()).await.unwrap();
    assert!(matches!(event, Some(Event::Notification(news)) if news.payload() == "before"));

    let new = rig.proxy(NEW, 0);
    rig.names.set(NAME, [address(NEW)], TTL);
    let event = tokio::time::timeout(LONG, listener.recv()).await.unwrap();
    println!("{event:?}");
    assert!(matches!(event, Some(Event::Lost(_))), "{event:?}");
    notify("after").await;
    let event = tokio::time::timeout(LONG, listener.recv()).await.unwrap();
    assert!(matches!(event, Some(Event::Notification(news)) if news.payload() == "after"));
    // What the pool has open goes on; what it opens then goes where the name leads.
    let before = (new.counters().accepted, rig.old.counters().accepted);
    let (one, two) = (pool.acquire().await.unwrap(), pool.acquire().await.unwrap());
    assert!(new.counters().accepted > before.0);
    assert_eq!(rig.old.counters().accepted, before.1);
    drop((one, two));
    assert_eq!(served().await, 1);

    // A pool that is dropped leaves no socket behind.
    let sockets = || std::fs::read_to_string("/proc/net/unix").unwrap();
    let listens = || sockets().lines().any(|line| line.contains(&*pool_socket(&pool)));
    assert!(listens(), "{}", sockets());
    let socket = pool_socket(&pool);
    pool.close().await;
    drop(pool);
    let end = Instant::now() + LONG;
    while sockets().lines().any(|line| line.contains(&*socket)) {
        assert!(Instant::now() < end, "{}", sockets());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// As `/proc/net/unix` shows an abstract socket.
fn pool_socket(pool: &sqlx::PgPool) -> String {
    let options = pool.connect_options();
    let directory = options.get_socket().unwrap().display().to_string();
    directory.replace('\0', "@")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listeners_and_unguarded_pools_ask_the_same_name_servers() {
    let _alone = figures::alone().await;
    others_follow_the_name_too(Rig::single("sslmode=disable", TTL).await).await;
}

#[cfg(feature = "tls")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listeners_and_unguarded_pools_check_the_name_of_the_server() {
    let _alone = figures::alone().await;
    let authority = certificates::Authority::new("others");
    let parameters = format!("sslmode=verify-full&sslrootcert={}", authority.file());
    let rig = Rig::single(&parameters, TTL).await;
    let signed = authority.sign(&[NAME]);
    rig.cluster
        .offer_tls(0, &signed.certificate, &signed.key)
        .await
        .unwrap();
    others_follow_the_name_too(rig).await;
}

/// F12 in one mode of TLS: one run in `cargo test`, many where figures are wanted.
async fn moving_name(mode: &str, cx: &hafnium_core::Context, rig: impl AsyncFn() -> Rig) {
    let runs = Runs::wanted(20);
    let _alone = figures::alone().await;
    let mut case = Case::new(format!("F12 {mode}"), POOL.into());
    let mut firsts = Samples::new();
    for seed in runs.seeds() {
        let pace = if runs.measured {
            Pace::full(seed)
        } else {
            // For correctness, on a machine that may do much else.
            Pace {
                deadline: Duration::from_secs(15),
                ..Pace::light(seed)
            }
        };
        let (outcome, first) = names::moving::run(rig().await, cx, pace).await;
        println!("{}, seed {seed}: {outcome:?}", case.name);
        firsts.add_ms(first.expect("writes go on"));
        case.outcomes.push(outcome);
    }
    let mut rows = case.rows(runs.count);
    // A busy machine is no defect: only what is no time must be as it should.
    let missed: Vec<Row> = rows.iter().filter(|row| !row.pass).cloned().collect();
    let ms = |name: &str, value: Option<f64>| Row::new(name, &case.name, value, "ms");
    rows.push(ms("first_write_after_name_p50", firsts.median()).at_most(60.0));
    rows.push(ms("first_write_after_name_p95", firsts.percentile(95.0)).at_most(200.0));
    rows.push(ms("first_write_after_name_worst", firsts.worst()));
    figures::write(&case.name, runs, rows);
    assert!(missed.is_empty(), "{}: {missed:?}", case.name);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f12_a_name_that_moves_after_its_node_fell_silent_loses_nothing() {
    moving_name("sslmode=disable", &names::dev(), async || {
        Rig::single("sslmode=disable", TTL).await
    })
    .await;
}

#[cfg(feature = "tls")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f12_the_same_with_a_server_that_must_prove_its_name() {
    let authority = certificates::Authority::new("moving");
    let parameters = format!("sslmode=verify-full&sslrootcert={}", authority.file());
    moving_name("sslmode=verify-full", &names::dev(), async || {
        let rig = Rig::single(&parameters, TTL).await;
        let signed = authority.sign(&[NAME]);
        rig.cluster
            .offer_tls(0, &signed.certificate, &signed.key)
            .await
            .unwrap();
        rig
    })
    .await;
}
