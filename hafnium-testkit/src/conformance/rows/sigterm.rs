//! SIGTERM under load, as in a rolling update: endpoints hear of it a little later than the process.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{failures, load};
use crate::conformance::Conformance;
use crate::conformance::report::{Case, Finding};
use crate::conformance::subject::{Subject, told};
use crate::load::{Kind, Load};

const CASE: Case = Case::Sigterm;
const BEFORE: Duration = Duration::from_millis(500);
/// The kit asks the service to serve on for 2 s; the load balancer notices after three quarters of it.
const NOTICED: Duration = Duration::from_millis(1500);
const NOT_READY: Duration = Duration::from_secs(1);

pub(super) async fn sigterm(kit: &Conformance<'_>, subject: &mut Subject) -> Vec<Finding> {
    let loads: Vec<(Kind, Load)> = Kind::ALL
        .iter()
        .map(|kind| (*kind, load(kit, subject, *kind)))
        .collect();
    tokio::time::sleep(BEFORE).await;
    let signalled = Instant::now();
    for (_, load) in &loads {
        load.enter("draining");
    }
    subject.signal(Signal::TERM);

    let mut findings = Vec::new();
    let what = "SIGTERM to not ready";
    findings.push(match subject.becomes("/readyz", 503, NOT_READY).await {
        Ok(took) => Finding::timed(CASE, what, took, NOT_READY),
        Err(reason) => Finding::late(CASE, what, NOT_READY, reason),
    });
    let mut wrong = Vec::new();
    while signalled.elapsed() < NOTICED {
        match subject.probe("/livez").await {
            Ok(answer) if answer.status == 200 => {}
            Ok(answer) => wrong.push(format!("/livez is {}", answer.status)),
            Err(error) => wrong.push(error),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    findings.push(Finding::wrong(CASE, "alive while it drains", &wrong));

    for (_, load) in &loads {
        load.withdraw();
    }
    // Kept connections end when they are told to, at the latest with the drain.
    tokio::time::sleep(Duration::from_millis(200)).await;
    for (kind, load) in loads {
        let tally = load.finish().await;
        let finding = Finding::wrong(
            CASE,
            format!("requests that failed, {}", kind.as_str()),
            &failures(&tally),
        );
        let note = format!("{} sent", tally.sent);
        findings.push(if finding.note.is_empty() {
            finding.noting(note)
        } else {
            finding
        });
    }
    let what = "SIGTERM to the end, with exit code 0";
    findings.push(
        match subject.ends(kit.grace.saturating_sub(signalled.elapsed())).await {
            Ok((status, _)) if status.code() == Some(0) => {
                Finding::timed(CASE, what, signalled.elapsed(), kit.grace)
            }
            Ok((status, _)) => {
                let ended = format!("{}: {}", told(status), subject.last_words());
                Finding::wrong(CASE, what, &[ended])
            }
            Err(reason) => Finding::late(CASE, what, kit.grace, reason),
        },
    );
    findings
}
