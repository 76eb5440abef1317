//! Nodes that are not what they are taken for: standbys that get writes, replays that end reads.

use std::net::SocketAddr;
use std::time::Duration;

use hafnium_core::Outcome;
use hafnium_data::postgres::PostgresSettings;
use hafnium_testkit::Proxy;
use hafnium_testkit::postgres::PostgresCluster;
use tokio::time::Instant;

use super::place::{Expected, Place, act, code, unique};
use super::{Case, Made};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(
            "25006",
            "a write reaches a standby, behind a name that moved",
            "not run",
            "failover: connection discarded, node suspected, repeated on the primary",
            Made::Server,
            || moved("INSERT INTO t VALUES (1)"),
        ),
        Case::new(
            "55000",
            "recovery is in progress: a function that needs a primary reaches a standby",
            "not run",
            "failover: connection discarded, node suspected, repeated on the primary",
            Made::Server,
            || moved("SELECT pg_current_wal_lsn()"),
        ),
        Case::new(
            "25006",
            "default_transaction_read_only: the probe still says primary",
            "not run",
            "node suspected, repeated once when the probe has answered, then surfaced",
            Made::Server,
            read_only_by_setting,
        ),
        Case::new(
            "25006",
            "a write where only reads were asked for: reader(), a transaction of read_only(), target_session_attrs=standby",
            "not run",
            "connection kept, node left alone, surfaced as the caller's mistake (postgres.read_only)",
            Made::Server,
            write_of_a_reader,
        ),
        Case::new(
            "40001",
            "a read conflicts with the replay of a standby",
            "rolled back",
            "repeated on the other standby, then on the primary",
            Made::Server,
            replay_conflict,
        ),
    ]
}

/// What a handle is told is the primary's address leads to the standby from now on; the primary is at the second one.
async fn moved(sql: &'static str) {
    let cluster = PostgresCluster::builder().standbys(1).start().await.unwrap();
    let [primary, standby] = [0, 1].map(|node| SocketAddr::from(([127, 0, 0, 1], cluster.port(node))));
    let proxy = Proxy::start(primary).unwrap();
    let database = unique("moved");
    let url = cluster.create_database(&database).await.unwrap();
    let session = cluster.connect(0, &database).await.unwrap();
    session
        .batch_execute("CREATE TABLE t (id int PRIMARY KEY); GRANT ALL ON t TO PUBLIC")
        .await
        .unwrap();
    cluster.await_replay().await.unwrap();
    let url = url.replace(
        &format!("{primary},{standby}"),
        &format!("{},{primary}", proxy.address()),
    );
    let place = Place::at(&url, database, session, |_| {}).await;
    place.pid().await;
    let before = place.counts();

    proxy.lead_to(standby);
    // The probes' connections end too, but only at their next question do they find out.
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() \
               AND pid <> pg_backend_pid()";
    place.session.batch_execute(end).await.unwrap();
    let done = sqlx::query(sql).execute(&place.postgres).await.unwrap();
    assert_eq!(done.rows_affected(), 1);
    let after = place.counts();
    // One for the session that ended, one for the standby's answer.
    assert_eq!((after.done - before.done, after.retries - before.retries), (1, 2));
    assert!(after.suspected > before.suspected);
    assert_eq!((after.unknown_outcomes, after.not_run), (0, 0));
    let log = cluster.log_tail(1);
    assert!(
        log.contains("read-only transaction") || log.contains("recovery is in progress"),
        "{log}"
    );
    let written = i64::from(sql.starts_with("INSERT"));
    assert_eq!(place.rows("t").await, written);
}

