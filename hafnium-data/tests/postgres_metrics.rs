//! Every metric of a database read back as a scraper gets it, after what it is there to tell: a failover with writers on
//! the deposed primary, and a full pool. Real servers.

#![cfg(feature = "postgres")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may end where it stands, its helpers too"
)]
#![allow(clippy::disallowed_methods, reason = "real servers take real time")]

#[path = "../../hafnium-core/tests/recorded/mod.rs"]
mod recorded;

use std::time::Duration;

use hafnium_core::secret::Secret;
use hafnium_core::{Classify, Outcome};
use hafnium_data::postgres::{Detail, Postgres, PostgresSettings, View, classify, detail};
use hafnium_testkit::postgres::{PostgresCluster, Synchronous};
use recorded::Recorded;
use tokio::time::Instant;

const PATIENCE: Duration = Duration::from_secs(30);

/// A handle whose metrics can be read.
struct Scraped {
    cluster: PostgresCluster,
    postgres: Postgres,
    recorded: Recorded,
}

impl Scraped {
    async fn start(cluster: PostgresCluster, change: impl FnOnce(&mut PostgresSettings)) -> Scraped {
        let url = cluster.create_database("ledger").await.unwrap();
        let session = cluster.connect(0, "ledger").await.unwrap();
        let table = "CREATE TABLE t (id int); GRANT ALL ON t TO PUBLIC";
        session.batch_execute(table).await.unwrap();
        let mut settings = PostgresSettings::new(Secret::new(url));
        settings.timeout = PATIENCE.into();
        change(&mut settings);
        let recorded = Recorded::new();
        let postgres = Postgres::connect(settings, &recorded.context()).await.unwrap();
        Scraped {
            cluster,
            postgres,
            recorded,
        }
    }

    /// The value of a series of this database.
    fn value(&self, name: &str, labels: &[&str]) -> Option<f64> {
        let ours = "db_client_connection_pool_name=\"default\"";
        let labels = [&[ours], labels].concat();
        let value = self.recorded.value_with(name, &labels)?;
        Some(value.parse().unwrap())
    }

    /// The value of a series of one of its nodes.
    fn of(&self, node: usize, name: &str, label: &str) -> Option<f64> {
        let node = format!("server_address=\"127.0.0.1:{}\"", self.cluster.port(node));
        self.value(name, &[&node, label])
    }

    /// Operations that ended so, and the seconds they took together.
    fn operations(&self, outcome: &str) -> (f64, f64) {
        let outcome = format!("hafnium_outcome=\"{outcome}\"");
        let labels = ["db_system_name=\"postgresql\"", &outcome];
        let part = |part: &str| {
            let name = format!("db_client_operation_duration_seconds_{part}");
            self.value(&name, &labels).unwrap_or_default()
        };
        (part("count"), part("sum"))
    }

    /// Whether a node has the role, as the gauge says.
    fn role(&self, node: usize, role: &str) -> bool {
        let label = format!("role=\"{role}\"");
        let value = self.of(node, "hafnium_postgres_role_ratio", &label).unwrap();
        assert!(value == 0.0 || value == 1.0, "{value}");
        value == 1.0
    }

