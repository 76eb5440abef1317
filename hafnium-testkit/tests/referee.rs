//! The referee catches what it is there for: three saboteurs against a real Postgres, and an honest client.

#![cfg(feature = "postgres")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may end where it stands, its helpers too"
)]

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use hafnium_testkit::Proxy;
use hafnium_testkit::postgres::{PostgresCluster, Session, tokio_postgres};
use hafnium_testkit::referee::{Referee, Ticket, Verdict, Witness};
use tokio::sync::OnceCell;

/// A database per test. All are made before any test runs: one of them holds up the replay, and a new database waits
/// until the standby has it.
const DATABASES: [&str; 6] = ["honest", "swallowed", "repeated", "stale", "denied", "cut"];

/// One cluster for the whole binary.
async fn cluster() -> &'static PostgresCluster {
    static CLUSTER: OnceCell<PostgresCluster> = OnceCell::const_new();
    CLUSTER
        .get_or_init(|| async {
            let cluster = PostgresCluster::builder().standbys(1).start().await.unwrap();
            for name in DATABASES {
                cluster.create_database(name).await.unwrap();
                let session = cluster.connect(0, name).await.unwrap();
                session.batch_execute("CREATE TABLE t (id bigint)").await.unwrap();
            }
            cluster.await_replay().await.unwrap();
            cluster
        })
        .await
}

async fn write(session: &Session, id: u64) {
    session
        .execute("INSERT INTO t VALUES ($1)", &[&i64::try_from(id).unwrap()])
        .await
        .unwrap();
}

async fn found(session: &Session, id: u64) -> bool {
    let id = i64::try_from(id).unwrap();
    !session
        .query("SELECT 1 FROM t WHERE id = $1", &[&id])
        .await
        .unwrap()
        .is_empty()
}

/// A client that does its work, except where `sabotage` does it.
async fn run<F>(cluster: &PostgresCluster, database: &str, witness: &Witness, mut sabotage: F)
where
    F: AsyncFnMut(&Session, u64, Ticket) -> Option<Ticket>,
{
    let session = cluster.connect(0, database).await.unwrap();
    for id in 1..=50 {
        let ticket = witness.attempt(id);
        if let Some(ticket) = sabotage(&session, id, ticket).await {
            write(&session, id).await;
            ticket.acknowledged();
        }
    }
}

async fn verdict(cluster: &PostgresCluster, database: &str, referee: &Referee) -> Verdict {
    let applied = cluster
        .applied(database, "SELECT id, count(*) FROM t GROUP BY id")
        .await
        .unwrap();
    let verdict = referee.verdict(applied);
    println!("{verdict}");
    verdict
}

#[tokio::test]
async fn an_honest_client_passes() {
    let cluster = cluster().await;
    let referee = Referee::new();
    run(
        cluster,
        "honest",
        &referee.witness(),
        async |_, id, ticket| match id {
            10 => {
                ticket.not_run();
                None
            }
            // Given up by its caller; it may have been done.
            11 => {
                drop(ticket);
                None
            }
            _ => Some(ticket),
        },
    )
    .await;
    let session = cluster.connect(0, "honest").await.unwrap();
    for id in [1, 10] {
        let read = referee.witness().read(id);
        if found(&session, id).await {
            read.found()
        } else {
            read.absent()
        }
    }
    let verdict = verdict(cluster, "honest", &referee).await;
    assert!(!verdict.is_red(), "{verdict}");
    let counts = (
        verdict.attempted,
        verdict.acknowledged,
        verdict.applied,
        verdict.not_run,
        verdict.unknown,
    );
    assert_eq!(counts, (50, 48, 48, 1, 1));
}

#[tokio::test]
async fn a_client_that_swallows_a_write_turns_it_red() {
    let cluster = cluster().await;
    let referee = Referee::new();
    run(cluster, "swallowed", &referee.witness(), async |_, id, ticket| {
        if id != 20 {
            return Some(ticket);
        }
        ticket.acknowledged();
        None
    })
    .await;
    let verdict = verdict(cluster, "swallowed", &referee).await;
    assert_eq!(verdict.lost, [20]);
    assert!(verdict.is_red());
}

#[tokio::test]
async fn a_client_that_repeats_a_write_turns_it_red() {
    let cluster = cluster().await;
    let referee = Referee::new();
    run(
        cluster,
        "repeated",
        &referee.witness(),
        async |session, id, ticket| {
            if id == 30 {
                write(session, id).await;
            }
            Some(ticket)
        },
    )
    .await;
    let verdict = verdict(cluster, "repeated", &referee).await;
    assert_eq!(verdict.doubled, [30]);
    assert!(verdict.is_red());
}

