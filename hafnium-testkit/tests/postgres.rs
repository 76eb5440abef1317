//! The Postgres rig: it comes up quickly, and its faults really happen.

#![cfg(feature = "postgres")]
#![allow(
    clippy::unwrap_used,
    reason = "a test may end where it stands, its helpers too"
)]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hafnium_testkit::postgres::{PostgresCluster, RejoinBy, StopMode, Synchronous};
use hafnium_testkit::process::{ProcessId, ProcessState, wait_until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn trio() -> PostgresCluster {
    PostgresCluster::builder()
        .standbys(2)
        .synchronous(Synchronous::AnyOne)
        .start()
        .await
        .unwrap()
}

async fn count(cluster: &PostgresCluster, node: usize) -> i64 {
    cluster
        .connect(node, "app")
        .await
        .unwrap()
        .query_one("SELECT count(*) FROM t", &[])
        .await
        .unwrap()
        .get(0)
}

async fn insert(cluster: &PostgresCluster, node: usize, id: i64) {
    cluster
        .connect(node, "app")
        .await
        .unwrap()
        .execute("INSERT INTO t VALUES ($1)", &[&id])
        .await
        .unwrap();
}

async fn with_table() -> PostgresCluster {
    let cluster = trio().await;
    cluster
        .connect(0, "app")
        .await
        .unwrap()
        .batch_execute("CREATE TABLE t (id bigint)")
        .await
        .unwrap();
    cluster
}

/// What a login gets from a frozen node.
async fn accepts_and_stays_silent(cluster: &PostgresCluster, node: usize) -> bool {
    let mut stream = TcpStream::connect((cluster.host(node), cluster.port(node)))
        .await
        .unwrap();
    // SSLRequest, which a living server answers with one byte.
    stream.write_all(&[0, 0, 0, 8, 4, 210, 22, 47]).await.unwrap();
    tokio::time::timeout(Duration::from_millis(700), stream.read_u8())
        .await
        .is_err()
}

/// Best of three: the bound is about what the rig does, not about what else the machine does.
#[tokio::test]
async fn a_synchronous_trio_is_up_within_fifteen_seconds() {
    let mut best = Duration::MAX;
    for _ in 0..3 {
        let start = Instant::now();
        let cluster = trio().await;
        best = best.min(start.elapsed());
        println!("Postgres trio with ANY 1 up after {:?}", start.elapsed());
        let session = cluster.connect(0, "postgres").await.unwrap();
        let waited_for = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'quorum'";
        assert_eq!(
            session.query_one(waited_for, &[]).await.unwrap().get::<_, i64>(0),
            2
        );
        if best < Duration::from_secs(15) {
            return;
        }
    }
    panic!("the best of three took {best:?}");
}

#[tokio::test]
async fn a_single_server_serves_databases_to_the_applications_role() {
    let start = Instant::now();
    let cluster = PostgresCluster::single().await.unwrap();
    println!("single Postgres up after {:?}", start.elapsed());
    let url = cluster.create_database("orders").await.unwrap();
    let (client, connection) = hafnium_testkit::postgres::tokio_postgres::connect(
        &url,
        hafnium_testkit::postgres::tokio_postgres::NoTls,
    )
    .await
    .unwrap();
    tokio::spawn(connection);
    client
        .batch_execute("CREATE TABLE t (id bigint); INSERT INTO t VALUES (7), (7), (8)")
        .await
        .unwrap();
    let mut applied = cluster
        .applied("orders", "SELECT id, count(*) FROM t GROUP BY id")
        .await
        .unwrap();
    applied.sort_unstable();
    assert_eq!(applied, [(7, 2), (8, 1)]);
    let superuser: bool = client
        .query_one("SELECT rolsuper FROM pg_roles WHERE rolname = current_user", &[])
        .await
        .unwrap()
        .get(0);
    assert!(!superuser, "the application has no special rights");

    let proof = cluster.set_password("it's new").await.unwrap();
    println!("{proof}");
    assert_eq!(cluster.password(), "it's new");
    cluster.create_user("second").await.unwrap();
}

#[tokio::test]
async fn a_killed_primary_is_replaced_and_comes_back_as_a_standby() {
    let cluster = with_table().await;
    insert(&cluster, 0, 1).await;
    let proof = cluster.kill9(0).await.unwrap();
    println!("{proof}");
    assert!(
        proof.kill.processes.len() > 5,
        "the backends are killed too: {proof}"
    );

    let watch = cluster.watch_readiness().unwrap();
    let promotion = cluster.promote_best().await.unwrap();
    println!("{promotion}");
    assert_eq!((promotion.timeline_before, promotion.timeline_after), (1, 2));
    let first = watch.first_write(Duration::from_secs(5)).await.unwrap();
    println!(
        "first write accepted by {} after {} probes",
        first.node, first.probes
    );
    assert_eq!(first.node, promotion.node);
    let primary = cluster.primary();
    assert_eq!(cluster.name(primary), promotion.node);
    assert_eq!(
        count(&cluster, primary).await,
        1,
        "ANY 1: what was acknowledged is there"
    );
    insert(&cluster, primary, 2).await;

    let rejoin = cluster.rejoin_as_standby(0).await.unwrap();
    println!("{rejoin}");
    assert_eq!(rejoin.by, RejoinBy::Rewind);
    insert(&cluster, primary, 3).await;
    cluster.await_replay().await.unwrap();
    assert_eq!(
        (
            count(&cluster, 0).await,
            count(&cluster, cluster.standbys()[1]).await
        ),
        (3, 3)
    );

    // And once more, so that the node that came back can be promoted in turn.
    println!("{}", cluster.kill9_postmaster(primary).await.unwrap());
    let again = cluster.promote(0).await.unwrap();
    println!("{again}");
    assert_eq!((again.timeline_before, again.timeline_after), (2, 3));
    insert(&cluster, 0, 4).await;
    println!("{}", cluster.rejoin_as_standby(primary).await.unwrap());
    let other = cluster
        .standbys()
        .into_iter()
        .find(|node| *node != primary)
        .unwrap();
    println!("{}", cluster.rejoin_as_standby(other).await.unwrap());
    cluster.await_replay().await.unwrap();
    assert_eq!(
        (count(&cluster, primary).await, count(&cluster, other).await),
        (4, 4)
    );
}

#[tokio::test]
async fn a_frozen_primary_accepts_tcp_and_stays_silent_and_still_claims_to_be_primary_when_thawed() {
    let cluster = with_table().await;
    let proof = cluster.freeze(0).unwrap();
    println!("{proof}");
    assert_eq!(proof.freeze.state, ProcessState::Stopped);
    assert!(accepts_and_stays_silent(&cluster, 0).await);
    // The other standby goes on following the old primary.
    let promotion = cluster
        .promote(cluster.best_standby().await.unwrap())
        .await
        .unwrap();
    println!("{promotion}");
    assert!(promotion.timeline_after > promotion.timeline_before);
    insert(&cluster, cluster.primary(), 1).await;

    let thawed = cluster.thaw(0).await.unwrap();
    println!("{thawed}");
    assert_eq!(thawed.role, "primary");
    insert(&cluster, 0, 99).await;
    println!("{}", cluster.rejoin_as_standby(0).await.unwrap());
    cluster.await_replay().await.unwrap();
    assert_eq!(
        count(&cluster, 0).await,
        1,
        "what the deposed primary took alone is gone"
    );
    let other = cluster.standbys().into_iter().find(|node| *node != 0).unwrap();
    println!("{}", cluster.rejoin_as_standby(other).await.unwrap());
    cluster.await_replay().await.unwrap();
    assert_eq!(count(&cluster, other).await, 1);
}

#[tokio::test]
async fn two_promoted_standbys_share_a_timeline_and_a_primary_back_from_the_dead_has_the_old_one() {
    let cluster = with_table().await;
    println!("{}", cluster.kill9(0).await.unwrap());
    let (first, second) = (
        cluster.promote(1).await.unwrap(),
        cluster.promote(2).await.unwrap(),
    );
    println!("{first}\n{second}");
    assert_eq!(
        (first.timeline_after, second.timeline_after),
        (2, 2),
        "split brain"
    );
    cluster.start(0).await.unwrap();
    let session = cluster.connect(0, "postgres").await.unwrap();
    let written = "SELECT substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)";
    assert_eq!(
        session.query_one(written, &[]).await.unwrap().get::<_, String>(0),
        "00000001"
    );
    assert!(cluster.promote(0).await.is_err(), "a primary cannot be promoted");
}

#[tokio::test]
async fn stopping_pausing_and_restarting_do_what_they_say() {
    let cluster = with_table().await;
    println!("{}", cluster.pause_replay(1).await.unwrap());
    insert(&cluster, 0, 1).await;
    wait_until("n3 to replay", Duration::from_secs(5), async || {
        match count(&cluster, 2).await {
            1 => Ok(()),
            other => Err(other.to_string()),
        }
    })
    .await
    .unwrap();
    assert_eq!(count(&cluster, 1).await, 0, "a paused standby is stale");
    println!("{}", cluster.resume_replay(1).await.unwrap());
    cluster.await_replay().await.unwrap();
    assert_eq!(count(&cluster, 1).await, 1);

    println!("{}", cluster.stop(2, StopMode::Immediate).await.unwrap());
    insert(&cluster, 0, 2).await;
    println!("{}", cluster.rejoin_as_standby(2).await.unwrap());
    let stopped = cluster.stop(0, StopMode::Fast).await.unwrap();
    println!("{stopped}");
    assert!(stopped.status.contains("exit status: 0"));
    assert!(
        cluster.stop(0, StopMode::Fast).await.is_err(),
        "a second stop proves nothing"
    );
    println!("{}", cluster.promote_best().await.unwrap());
    println!("{}", cluster.rejoin_as_standby(0).await.unwrap());
    insert(&cluster, cluster.primary(), 3).await;
    cluster.await_replay().await.unwrap();
    assert_eq!(count(&cluster, 0).await, 3);
}

#[tokio::test]
async fn a_dropped_cluster_leaves_no_process() {
    let cluster = PostgresCluster::builder().standbys(1).start().await.unwrap();
    let processes = cluster.processes();
    assert!(processes.len() > 6, "{processes:?}");
    cluster.freeze(1).unwrap();
    let start = Instant::now();
    drop(cluster);
    println!("{} processes dropped in {:?}", processes.len(), start.elapsed());
    assert!(
        processes
            .iter()
            .all(|process| process.state() == ProcessState::Gone)
    );
    assert!(start.elapsed() < Duration::from_secs(2));
}

const REEXEC: &str = "HAFNIUM_TESTKIT_KILLED_TEST";

/// Not a test of its own: what [`nothing_survives_a_killed_test_process`] starts and kills.
#[tokio::test]
#[ignore = "started by nothing_survives_a_killed_test_process"]
async fn the_test_process_that_is_killed() {
    if std::env::var_os(REEXEC).is_none() {
        return;
    }
    let cluster = PostgresCluster::builder().standbys(1).start().await.unwrap();
    cluster.freeze(1).unwrap();
    println!();
    for process in cluster.processes() {
        println!("process {} {}", process.pid, process.started);
    }
    println!("up");
    tokio::time::sleep(Duration::from_secs(60)).await;
}

/// Ends it also when the test fails before it does.
struct TestProcess(Child);

impl TestProcess {
    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for TestProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

#[tokio::test]
async fn nothing_survives_a_killed_test_process() {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([
        "--ignored",
        "--exact",
        "the_test_process_that_is_killed",
        "--nocapture",
    ]);
    let mut test = TestProcess(command.env(REEXEC, "1").stdout(Stdio::piped()).spawn().unwrap());
    let mut processes = Vec::new();
    for line in BufReader::new(test.0.stdout.take().unwrap()).lines() {
        match line.unwrap().split_whitespace().collect::<Vec<_>>()[..] {
            ["process", pid, started] => {
                processes.push(ProcessId {
                    pid: pid.parse().unwrap(),
                    started: started.parse().unwrap(),
                });
            }
            ["up"] => break,
            _ => {}
        }
    }
    // The last sessions of the start-up may just be leaving.
    processes.retain(|process| process.state() != ProcessState::Gone);
    assert!(processes.len() > 6, "{processes:?}");
    assert!(
        processes
            .iter()
            .any(|process| process.state() == ProcessState::Stopped)
    );
    test.kill();
    let start = Instant::now();
    wait_until("all to be gone", Duration::from_secs(5), async || {
        let left = processes
            .iter()
            .filter(|process| process.state() != ProcessState::Gone)
            .count();
        if left == 0 {
            Ok(())
        } else {
            Err(format!("{left} of {} live", processes.len()))
        }
    })
    .await
    .unwrap();
    println!(
        "{} processes, some frozen, gone {:?} after the kill",
        processes.len(),
        start.elapsed()
    );
}
