//! F12: the only reachable node falls silent, and 300 ms later its name leads to one that recovered the same data.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hafnium_core::Context;
use hafnium_data::postgres::Postgres;
use hafnium_testkit::dns::NameServer;
use hafnium_testkit::postgres::PostgresCluster;

use super::{NAME, NEW, OLD, Rig, address};
use crate::faults::figures::Outcome;
use crate::faults::load::Load;
use crate::faults::mix::{Pace, Writes};
use crate::faults::trio::{AFTER, POOL, Times, Trio};

/// For how long the name is believed.
const TTL: Duration = Duration::from_secs(1);
/// From the silence to the new address, at least: what a managed service takes at its best.
const MOVE: Duration = Duration::from_millis(300);

/// What a server is: system identifier, timeline, start of its process.
#[derive(Debug, PartialEq, Eq)]
struct Identity {
    system: i64,
    timeline: String,
    started: String,
}

impl Identity {
    async fn of(cluster: &PostgresCluster) -> Identity {
        let session = cluster.connect(0, "ledger").await.unwrap();
        let row = session
            .query_one(
                "SELECT system_identifier, left(pg_walfile_name(pg_current_wal_lsn()), 8), \
                 pg_postmaster_start_time()::text FROM pg_control_system()",
                &[],
            )
            .await
            .unwrap();
        Identity {
            system: row.get(0),
            timeline: row.get(1),
            started: row.get(2),
        }
    }
}

/// One run: what the account says, and from the first answer that a client could see to the first acknowledged write.
pub(crate) async fn run(rig: Rig, cx: &Context, pace: Pace) -> (Outcome, Option<Duration>) {
    rig.names.set(NAME, [address(OLD)], TTL);
    let mut settings = rig.settings();
    settings.max = POOL;
    let postgres = Postgres::connect(settings, cx).await.unwrap();
    Load::prepare(&postgres, Writes::Plain).await.unwrap();
    let new = rig.proxy(NEW, 0);
    let Rig {
        cluster, names, old, ..
    } = rig;
    let trio = Trio { cluster, postgres };
    let load = trio.load(pace).await;
    // The silence comes at any time of the answer's life.
    let phase = fastrand::Rng::with_seed(pace.seed).u64(0..1000);
    tokio::time::sleep(Duration::from_millis(phase)).await;

    let before = Identity::of(&trio.cluster).await;
    let swallowed = old.counters();
    old.black_hole();
    let silence = Instant::now();
    trio.cluster.kill9(0).await.unwrap();
    trio.cluster.start(0).await.unwrap();
    let recovered = silence.elapsed();
    tokio::time::sleep(MOVE.saturating_sub(recovered)).await;
    let moved = Instant::now();
    names.set(NAME, [address(NEW)], TTL);
    load.more(20).await;
    tokio::time::sleep(AFTER).await;
    let report = load.stop().await;

    let after = Identity::of(&trio.cluster).await;
    let counters = old.counters();
    assert!(
        counters.swallowed_requests > swallowed.swallowed_requests,
        "{counters}"
    );
    assert_eq!(
        (before.system, &before.timeline),
        (after.system, &after.timeline),
        "the same data on the same timeline"
    );
    assert_ne!(before.started, after.started, "another process");
    let seen = could_see(&names, moved, new.address());
    println!(
        "swallowed {} bytes at {OLD}; recovered after {recovered:?}, timeline {} before and after; the name moved after \
         {:?} and could be seen {:?} later",
        counters.swallowed_requests,
        after.timeline,
        moved.duration_since(silence),
        seen.duration_since(moved),
    );
    let outcome = trio.account(&report, &Times::default()).await;
    let first = report.first_write_after(seen);
    println!("first acknowledged write {first:?} after that");
    (outcome, first)
}

/// When a client that believes answers for as long as they are good, and no longer, could first have the new one: when
/// the last old one was over. A client that asked before has it from then on.
fn could_see(names: &NameServer, moved: Instant, new: SocketAddr) -> Instant {
    let answers = names.answers(NAME);
    let over = answers
        .iter()
        .rfind(|answer| answer.addresses == [address(OLD)])
        .map_or(moved, |old| (old.at + old.ttl).max(moved));
    let first = answers.iter().find(|answer| answer.addresses == [new.ip()]);
    first.map_or(over, |first| first.at.min(over).max(moved))
}