#[tokio::test]
async fn a_client_that_reads_stale_turns_it_red() {
    let cluster = cluster().await;
    println!("{}", cluster.pause_replay(1).await.unwrap());
    let referee = Referee::new();
    run(cluster, "stale", &referee.witness(), async |_, _, ticket| {
        Some(ticket)
    })
    .await;
    let standby = cluster.connect(1, "stale").await.unwrap();
    let read = referee.witness().read(40);
    if found(&standby, 40).await {
        read.found()
    } else {
        read.absent()
    }
    cluster.resume_replay(1).await.unwrap();
    let verdict = verdict(cluster, "stale", &referee).await;
    assert_eq!((verdict.stale, verdict.lost.len()), (1, 0));
    assert!(verdict.is_red());
}

#[tokio::test]
async fn a_client_that_denies_what_it_did_turns_it_red() {
    let cluster = cluster().await;
    let referee = Referee::new();
    run(
        cluster,
        "denied",
        &referee.witness(),
        async |session, id, ticket| {
            if id != 5 {
                return Some(ticket);
            }
            write(session, id).await;
            ticket.not_run();
            None
        },
    )
    .await;
    let verdict = verdict(cluster, "denied", &referee).await;
    assert_eq!(verdict.denied, [5]);
    assert!(verdict.is_red());
}

#[tokio::test]
async fn a_commit_whose_reply_was_swallowed_is_unknown_and_applied() {
    let cluster = cluster().await;
    let proxy = Proxy::start((Ipv4Addr::LOCALHOST, cluster.port(0)).into()).unwrap();
    let (user, password) = cluster.superuser();
    let url = format!("postgres://{user}:{password}@127.0.0.1:{}/cut", proxy.port());
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    let referee = Referee::new();
    let ticket = referee.witness().attempt(1);
    client
        .batch_execute("BEGIN; INSERT INTO t VALUES (1)")
        .await
        .unwrap();
    proxy.swallow_reply_to("COMMIT");
    let error = client.batch_execute("COMMIT").await.unwrap_err();
    println!("{error}; {}", proxy.counters());
    assert!(error.as_db_error().is_none(), "no word from the server");
    assert!(proxy.counters().swallowed_replies > 0);
    ticket.unknown();
    let verdict = verdict(cluster, "cut", &referee).await;
    assert_eq!((verdict.unknown, verdict.applied, verdict.lost.len()), (1, 1, 0));
}

#[test]
fn a_verdict_gives_rows_for_the_figures() {
    let referee = Referee::new();
    referee.witness().attempt(1).acknowledged();
    let rows = referee.verdict([]).rows("F1 async");
    let missed: Vec<_> = rows
        .iter()
        .filter(|row| !row.pass)
        .map(|row| row.name.as_str())
        .collect();
    assert_eq!(missed, ["lost"]);
    assert!(
        rows.iter()
            .all(|row| row.case == "F1 async" && row.value.is_some())
    );
}

#[test]
fn a_run_that_did_nothing_is_red() {
    assert!(Referee::new().verdict([]).is_red());
    let referee = Referee::new();
    referee.witness().attempt(1).not_run();
    assert!(referee.verdict([]).is_red());
}

#[test]
fn what_nobody_attempted_is_red_and_a_retried_id_is_one_effect() {
    let referee = Referee::new();
    let witness = referee.witness();
    witness.attempt(1).unknown();
    witness.attempt(1).acknowledged();
    let verdict = referee.verdict([(1, 1)]);
    assert_eq!(
        (verdict.attempted, verdict.acknowledged, verdict.unknown),
        (1, 1, 0)
    );
    assert!(!verdict.is_red(), "{verdict}");
    assert_eq!(referee.verdict([(1, 1), (2, 1)]).strange, [2]);
    assert_eq!(referee.verdict([(1, 1), (1, 1)]).doubled, [1]);
}

#[test]
fn gaps_waits_and_the_first_write_are_measured_from_instants() {
    let referee = Referee::new();
    let witness = referee.witness();
    let start = Instant::now();
    witness.attempt(1).acknowledged();
    let slow = witness.attempt(2);
    std::thread::sleep(Duration::from_millis(60));
    let after = Instant::now();
    assert_eq!(referee.first_acknowledged_after(after), None);
    assert_eq!(
        referee.longer_than(Duration::from_millis(50)),
        1,
        "one that still waits is late too"
    );
    slow.acknowledged();
    let end = Instant::now();
    assert!(referee.first_acknowledged_after(after).unwrap() < Duration::from_millis(50));
    let gap = referee.longest_gap(start, end);
    assert!(gap >= Duration::from_millis(60) && gap <= end - start, "{gap:?}");
    assert_eq!(referee.attempts().len(), 2);
    assert!(referee.verdict([(1, 1), (2, 1)]).longest_wait >= Duration::from_millis(60));
}
