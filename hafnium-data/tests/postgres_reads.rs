//! Reads from replicas: which one is chosen, and that a read under a token is never stale. A real trio per test.

#![cfg(feature = "postgres")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may end where it stands, its helpers too"
)]
#![allow(clippy::disallowed_methods, reason = "real servers take real time")]

#[path = "../../hafnium-core/tests/recorded/mod.rs"]
mod recorded;
mod told;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use hafnium_core::config::{Live, Loader, Sources};
use hafnium_core::health::Registry;
use hafnium_core::lifecycle::{State, Watch};
use hafnium_core::propagation::Propagation;
use hafnium_core::secret::Secret;
use hafnium_core::tasks::Tasks;
use hafnium_core::{Classify, Context, Outcome, ServiceInfo};
use hafnium_data::postgres::{
    Detail, Postgres, PostgresSettings, ReaderFallback, Token, View, classify, detail,
};
use hafnium_testkit::postgres::{PostgresCluster, Synchronous};
use recorded::Recorded;
use tokio::time::Instant;

const LONG: Duration = Duration::from_secs(20);

struct Trio {
    cluster: PostgresCluster,
    postgres: Postgres,
}

/// Asynchronous, so that replicas may lag, with a table `t`. A read under a token waits long unless the test says less.
async fn trio(change: impl FnOnce(&mut PostgresSettings)) -> Trio {
    trio_of(change, &Context::standalone()).await
}

async fn trio_of(change: impl FnOnce(&mut PostgresSettings), cx: &Context) -> Trio {
    let cluster = PostgresCluster::builder()
        .standbys(2)
        .synchronous(Synchronous::Off)
        .start()
        .await
        .unwrap();
    let url = cluster.create_database("ledger").await.unwrap();
    let mut settings = PostgresSettings::new(Secret::new(url));
    settings.timeout = hafnium_core::config::Duration::from_secs(20);
    settings.rw_wait = hafnium_core::config::Duration::from_secs(10);
    change(&mut settings);
    let postgres = Postgres::connect(settings, cx).await.unwrap();
    sqlx::query("CREATE TABLE t (id int PRIMARY KEY)")
        .execute(&postgres)
        .await
        .unwrap();
    cluster.await_replay().await.unwrap();
    let trio = Trio { cluster, postgres };
    trio.reads_from(&[1, 2]).await;
    trio
}

impl Trio {
    fn port(&self, node: usize) -> i32 {
        i32::from(self.cluster.port(node))
    }

