//! A dependency goes and comes back. A restart or a withdrawn replica would mend nothing, so that neither may happen.

use std::time::{Duration, Instant};

use crate::conformance::report::{Case, Finding};
use crate::conformance::subject::Subject;
use crate::conformance::{Conformance, Dependency};

const CASE: Case = Case::Loss;
/// How long a dependency stays away after its loss was seen: three probes of a kubelet, scaled down.
const AWAY: Duration = Duration::from_secs(1);
const EVERY: Duration = Duration::from_millis(100);

pub(super) async fn loss(kit: &Conformance<'_>, subject: &mut Subject) -> Vec<Finding> {
    if kit.dependencies.is_empty() {
        let reason = "no dependency was named";
        return vec![Finding::not_run(CASE, "a dependency goes and comes back", reason)];
    }
    let mut findings = Vec::new();
    for dependency in &kit.dependencies {
        findings.extend(one(dependency, subject).await);
    }
    findings
}

async fn one(dependency: &Dependency<'_>, subject: &mut Subject) -> Vec<Finding> {
    let name = &dependency.name;
    let (lost, alive, back) = (
        format!("the loss of {name} is seen"),
        format!("alive while {name} is away"),
        format!("the return of {name} is seen, and ready"),
    );
    let mut wrong = Vec::new();
    // A check that has not run yet is not up either: its loss would be seen at once.
    if let Err(reason) = watch(subject, name, true, dependency.back_within, &mut wrong).await {
        return vec![Finding::not_run(
            CASE,
            lost,
            format!("before it was lost: {reason}"),
        )];
    }
    if let Err(reason) = (dependency.lose)().await {
        // Half of it may be done.
        let finding = Finding::not_run(CASE, lost, reason);
        return vec![finding.also(&dependency.healed().await)];
    }
    let seen = watch(subject, name, false, dependency.noticed_within, &mut wrong).await;
    if let Err(reason) = seen {
        // Who never saw it go can't tell of its return, and nothing shows that it was away.
        let late = Finding::late(CASE, lost, dependency.noticed_within, reason);
        let unseen = "its loss was not seen";
        return vec![
            late.also(&dependency.healed().await),
            Finding::not_run(CASE, alive, unseen).also(&wrong),
            Finding::not_run(CASE, back, unseen),
        ];
    }
    let begun = Instant::now();
    while begun.elapsed() < AWAY {
        tokio::time::sleep(EVERY).await;
        is_alive(subject, &mut wrong).await;
    }
    let unhealed = dependency.healed().await;
    if !unhealed.is_empty() {
        return vec![
            timed(lost, seen, dependency.noticed_within),
            Finding::wrong(CASE, alive, &wrong),
            Finding::not_run(CASE, back, unhealed.join("; ")),
        ];
    }
    let mut came = watch(subject, name, true, dependency.back_within, &mut wrong).await;
    if let Ok(took) = came {
        let ready = subject.becomes("/readyz", 200, dependency.back_within).await;
        came = ready.map(|more| took + more);
    }
    vec![
        timed(lost, seen, dependency.noticed_within),
        Finding::wrong(CASE, alive, &wrong),
        timed(back, came, dependency.back_within),
    ]
}

fn timed(what: String, seen: Result<Duration, String>, most: Duration) -> Finding {
    match seen {
        Ok(took) => Finding::timed(CASE, what, took, most),
        Err(reason) => Finding::late(CASE, what, most, reason),
    }
}

/// Waits until the check of that name is up, or is not; says after what time it was.
async fn watch(
    subject: &mut Subject,
    name: &str,
    up: bool,
    limit: Duration,
    wrong: &mut Vec<String>,
) -> Result<Duration, String> {
    let begun = Instant::now();
    loop {
        is_alive(subject, wrong).await;
        let last = match health(subject, name).await {
            Ok(health) if (health == "up") == up => return Ok(begun.elapsed()),
            Ok(health) => format!("the check {name} is {health}"),
            Err(reason) => reason,
        };
        if let Some(status) = subject.ended_with() {
            return Err(format!("the process ended ({status})"));
        }
        if begun.elapsed() > limit {
            return Err(last);
        }
        tokio::time::sleep(EVERY).await;
    }
}

async fn health(subject: &Subject, name: &str) -> Result<String, String> {
    let report = subject.probe("/report").await?.json();
    let checks = report["checks"].as_array().cloned().unwrap_or_default();
    let check = checks.iter().find(|check| check["name"] == name);
    let Some(check) = check else {
        let known: Vec<_> = checks.iter().filter_map(|check| check["name"].as_str()).collect();
        return Err(format!(
            "there is no check {name}; there are: {}",
            known.join(", ")
        ));
    };
    Ok(check["health"].as_str().unwrap_or_default().to_owned())
}

async fn is_alive(subject: &Subject, wrong: &mut Vec<String>) {
    match subject.probe("/livez").await {
        Ok(answer) if answer.status == 200 => {}
        Ok(answer) => wrong.push(format!("/livez is {}: {}", answer.status, answer.body.trim())),
        Err(error) => wrong.push(error),
    }
}
