//! The run: calm, three failovers, a rolling restart, the end, and the accounts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::accounts::Found;
use crate::arguments::Arguments;
use crate::gaps;
use crate::generator::{self, Sent};
use crate::live::Live;
use crate::replica::{Fleet, Replica, sibling};
use crate::results::{Arrived, Results};
use crate::rig::Rig;
use crate::table::{Fault, Report};

type Failed = Box<dyn std::error::Error>;

/// Between two faults: long enough to tell them apart in the results.
const APART: Duration = Duration::from_secs(12);
/// How long what was acknowledged may take to come out at the end.
const SETTLE: Duration = Duration::from_secs(20);

/// A fault as it was seen while it happened.
struct Seen {
    break_it: Break,
    at: Instant,
    until: Instant,
    proof: Result<String, String>,
}

/// Runs the whole and gives what is to be told.
pub(crate) async fn run(arguments: &Arguments) -> Result<Report, Failed> {
    println!("starting the servers");
    let rig = Rig::start().await?;
    let logs = tempdir()?;
    let fleet = fleet(&rig, logs.path().to_owned())?;
    println!("starting two replicas of risk-engine");
    let mut first = fleet.start("replica-a")?;
    // One after the other, so that the first one's migrations are done when the second one looks.
    first
        .ready(Duration::from_secs(30))
        .await
        .map_err(|error| told(&fleet, &first, error))?;
    let mut second = fleet.start("replica-b")?;
    second
        .ready(Duration::from_secs(30))
        .await
        .map_err(|error| told(&fleet, &second, error))?;

    let results = Results::read(&rig.kafka.bootstrap())?;
    let sent = Arc::new(Sent::default());
    let sending = tokio::spawn(generator::run(
        rig.kafka.bootstrap(),
        arguments.seed,
        arguments.rate,
        sent.clone(),
    ));
    let mut live = Live::new(&rig, sent.clone(), &results);
    println!("{} payments per second, seed {}", arguments.rate, arguments.seed);
    live.watch(Duration::from_secs(arguments.calm), &[&first, &second])
        .await;

    let mut seen = Vec::new();
    for break_it in BREAKS {
        live.say(break_it.what);
        let at = Instant::now();
        let proof = live.during(break_it.run(&rig), &[&first, &second]).await;
        let proof = proof.map_err(|error| error.to_string());
        live.say(
            proof
                .as_ref()
                .map_or_else(|reason| reason.as_str(), |proof| proof.as_str()),
        );
        live.watch(APART, &[&first, &second]).await;
        seen.push(Seen {
            break_it,
            at,
            until: Instant::now(),
            proof,
        });
    }

    live.say("SIGTERM to replica-a, and replica-c starts");
    first.terminate();
    let mut third = fleet.start("replica-c")?;
    let third_ready = live
        .during(third.ready(Duration::from_secs(30)), &[&first, &second])
        .await;
    third_ready.map_err(|error| told(&fleet, &third, error))?;
    live.watch(Duration::from_secs(8), &[&first, &second, &third])
        .await;

    sent.stop();
    live.during(sending, &[&second, &third]).await??;
    let expected = sent.acknowledged.load(Ordering::Relaxed) as usize;
    live.say(&format!(
        "the generator stopped: {expected} acknowledged; waiting for what is still under way"
    ));
    let settle = Instant::now();
    while results.distinct() < expected && settle.elapsed() < SETTLE {
        live.watch(Duration::from_millis(500), &[&second, &third]).await;
    }

    live.say("SIGTERM to the replicas that are left");
    second.terminate();
    third.terminate();
    let mut exits = Vec::new();
    for replica in [&mut first, &mut second, &mut third] {
        let exit = replica.end(Duration::from_secs(30)).await;
        if exit != "0" {
            println!("{}", log_tail(&fleet, replica));
        }
        exits.push((replica.name.clone(), exit));
    }

    let arrived = results.arrived();
    let (acknowledged, malformed) = sent.acknowledged_ids();
    let (scores, effects) = effects(&rig).await?;
    let begun = live.begun();
    let ended = arrived.scores_at.last().copied().unwrap_or(begun);
    let faults = seen.into_iter().map(|fault| fault.measured(&arrived)).collect();
    let found = Found {
        acknowledged,
        malformed,
        scores,
        effects,
        published: arrived.published.clone(),
        dead: arrived.dead.clone(),
    };
    Ok(Report {
        sent: sent.sent.load(Ordering::Relaxed),
        send_errors: sent.errors.load(Ordering::Relaxed),
        totals: found.totals(),
        longest_gap: gaps::longest(&arrived.scores_at, begun, ended),
        faults,
        exits,
    })
}

/// One thing that is broken.
#[derive(Clone, Copy)]
struct Break {
    name: &'static str,
    what: &'static str,
    server: Server,
}