    /// Waits until reads without a token go to all of `nodes`, and to no other.
    async fn reads_from(&self, nodes: &[usize]) {
        let mut wanted: Vec<i32> = nodes.iter().map(|node| self.port(*node)).collect();
        wanted.sort_unstable();
        let end = Instant::now() + LONG;
        loop {
            let reader = self.postgres.reader();
            let sleep = Duration::from_millis(30);
            let found = futures_util::future::join_all((0..8).map(|_| port_after(&reader, sleep))).await;
            let mut found: Vec<i32> = found.into_iter().map(Result::unwrap).collect();
            found.sort_unstable();
            found.dedup();
            if found == wanted {
                return;
            }
            assert!(
                Instant::now() < end,
                "{found:?} are read from, not {wanted:?}: {:?}",
                self.postgres.nodes()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Trio {
    /// A position of a server's log.
    async fn position(&self, node: usize, of: &str) -> i64 {
        let session = self.cluster.connect(node, "ledger").await.unwrap();
        let position = format!("SELECT ({of} - '0/0')::bigint");
        session.query_one(&position, &[]).await.unwrap().get(0)
    }

    /// Much log.
    async fn churn(&self, node: usize) {
        let session = self.cluster.connect(node, "ledger").await.unwrap();
        session
            .batch_execute("CREATE TABLE IF NOT EXISTS churn (x int); INSERT INTO churn SELECT generate_series(1, 20000)")
            .await
            .unwrap();
    }

    /// The second node takes the place of the first, which freezes and thaws, and which the third goes on following.
    /// Returns what was written to the second. Then the nodes of `churned` write much log, one after the other, the
    /// first as the last: its standby is past all that was returned.
    async fn deposed_and_followed(&self, churned: &[usize]) -> Vec<(i32, Token)> {
        let cluster = &self.cluster;
        println!("{}", cluster.freeze(0).unwrap());
        println!("{}", cluster.promote(1).await.unwrap());
        let mut tokens = Vec::new();
        for id in 0..10 {
            tokens.push((id, write(&self.postgres, id).await));
        }
        println!("{}", cluster.thaw(0).await.unwrap());
        for node in churned {
            self.churn(*node).await;
        }
        let last = tokens.last().unwrap().1.to_string();
        let last = i64::from_str_radix(last.rsplit('-').next().unwrap(), 16).unwrap();
        let end = Instant::now() + LONG;
        while self.position(2, "pg_last_wal_replay_lsn()").await <= last {
            assert!(
                Instant::now() < end,
                "the standby does not follow the deposed primary"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        if churned.len() > 1 {
            let replayed = self.position(2, "pg_last_wal_replay_lsn()").await;
            assert!(replayed < self.position(1, "pg_current_wal_lsn()").await);
        }
        tokens
    }
}

async fn port_after(view: &View, sleep: Duration) -> Result<i32, sqlx::Error> {
    sqlx::query_scalar("SELECT inet_server_port() FROM pg_sleep($1)")
        .bind(sleep.as_secs_f64())
        .fetch_one(view)
        .await
}

/// Where `view` read, and whether it saw the row.
async fn read(view: &View, id: i32) -> (i32, bool) {
    sqlx::query_as("SELECT inet_server_port(), EXISTS (SELECT FROM t WHERE id = $1)")
        .bind(id)
        .fetch_one(view)
        .await
        .unwrap()
}

async fn write(postgres: &Postgres, id: i32) -> Token {
    let token = postgres
        .transaction(async |mut tx| -> Result<_, sqlx::Error> {
            let token = tx.token();
            assert_eq!(token.get(), None, "nothing is committed yet");
            sqlx::query("INSERT INTO t VALUES ($1)")
                .bind(id)
                .execute(&mut *tx)
                .await?;
            Ok(token)
        })
        .await
        .unwrap();
    token.get().unwrap()
}

/// The token with another number in one place.
fn forged(token: Token, part: usize, number: u64) -> Token {
    let text = token.to_string();
    let mut parts: Vec<_> = text.split('-').map(str::to_owned).collect();
    parts[part] = format!("{number:x}");
    parts.join("-").parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_comes_with_the_commit_and_reads_under_it_see_the_write_on_a_replica() {
    let trio = trio(|_| {}).await;
    let postgres = &trio.postgres;
    let mut served: BTreeMap<i32, u32> = BTreeMap::new();
    for id in 0..300 {
        let token = write(postgres, id).await;
        let token: Token = token.to_string().parse().unwrap();
        let (port, seen) = read(&postgres.reader_after(token), id).await;
        assert!(seen, "stale: {id} was read from {port}");
        *served.entry(port).or_default() += 1;
    }
    println!("reads served by port: {served:?}");
    let primary = served.get(&trio.port(0)).copied().unwrap_or_default();
    assert!(
        primary < 30,
        "replicas serve these reads: {served:?}, primary {}",
        trio.port(0)
    );

    let undone = std::sync::Mutex::new(None);
    let error: Result<(), sqlx::Error> = postgres
        .transaction(async |tx| {
            *undone.lock().unwrap() = Some(tx.token());
            Err(sqlx::Error::RowNotFound)
        })
        .await;
    assert!(error.is_err());
    assert_eq!(
        undone.into_inner().unwrap().unwrap().get(),
        None,
        "of what was undone"
    );
    let reader = postgres.reader();
    let on_replica = reader.transaction(async |tx| -> Result<_, sqlx::Error> { Ok(tx.token()) });
    assert_eq!(
        on_replica.await.unwrap().get(),
        None,
        "a replica gives out no token"
    );
    // Views compose: a transaction of a view under a token, within its own limit.
    let token = write(postgres, 1000).await;
    let view = postgres.within(LONG).idempotent().reader_after(token);
    let seen: i64 = view
        .transaction(async |mut tx| -> Result<_, sqlx::Error> {
            sqlx::query_scalar("SELECT count(*) FROM t WHERE id = 1000")
                .fetch_one(&mut *tx)
                .await
        })
        .await
        .unwrap();
    assert_eq!(seen, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_replay_is_paused_reads_under_a_token_go_where_the_write_is() {
    let trio = trio(|settings| settings.rw_wait = hafnium_core::config::Duration::from_millis(60)).await;
    let (cluster, postgres) = (&trio.cluster, &trio.postgres);
    let before = write(postgres, 0).await;
    cluster.await_replay().await.unwrap();
    println!("{}", cluster.pause_replay(1).await.unwrap());
    for id in 1..=50 {
        let token = write(postgres, id).await;
        let (port, seen) = read(&postgres.reader_after(token), id).await;
        assert!(seen, "stale: {id} was read from {port}");
        assert_ne!(port, trio.port(1), "{id} is not there");
    }
    println!("{}", cluster.pause_replay(2).await.unwrap());
    for id in 51..=70 {
        let token = write(postgres, id).await;
        let begun = Instant::now();
        let (port, seen) = read(&postgres.reader_after(token), id).await;
        let took = begun.elapsed();
        assert!(seen, "stale: {id} was read from {port}");
        assert_eq!(port, trio.port(0), "nobody else has {id}");
        assert!(
            took >= Duration::from_millis(50),
            "no replica was waited for: {took:?}"
        );
        // The proof that replicas are stale: without the token the write is not seen.
        let (port, seen) = read(&postgres.reader(), id).await;
        assert!(!seen && port != trio.port(0), "read from {port}");
    }
    // What they had before the pause they still serve.
    let (port, seen) = read(&postgres.reader_after(before), 0).await;
    assert!(seen && port != trio.port(0), "read from {port}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_catches_up_within_the_wait_serves_the_read() {
    let trio = trio(|_| {}).await;
    let (cluster, postgres) = (&trio.cluster, &trio.postgres);
    for node in [1, 2] {
        println!("{}", cluster.pause_replay(node).await.unwrap());
    }
    let token = write(postgres, 1).await;
    let view = postgres.reader_after(token);
    let begun = Instant::now();
    let ((port, seen), ()) = tokio::join!(read(&view, 1), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        println!("{}", cluster.resume_replay(2).await.unwrap());
    });
    assert!(seen);
    assert_eq!(port, trio.port(2));
    assert!(begun.elapsed() >= Duration::from_millis(300));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_of_another_cluster_is_refused_and_one_of_a_later_timeline_waits_for_its_primary() {
    let trio = trio(|_| {}).await;
    let (cluster, postgres) = (&trio.cluster, &trio.postgres);
    let token = write(postgres, 1).await;
    let foreign = postgres.reader_after(forged(token, 0, 7));
    let error = sqlx::query("SELECT 1").execute(&foreign).await.unwrap_err();
    assert!(
        matches!(detail(&error), Some(Detail::ForeignToken { token: 7, .. })),
        "{error}"
    );
    assert_eq!(classify(&error).outcome(), Outcome::NotRun);

    // As of a service that has seen a failover which this one has not: the primary we know is not to be believed.
    let later = forged(token, 1, 2);
    let view = postgres.within(Duration::from_millis(300)).reader_after(later);
    let error = sqlx::query("SELECT 1").execute(&view).await.unwrap_err();
    assert!(matches!(detail(&error), Some(Detail::NoNode { .. })), "{error}");
    println!("{}", cluster.kill9(0).await.unwrap());
    println!("{}", cluster.promote_best().await.unwrap());
    let (port, seen) = read(&postgres.reader_after(later), 1).await;
    assert!(seen);
    assert_ne!(port, trio.port(0));
}

/// The other standby goes on following the deposed primary. Its position is past the token's, on another history.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_of_a_deposed_primary_serves_no_token_of_the_new_one() {
    let trio = trio(|settings| {
        settings.rw_wait = hafnium_core::config::Duration::from_millis(50);
        settings.max_lag = hafnium_core::config::Duration::from_secs(60);
    })
    .await;
    let postgres = &trio.postgres;
    // Nobody tells the timeline of the standby, and it was never seen ahead of the new primary.
    let tokens = trio.deposed_and_followed(&[1, 1, 1, 0]).await;
    trio.reads_from(&[2]).await;
    for (id, token) in tokens {
        let (port, seen) = read(&postgres.reader(), id).await;
        assert!(
            !seen && port == trio.port(2),
            "the proof that it is stale: read {id} from {port}"
        );
        let (port, seen) = read(&postgres.reader_after(token), id).await;
        assert!(seen, "stale: {id} was read from {port}");
        assert_eq!(port, trio.port(1));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_that_shows_that_it_follows_a_deposed_primary_is_never_read_from() {
    let trio = trio(|settings| settings.max_lag = hafnium_core::config::Duration::from_secs(60)).await;
    let (cluster, postgres) = (&trio.cluster, &trio.postgres);
    let session = cluster.connect(0, "ledger").await.unwrap();
    let grant = format!("GRANT pg_read_all_stats TO {}", cluster.user());
    session.batch_execute(&grant).await.unwrap();
    cluster.await_replay().await.unwrap();
    // Asked once more with the rights.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let ended = AtomicBool::new(false);
    let reading = async {
        let mut served = 0;
        while !ended.load(Relaxed) {
            let promoted = postgres.nodes()[1].role == "primary";
            let port = port_after(&postgres.reader(), Duration::ZERO).await.unwrap();
            assert!(!promoted || port != trio.port(2), "{:?}", postgres.nodes());
            served += u32::from(promoted);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        served
    };
    let failing = async {
        let tokens = trio.deposed_and_followed(&[1, 1, 1, 0]).await;
        // To a look at positions alone it is a replica that is a little behind.
        tokio::time::sleep(Duration::from_secs(2)).await;
        ended.store(true, Relaxed);
        tokens
    };
    let (served, tokens) = tokio::join!(reading, failing);
    println!("{served} reads since the promotion");
    assert!(served > 100, "{served}");
    assert_eq!(postgres.nodes()[2].role, "diverged");
    for (id, _) in tokens {
        let (port, seen) = read(&postgres.reader(), id).await;
        assert!(seen && port == trio.port(1), "read {id} from {port}");
    }
    // Made again from the new primary it is a replica again.
    println!("{}", cluster.rejoin_as_standby(2).await.unwrap());
    trio.reads_from(&[2]).await;
    assert_eq!(postgres.nodes()[2].role, "standby");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_that_is_ahead_of_the_primary_is_not_read_from_any_more_also_without_rights() {
    let trio = trio(|settings| settings.max_lag = hafnium_core::config::Duration::from_secs(60)).await;
    let postgres = &trio.postgres;
    trio.deposed_and_followed(&[0]).await;
    let end = Instant::now() + LONG;
    while postgres.nodes()[2].role != "diverged" {
        assert!(Instant::now() < end, "{:?}", postgres.nodes());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // Now it seems to be a little behind.
    trio.churn(1).await;
    trio.churn(1).await;
    let replayed = trio.position(2, "pg_last_wal_replay_lsn()").await;
    assert!(replayed < trio.position(1, "pg_current_wal_lsn()").await);
    for _ in 0..100 {
        let port = port_after(&postgres.reader(), Duration::ZERO).await.unwrap();
        assert_eq!(port, trio.port(1), "{:?}", postgres.nodes());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(postgres.nodes()[2].role, "diverged");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_failover_replicas_serve_tokens_once_they_prove_their_timeline() {
    let trio = trio(|settings| settings.rw_wait = hafnium_core::config::Duration::from_millis(200)).await;
    let (cluster, postgres) = (&trio.cluster, &trio.postgres);
    let old = write(postgres, 0).await;
    cluster.await_replay().await.unwrap();
    println!("{}", cluster.kill9(0).await.unwrap());
    println!("{}", cluster.promote_best().await.unwrap());
    let (primary, replica) = match cluster.primary() {
        1 => (1, 2),
        _ => (2, 1),
    };
    let new = write(postgres, 1).await;
    cluster.await_replay().await.unwrap();
    trio.reads_from(&[replica]).await;
    assert_eq!(
        read(&postgres.reader_after(old), 0).await,
        (trio.port(primary), true),
        "of a former timeline"
    );

    // Without rights it proves it after its next restart point, ..
    assert_eq!(
        read(&postgres.reader_after(new), 1).await,
        (trio.port(primary), true)
    );
    let on_primary = cluster.connect(primary, "ledger").await.unwrap();
    on_primary.batch_execute("CHECKPOINT").await.unwrap();
    cluster.await_replay().await.unwrap();
    let session = cluster.connect(replica, "ledger").await.unwrap();
    session.batch_execute("CHECKPOINT").await.unwrap();
    assert_eq!(
        read(&postgres.reader_after(new), 1).await,
        (trio.port(replica), true)
    );

    // .. and with them at once: so after the next failover.
    let user = cluster.user();
    on_primary
        .batch_execute(&format!("GRANT pg_read_all_stats TO {user}"))
        .await
        .unwrap();
    cluster.await_replay().await.unwrap();
    println!("{}", cluster.rejoin_as_standby(0).await.unwrap());
    println!("{}", cluster.kill9(primary).await.unwrap());
    println!("{}", cluster.promote_best().await.unwrap());
    let replica = if cluster.primary() == 0 { replica } else { 0 };
    let newest = write(postgres, 2).await;
    cluster.await_replay().await.unwrap();
    trio.reads_from(&[replica]).await;
    assert_eq!(
        read(&postgres.reader_after(newest), 2).await,
        (trio.port(replica), true)
    );
    assert_eq!(
        read(&postgres.reader_after(new), 1).await,
        (trio.port(cluster.primary()), true)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_go_to_the_replica_with_the_least_under_way() {
    let trio = trio(|_| {}).await;
    let reader = trio.postgres.reader();
    let hold = Duration::from_millis(500);
    let found = futures_util::future::join_all((0..8).map(|_| port_after(&reader, hold))).await;
    let mut served: BTreeMap<i32, u32> = BTreeMap::new();
    for port in found {
        *served.entry(port.unwrap()).or_default() += 1;
    }
    let expected: BTreeMap<i32, u32> = [(trio.port(1), 4), (trio.port(2), 4)].into();
    assert_eq!(served, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_stay_in_the_own_zone_while_a_replica_there_is_near_enough() {
    let config = Loader::new("reads")
        .environment(Some("dev"))
        .sources(Sources::none())
        .set("zone=b")
        .load()
        .unwrap();
    let cx = Context::standalone().with_config(Live::new(config));
    let cluster = PostgresCluster::builder()
        .standbys(2)
        .synchronous(Synchronous::Off)
        .start()
        .await
        .unwrap();
    let url = cluster.create_database("ledger").await.unwrap();
    let mut settings = PostgresSettings::new(Secret::new(url));
    settings.timeout = hafnium_core::config::Duration::from_secs(20);
    settings.rw_wait = hafnium_core::config::Duration::from_secs(10);
    settings.zones = ["a", "a", "b"].map(str::to_owned).into();
    let postgres = Postgres::connect(settings.clone(), &cx).await.unwrap();
    sqlx::query("CREATE TABLE t (id int PRIMARY KEY)")
        .execute(&postgres)
        .await
        .unwrap();
    cluster.await_replay().await.unwrap();
    let trio = Trio { cluster, postgres };
    trio.reads_from(&[2]).await;
    // On a busy machine a probe may be late, and the own replica suspect for a moment.
    for id in 1.. {
        let token = write(&trio.postgres, id).await;
        let (port, seen) = read(&trio.postgres.reader_after(token), id).await;
        assert!(seen, "{id} is not at {port}");
        if port == trio.port(2) {
            break;
        }
        assert!(id < 20, "read from {port}");
    }
    assert_eq!(trio.postgres.nodes()[2].zone.as_deref(), Some("b"));
    println!("{}", trio.cluster.kill9(2).await.unwrap());
    trio.reads_from(&[1]).await;
    println!("{}", trio.cluster.kill9(1).await.unwrap());
    trio.reads_from(&[0]).await;

    settings.zones.pop();
    let error = Postgres::new("ledger", settings, &cx).unwrap_err().to_string();
    assert!(
        error.contains("zones: expected one for each of the 3 hosts"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_beyond_max_lag_is_not_read_from_and_lag_and_role_are_metrics_and_events() {
    let told = told::listen();
    let recorded = Recorded::new();
    let cx = Context::new(
        ServiceInfo::new("reads", "0"),
        Registry::new(),
        recorded.metrics.clone(),
        Propagation::none(),
        Tasks::new(),
        Watch::fixed(State::Ready),
    );
    let short = hafnium_core::config::Duration::from_millis(1500);
    let trio = trio_of(|settings| settings.max_lag = short, &cx).await;
    let (cluster, postgres) = (&trio.cluster, &trio.postgres);
    let node = |node: usize| format!("server_address=\"127.0.0.1:{}\"", trio.port(node));
    println!("{}", cluster.pause_replay(1).await.unwrap());
    for id in 0..5 {
        write(postgres, id).await;
    }
    trio.reads_from(&[2]).await;
    let lag = postgres.nodes()[1].lag.unwrap();
    assert!(lag > Duration::from_millis(1500), "{lag:?}");
    let value: f64 = recorded
        .value("hafnium_postgres_replay_lag_seconds", &node(1))
        .unwrap()
        .parse()
        .unwrap();
    assert!(value > 1.5, "{value}");
    assert!(told.contains("no replicas' reads go here any more", trio.port(1)));
    println!("{}", cluster.pause_replay(2).await.unwrap());
    for id in 5..10 {
        write(postgres, id).await;
    }
    // Nobody is near enough: the primary.
    trio.reads_from(&[0]).await;
    println!("{}", cluster.resume_replay(1).await.unwrap());
    trio.reads_from(&[1]).await;
    assert!(told.contains("replicas' reads go here", trio.port(1)));
    let role = |of: usize, role: &str| {
        let series = recorded.value(
            "hafnium_postgres_role_ratio",
            &format!("role=\"{role}\",{}", node(of)),
        );
        series.map(|value| value == "1")
    };
    assert_eq!(
        (role(0, "primary"), role(1, "standby"), role(1, "primary")),
        (Some(true), Some(true), Some(false))
    );
    println!("{}", cluster.kill9(0).await.unwrap());
    println!("{}", cluster.promote(1).await.unwrap());
    write(postgres, 10).await;
    assert_eq!(role(1, "primary"), Some(true));
    assert!(told.contains("role changed", trio.port(1)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_primary_is_forbidden_reads_wait_for_a_replica_until_their_deadline() {
    let trio = trio(|settings| settings.reader_fallback = ReaderFallback::None).await;
    let (cluster, postgres) = (&trio.cluster, &trio.postgres);
    let token = write(postgres, 1).await;
    for node in [1, 2] {
        println!("{}", cluster.kill9(node).await.unwrap());
    }
    let end = Instant::now() + LONG;
    while postgres.nodes()[1].state == "up" || postgres.nodes()[2].state == "up" {
        assert!(Instant::now() < end, "{:?}", postgres.nodes());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let short = postgres.within(Duration::from_millis(300));
    for view in [short.reader(), short.reader_after(token)] {
        let begun = Instant::now();
        let error = sqlx::query("SELECT 1").execute(&view).await.unwrap_err();
        assert!(matches!(detail(&error), Some(Detail::NoNode { .. })), "{error}");
        assert!(error.to_string().contains("replica"), "{error}");
        assert!(begun.elapsed() >= Duration::from_millis(250));
    }
    sqlx::query("SELECT 1").execute(postgres).await.unwrap();
    let ((port, seen), ()) = tokio::join!(async { read(&postgres.reader_after(token), 1).await }, async {
        println!("{}", cluster.rejoin_as_standby(2).await.unwrap());
    });
    assert!(seen && port == trio.port(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_conflicts_with_replay_goes_to_the_other_standby_and_then_to_the_primary() {
    let trio = trio(|_| {}).await;
    let (cluster, postgres) = (&trio.cluster, &trio.postgres);
    for node in [1, 2] {
        let session = cluster.connect(node, "ledger").await.unwrap();
        session
            .batch_execute("ALTER SYSTEM SET max_standby_streaming_delay = 0")
            .await
            .unwrap();
        session.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    }
    let number = async |node: usize, sql: &str| -> i64 {
        let session = cluster.connect(node, "ledger").await.unwrap();
        session.query_one(sql, &[]).await.unwrap().get(0)
    };
    // A backend reports what it saw when it has been idle for a while.
    let conflicts = async |wanted: i64| -> (i64, i64) {
        let count = "SELECT confl_lock FROM pg_stat_database_conflicts WHERE datname = 'ledger'";
        let end = Instant::now() + LONG;
        loop {
            let counts = (number(1, count).await, number(2, count).await);
            if counts.0 + counts.1 >= wanted || Instant::now() > end {
                return counts;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    // Returns the standby on which the statement ran.
    let runs_on = async || -> usize {
        let running = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%FROM pg_sleep(2)%' \
             AND pid <> pg_backend_pid()";
        let end = Instant::now() + LONG;
        loop {
            for node in [1, 2] {
                if number(node, running).await > 0 {
                    return node;
                }
            }
            assert!(Instant::now() < end, "the statement does not begin on a standby");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let lock = async || {
        let session = cluster.connect(0, "ledger").await.unwrap();
        let lock = "BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE; COMMIT";
        session.batch_execute(lock).await.unwrap();
    };
    let slow = "SELECT inet_server_port() FROM pg_sleep(2), (SELECT count(*) FROM t) c";
    let reader = postgres.reader();

    // A lock while it runs: the first standby cancels it, the other one, which does not replay just now, answers.
    let (port, first) = tokio::join!(sqlx::query_scalar::<_, i32>(slow).fetch_one(&reader), async {
        let first = runs_on().await;
        println!("{}", cluster.pause_replay(3 - first).await.unwrap());
        lock().await;
        first
    });
    assert_eq!(port.unwrap(), trio.port(3 - first));
    let counts = conflicts(1).await;
    let expected = if first == 1 { (1, 0) } else { (0, 1) };
    assert_eq!(counts, expected, "not one conflict, so that nothing was tested");
    println!("{}", cluster.resume_replay(3 - first).await.unwrap());
    cluster.await_replay().await.unwrap();

    // One on each, and the primary answers. So also in a transaction.
    let (port, ()) = tokio::join!(
        reader.transaction(async |mut tx| -> Result<i32, sqlx::Error> {
            sqlx::query_scalar(slow).fetch_one(&mut *tx).await
        }),
        async {
            let first = runs_on().await;
            println!("{}", cluster.pause_replay(3 - first).await.unwrap());
            lock().await;
            while runs_on().await == first {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            println!("{}", cluster.resume_replay(3 - first).await.unwrap());
        }
    );
    assert_eq!(port.unwrap(), trio.port(0));
    let counts = conflicts(3).await;
    assert_eq!(counts.0 + counts.1, 3, "not a conflict on each: {counts:?}");
}
