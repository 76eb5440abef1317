//! SIGTERM under load, as in a rolling update: endpoints hear of it a little later than the process.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::task::JoinSet;

use super::{failures, load};
use crate::conformance::Conformance;
use crate::conformance::report::{Case, Finding};
use crate::conformance::subject::{Subject, told};
use crate::load::{Kind, Load, Pace, Tally};

const CASE: Case = Case::Sigterm;
const BEFORE: Duration = Duration::from_millis(500);
/// The kit asks the service to serve on for so long.
const DRAIN_DELAY: Duration = Duration::from_secs(2);
/// A slow request leaves then: late enough to be under way in the moment of the close.
const SLOW: Duration = Duration::from_millis(1300);
/// The load balancer notices after three quarters of the delay.
const NOTICED: Duration = Duration::from_millis(1500);
/// What the close does to a request is seen by then.
const CLOSED: Duration = Duration::from_secs(3);
const NOT_READY: Duration = Duration::from_secs(1);
/// A process whose probe was not answered may end within this time: its listener closes just before it does.
const ENDING: Duration = Duration::from_millis(500);

pub(super) async fn sigterm(kit: &Conformance<'_>, subject: &mut Subject) -> Vec<Finding> {
    let loads: Vec<Load> = Kind::ALL.iter().map(|kind| load(kit, subject, *kind)).collect();
    tokio::time::sleep(BEFORE).await;
    let signalled = Instant::now();
    for load in &loads {
        load.enter("draining");
    }
    subject.signal(Signal::TERM);

    let mut findings = Vec::new();
    let what = "SIGTERM to not ready";
    findings.push(match subject.becomes("/readyz", 503, NOT_READY).await {
        Ok(took) => Finding::timed(CASE, what, took, NOT_READY),
        Err(reason) => Finding::late(CASE, what, NOT_READY, reason),
    });
    let mut alive = Alive::since(signalled);
    alive.watch(subject, SLOW).await;
    let mut slow = under_way(kit, subject, signalled);
    alive.watch(subject, NOTICED).await;
    loads.iter().for_each(Load::withdraw);
    // Kept connections are used until they are told to end, at the latest by the close.
    alive.watch(subject, CLOSED).await;
    let mut tallies = Vec::new();
    for load in loads {
        tallies.push(load.finish().await);
    }
    alive.watch(subject, kit.grace).await;
    findings.push(Finding::wrong(CASE, "alive while it drains", &alive.wrong));
    findings.extend(tallies.iter().map(|tally| {
        let what = format!("requests that failed, {}", tally.kind.as_str());
        let finding = Finding::wrong(CASE, what, &failures(tally));
        match finding.note.as_str() {
            "" => finding.noting(format!("{} sent", tally.sent)),
            _ => finding,
        }
    }));
    findings.push(across_the_close(kit, &mut slow).await);
    findings.push(end(kit, subject, &alive).await);
    findings
}

async fn end(kit: &Conformance<'_>, subject: &mut Subject, alive: &Alive) -> Finding {
    let what = "SIGTERM to the end, with exit code 0";
    let since = alive.signalled;
    match subject.ends(kit.grace.saturating_sub(since.elapsed())).await {
        Ok((status, _)) if status.code() == Some(0) => {
            let took = alive.ended.unwrap_or_else(|| since.elapsed());
            Finding::timed(CASE, what, took, kit.grace)
        }
        Ok((status, _)) => {
            let ended = format!("{}: {}", told(status), subject.last_words());
            Finding::wrong(CASE, what, &[ended])
        }
        Err(reason) => Finding::late(CASE, what, kit.grace, reason),
    }
}

/// What a kubelet would see of `/livez`.
struct Alive {
    signalled: Instant,
    /// After what time the process was seen to have ended.
    ended: Option<Duration>,
    wrong: Vec<String>,
}

impl Alive {
    fn since(signalled: Instant) -> Self {
        Self {
            signalled,
            ended: None,
            wrong: Vec::new(),
        }
    }

    /// Probes until so long after the signal. Ends early with the process once the load balancer may know of its end.
    async fn watch(&mut self, subject: &mut Subject, until: Duration) {
        while self.signalled.elapsed() < until && self.ended.is_none() {
            let wrong = match subject.probe("/livez").await {
                Ok(answer) if answer.status == 200 => None,
                Ok(answer) => Some(format!("/livez is {}", answer.status)),
                Err(error) => Some(error),
            };
            let early = self.signalled.elapsed() < NOTICED;
            let within = if wrong.is_some() && !early {
                ENDING
            } else {
                Duration::from_millis(100)
            };
            if early {
                tokio::time::sleep(within).await;
            } else if subject.ends(within).await.is_ok() {
                self.ended = Some(self.signalled.elapsed());
                return;
            }
            self.wrong.extend(wrong);
        }
    }
}

/// One slow request per kind of client.
fn under_way(kit: &Conformance<'_>, subject: &Subject, signalled: Instant) -> JoinSet<(Tally, Duration)> {
    let mut slow = JoinSet::new();
    for kind in Kind::ALL.into_iter().filter(|_| kit.slow_route.is_some()) {
        let path = kit.slow_route.clone().unwrap_or_default();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, subject.port));
        slow.spawn(async move {
            let load = Load::start(kind, address, Pace::of(1).path(path));
            tokio::time::sleep(NOTICED - SLOW).await;
            (load.finish().await, signalled.elapsed())
        });
    }
    slow
}

async fn across_the_close(kit: &Conformance<'_>, slow: &mut JoinSet<(Tally, Duration)>) -> Finding {
    let what = "requests that failed, under way at the close";
    if kit.slow_route.is_none() {
        return Finding::left_out(CASE, what, "no slow route was named");
    }
    let (mut wrong, mut early) = (Vec::new(), Vec::new());
    while let Some(ended) = slow.join_next().await {
        match ended {
            Ok((tally, took)) => {
                let kind = tally.kind.as_str();
                let failed = failures(&tally);
                if failed.is_empty() && took < DRAIN_DELAY {
                    early.push(kind);
                }
                wrong.extend(failed.iter().map(|failed| format!("{kind}, {failed}")));
            }
            Err(error) => wrong.push(error.to_string()),
        }
    }
    match wrong.is_empty() && !early.is_empty() {
        true => Finding::not_run(
            CASE,
            what,
            format!("answered before the close: {}", early.join(", ")),
        ),
        false => Finding::wrong(CASE, what, &wrong),
    }
}