    /// The role that the gauges say, of those that there are; exactly one.
    fn roles(&self) -> Vec<&'static str> {
        let nodes = 0..self.cluster.len();
        nodes
            .map(|node| {
                let all = ["primary", "standby", "deposed"];
                let mut held = all.into_iter().filter(|role| self.role(node, role));
                let role = held.next().unwrap_or("none");
                assert_eq!(held.next(), None, "node {node} is {role} and something else");
                role
            })
            .collect()
    }

    async fn until(&self, what: &str, met: impl Fn(&Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !met(self) {
            assert!(Instant::now() < end, "never: {what}: {:?}", self.postgres.nodes());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// A write that waits in the server for so many seconds.
async fn write(view: View, seconds: f64) -> Result<(), sqlx::Error> {
    let insert = sqlx::query("INSERT INTO t SELECT 1 FROM pg_sleep($1)");
    insert.bind(seconds).execute(&view).await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_with_writers_on_the_deposed_primary_is_told_by_every_metric_of_it() {
    const WRITERS: usize = 3;
    let cluster = PostgresCluster::builder()
        .standbys(2)
        .synchronous(Synchronous::Off)
        .start()
        .await
        .unwrap();
    let scraped = Scraped::start(cluster, |settings| settings.max = 6).await;
    let (cluster, postgres) = (&scraped.cluster, &scraped.postgres);
    scraped
        .until("all roles are known", |scraped| {
            scraped.roles() == ["primary", "standby", "standby"]
        })
        .await;
    let view = postgres.within(PATIENCE);
    write(view.clone(), 0.0).await.unwrap();
    assert_eq!(scraped.operations("done").0, 1.0);
    assert_eq!(scraped.value("hafnium_postgres_retries_total", &[]), None);

    // How far behind a replica is: one stands still while the primary goes on.
    println!("{}", cluster.pause_replay(1).await.unwrap());
    let paused = Instant::now();
    write(view.clone(), 0.0).await.unwrap();
    let lag = |node: usize| scraped.of(node, "hafnium_postgres_replay_lag_seconds", "");
    scraped
        .until("the lag is told", |_| lag(1).is_some_and(|lag| lag > 1.0))
        .await;
    assert!(
        lag(1).unwrap() <= paused.elapsed().as_secs_f64() + 0.2,
        "{:?}",
        lag(1)
    );
    assert!(lag(2).unwrap() < 1.0, "{:?}", lag(2));
    println!("{}", cluster.resume_replay(1).await.unwrap());
    cluster.await_replay().await.unwrap();
    scraped
        .until("the lag is over", |_| lag(1).is_some_and(|lag| lag < 1.0))
        .await;

    // In flight on the primary when it freezes: writes that may not be repeated, and one that may.
    let writers: Vec<_> = (0..WRITERS)
        .map(|_| tokio::spawn(write(view.clone(), 3.0)))
        .collect();
    let repeated = tokio::spawn(write(postgres.idempotent(), 3.0));
    scraped
        .until("all are under way", |scraped| {
            scraped.postgres.nodes()[0].in_use == WRITERS + 1
        })
        .await;
    println!("{}", cluster.freeze(0).unwrap());
    let frozen = Instant::now();
    scraped
        .until("the primary is given up", |scraped| {
            scraped.postgres.nodes()[0].state == "down"
        })
        .await;
    let down = Instant::now();
    assert!(!scraped.role(0, "primary"), "it does not answer");
    tokio::time::sleep(Duration::from_secs(1)).await;
    println!("{}", cluster.promote(1).await.unwrap());
    for writer in writers {
        let error = writer.await.unwrap().unwrap_err();
        assert!(matches!(detail(&error), Some(Detail::Cut { .. })), "{error}");
        assert_eq!(classify(&error).outcome(), Outcome::Unknown);
    }
    repeated.await.unwrap().unwrap();
    let over = frozen.elapsed().as_secs_f64();

    let (count, sum) = scraped.operations("unknown");
    assert_eq!(count, WRITERS as f64);
    assert!(
        sum / count >= 1.0 && sum / count <= over + 0.5,
        "{sum} s of {count}, in {over} s"
    );
    assert_eq!(
        scraped.value("hafnium_postgres_unknown_outcomes_total", &[]),
        Some(WRITERS as f64)
    );
    assert_eq!(
        scraped.of(0, "hafnium_postgres_deposed_writes_refused_total", ""),
        Some((WRITERS + 1) as f64)
    );
    let elsewhere = |node| scraped.of(node, "hafnium_postgres_deposed_writes_refused_total", "");
    assert_eq!((elsewhere(1), elsewhere(2)), (None, None));
    let retries = scraped.value("hafnium_postgres_retries_total", &[]).unwrap();
    assert!((1.0..20.0).contains(&retries), "{retries}");
    let failover = |part: &str| {
        scraped.of(
            1,
            &format!("hafnium_postgres_failover_duration_seconds_{part}"),
            "",
        )
    };
    assert_eq!(failover("count"), Some(1.0));
    let took = failover("sum").unwrap();
    assert!(took >= 1.0 && took <= over, "{took} s of {over} s");
    println!("down {:?} after the freeze, failover {took} s", down - frozen);

    println!("{}", cluster.thaw(0).await.unwrap());
    scraped
        .until("the old primary is deposed", |scraped| scraped.role(0, "deposed"))
        .await;
    assert_eq!(scraped.roles()[..2], ["deposed", "primary"]);
    // Nothing of what was refused there is in the tables that count.
    let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM t")
        .fetch_one(postgres)
        .await
        .unwrap();
    assert_eq!(rows, 3, "two before and the repeated one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_pool_is_told_by_every_metric_of_its_connections() {
    const MAX: usize = 2;
    const WAITING: usize = 3;
    let cluster = PostgresCluster::single().await.unwrap();
    let scraped = Scraped::start(cluster, |settings| {
        (settings.max, settings.warm) = (MAX as u32, 0);
    })
    .await;
    let postgres = &scraped.postgres;
    let count = |state: &str| {
        let state = format!("db_client_connection_state=\"{state}\"");
        scraped.of(0, "db_client_connection_count", &state)
    };
    let of = |name: &str| scraped.of(0, &format!("db_client_connection_{name}"), "");
    assert_eq!(of("max"), Some(MAX as f64));
    let view = postgres.within(PATIENCE);
    let holders: Vec<_> = (0..MAX).map(|_| tokio::spawn(write(view.clone(), 3.0))).collect();
    scraped
        .until("the pool is full", |scraped| {
            scraped.postgres.nodes()[0].in_use == MAX
        })
        .await;
    let begun = Instant::now();
    let waiters: Vec<_> = (0..WAITING)
        .map(|_| tokio::spawn(write(view.clone(), 0.0)))
        .collect();
    // Looked at with each probe, twice a second.
    scraped
        .until("a full pool is told", |_| {
            (count("used"), count("idle")) == (Some(MAX as f64), Some(0.0))
                && of("pending_requests") == Some(WAITING as f64)
        })
        .await;
    assert_eq!(of("timeouts_total"), None);
    let error = write(postgres.within(Duration::from_millis(200)), 0.0)
        .await
        .unwrap_err();
    assert!(
        matches!(detail(&error), Some(Detail::PoolTimeout { .. })),
        "{error}"
    );
    assert_eq!(of("timeouts_total"), Some(1.0));
    let (count_of, took) = scraped.operations("not_run");
    assert_eq!(count_of, 1.0);
    assert!((0.2..5.0).contains(&took), "{took}");

    for operation in holders.into_iter().chain(waiters) {
        operation.await.unwrap().unwrap();
    }
    let waited = begun.elapsed().as_secs_f64();
    let (logins, time) = (of("create_time_seconds_count"), of("create_time_seconds_sum"));
    assert_eq!(logins, Some(MAX as f64), "a login for each connection");
    assert!(
        time.is_some_and(|time| time > 0.0 && time < waited + 10.0),
        "{time:?}"
    );
    // The first two waited for their logins, the others for those two.
    assert_eq!(of("wait_time_seconds_count"), Some((MAX + WAITING) as f64));
    let sum = of("wait_time_seconds_sum").unwrap();
    let most = waited * WAITING as f64 + time.unwrap() + 5.0;
    assert!(sum > 1.0 && sum <= most, "{sum} s of {most} s");
    scraped
        .until("an empty pool is told", |_| {
            (count("used"), count("idle")) == (Some(0.0), Some(MAX as f64))
                && of("pending_requests") == Some(0.0)
        })
        .await;
    let (done, took) = scraped.operations("done");
    assert_eq!(done, (MAX + WAITING) as f64);
    assert!(took >= 3.0 * MAX as f64, "{took} s");
}