async fn read_only_by_setting() {
    let cluster = PostgresCluster::single().await.unwrap();
    let place = Place::on(&cluster, "readonly", |_| {}, None).await;
    let set = "ALTER SYSTEM SET default_transaction_read_only = on";
    place.session.batch_execute(set).await.unwrap();
    place
        .session
        .batch_execute("SELECT pg_reload_conf()")
        .await
        .unwrap();
    let view = place.postgres.clone();
    let shown = "SELECT current_setting('transaction_read_only')";
    let end = Instant::now() + Duration::from_secs(10);
    while sqlx::query_scalar::<_, String>(shown)
        .fetch_one(&view)
        .await
        .unwrap()
        != "on"
    {
        assert!(Instant::now() < end);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let expected = Expected {
        outcome: Some(Outcome::NotRun),
        retries: 1,
        suspected: true,
        kept: false,
    };
    let refused = place
        .sees(expected, async |postgres| act(postgres, "00000", 0).await)
        .await;
    assert_eq!(code(&refused.unwrap_err()), "postgres.25006");
}

async fn write_of_a_reader() {
    let place = Place::new("reader").await;
    let expected = Expected {
        outcome: Some(Outcome::NotRun),
        retries: 0,
        suspected: false,
        kept: true,
    };
    let refused = place
        .sees(expected, async |postgres| {
            let view = postgres.read_only();
            view.transaction(async |mut tx| act(&mut *tx, "00000", 0).await)
                .await
        })
        .await;
    assert_eq!(code(&refused.unwrap_err()), "postgres.read_only");
    assert_eq!(place.calls().await, 0);

    let cluster = PostgresCluster::builder().standbys(1).start().await.unwrap();
    let database = unique("standby");
    let url = cluster.create_database(&database).await.unwrap();
    let session = cluster.connect(0, &database).await.unwrap();
    session.batch_execute("CREATE TABLE t (id int)").await.unwrap();
    cluster.await_replay().await.unwrap();
    let url = format!("{url}?target_session_attrs=standby");
    let place = Place::at(&url, database, session, |_| {}).await;
    for view in [
        place.postgres.within(Duration::from_secs(5)),
        place.postgres.reader(),
    ] {
        let refused = place
            .sees(expected, async |_| {
                sqlx::query("INSERT INTO t VALUES (1)").execute(&view).await
            })
            .await;
        assert_eq!(code(&refused.unwrap_err()), "postgres.read_only");
    }
}

/// The primary empties a table again and again; a standby that replays that ends the reads of it.
async fn replay_conflict() {
    let cluster = PostgresCluster::builder().standbys(2).start().await.unwrap();
    let longer = |settings: &mut PostgresSettings| settings.timeout = Duration::from_secs(20).into();
    let place = Place::on(&cluster, "replay", longer, None).await;
    for standby in cluster.standbys() {
        let session = cluster.connect(standby, "postgres").await.unwrap();
        session
            .batch_execute("ALTER SYSTEM SET max_standby_streaming_delay = '20ms'")
            .await
            .unwrap();
        session.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    }
    let end = Instant::now() + Duration::from_secs(10);
    let reader = place.postgres.reader();
    let port = || sqlx::query_scalar::<_, i32>("SELECT inet_server_port()");
    let primary = i32::from(cluster.port(0));
    while port().fetch_one(&reader).await.unwrap() == primary {
        assert!(Instant::now() < end, "no standby is read from");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let before = place.counts();
    let session = cluster.connect(0, &place.database).await.unwrap();
    let emptying = tokio::spawn(async move {
        loop {
            session.batch_execute("TRUNCATE t").await.unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    // A read of the table that holds its lock for longer than a standby waits.
    let read = "SELECT inet_server_port(), pg_sleep(1) FROM (SELECT count(*) FROM t) s";
    let served: i32 = sqlx::query_scalar(read).fetch_one(&reader).await.unwrap();
    emptying.abort();
    assert_eq!(served, primary, "after both standbys");
    let after = place.counts();
    assert_eq!((after.done - before.done, after.retries - before.retries), (1, 2));
    assert_eq!((after.suspected, after.unknown_outcomes), (before.suspected, 0));
}