#[derive(Clone, Copy, PartialEq)]
enum Server {
    Postgres,
    Redis,
    Kafka,
}

const BREAKS: [Break; 3] = [
    Break {
        name: "Postgres primary killed",
        what: "kill -9 of the Postgres primary; a standby is promoted",
        server: Server::Postgres,
    },
    Break {
        name: "Redis master killed",
        what: "kill -9 of the Redis master; the sentinels fail over",
        server: Server::Redis,
    },
    Break {
        name: "Kafka broker killed",
        what: "kill -9 of the broker that leads payments/0",
        server: Server::Kafka,
    },
];

impl Break {
    /// Breaks it and gives the proof.
    async fn run(self, rig: &Rig) -> Result<String, hafnium_testkit::Error> {
        match self.server {
            Server::Postgres => {
                let killed = rig.postgres.kill9(rig.postgres.primary()).await?;
                let promotion = rig.postgres.promote_best().await?;
                Ok(format!("{killed}; {promotion}"))
            }
            Server::Redis => {
                let killed = rig.redis.master().await?.kill9().await?;
                let failover = rig.redis.wait_for_new_master(&killed.before).await?;
                Ok(format!("{failover}"))
            }
            Server::Kafka => {
                let before = rig.kafka.partition("payments", 0).await?;
                let killed = rig.kafka.kill9(before.leader()?).await?;
                let election = rig.kafka.wait_for_new_leader("payments", 0, &before).await?;
                Ok(format!("{killed}; {election}"))
            }
        }
    }
}

impl Seen {
    /// With the time to recover, as the independent consumer saw it: to the end of the longest silence between results,
    /// or, for Redis, without which results go on, to the last one that had to do without a velocity.
    fn measured(self, arrived: &Arrived) -> Fault {
        let flowing = arrived
            .scores_at
            .iter()
            .any(|at| (self.at..=self.until).contains(at));
        let recovered = if self.break_it.server == Server::Redis {
            let blind = arrived
                .blind_at
                .iter()
                .filter(|at| (self.at..=self.until).contains(*at))
                .max();
            let last = blind.map_or(Duration::ZERO, |at| at.duration_since(self.at));
            let seeing_again = arrived
                .scores_at
                .iter()
                .filter(|at| **at > self.at + last && **at <= self.until);
            (flowing && seeing_again.count() > 0).then_some(last)
        } else {
            gaps::recovery(&arrived.scores_at, self.at, self.until)
        };
        Fault {
            name: self.break_it.name,
            proof: self.proof,
            recovered,
        }
    }
}

/// What lies in Postgres, asked of the primary of now.
async fn effects(rig: &Rig) -> Result<(BTreeSet<String>, BTreeMap<String, u64>), Failed> {
    let session = rig.postgres.connect(rig.postgres.primary(), "risk").await?;
    let scores = session.query("SELECT payment_id FROM scores", &[]).await?;
    let scores = scores
        .iter()
        .map(|row| row.try_get(0))
        .collect::<Result<_, _>>()?;
    let effects = session
        .query(
            "SELECT payment_id, count(*) FROM exposure GROUP BY payment_id",
            &[],
        )
        .await?;
    let effects = effects
        .iter()
        .map(|row| Ok((row.try_get(0)?, row.try_get::<_, i64>(1)? as u64)));
    Ok((scores, effects.collect::<Result<_, tokio_postgres::Error>>()?))
}

fn fleet(rig: &Rig, logs: std::path::PathBuf) -> Result<Fleet, Failed> {
    Ok(Fleet {
        binary: sibling("risk-engine")?,
        logs,
        variables: vec![
            ("ENVIRONMENT", "dev".to_owned()),
            ("HAFNIUM__POSTGRES__LEDGER__URL", rig.postgres.url("risk")),
            ("HAFNIUM__REDIS__VELOCITY__URL", rig.redis.sentinel_url()),
            ("HAFNIUM__KAFKA__EVENTS__BOOTSTRAP_SERVERS", rig.kafka.bootstrap()),
            ("HAFNIUM__SHUTDOWN__DRAIN_DELAY", "1s".to_owned()),
            ("HAFNIUM__TELEMETRY__LOG_FORMAT", "json".to_owned()),
        ],
    })
}

fn tempdir() -> Result<tempfile::TempDir, Failed> {
    Ok(tempfile::Builder::new().prefix("hafnium-demo-").tempdir()?)
}

fn told(fleet: &Fleet, replica: &Replica, error: String) -> String {
    format!("{error}\n{}", log_tail(fleet, replica))
}

fn log_tail(fleet: &Fleet, replica: &Replica) -> String {
    let log = std::fs::read_to_string(fleet.log_of(&replica.name)).unwrap_or_default();
    let lines: Vec<_> = log.lines().collect();
    format!(
        "the last lines of {}:\n{}",
        replica.name,
        lines[lines.len().saturating_sub(20)..].join("\n")
    )
}
