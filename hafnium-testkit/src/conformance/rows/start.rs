//! From exec to ready.

use std::time::Duration;

use crate::conformance::Conformance;
use crate::conformance::ask::ask;
use crate::conformance::report::{Case, Finding, Report};
use crate::conformance::subject::Subject;

/// A process that does not say within this time that it lives is restarted by nobody's default, but by many a team's.
const ALIVE: Duration = Duration::from_secs(5);

/// # Errors
/// Why the service is not ready.
pub(super) async fn start(
    kit: &Conformance<'_>,
    subject: &mut Subject,
    report: &mut Report,
) -> Result<(), String> {
    let alive = subject.becomes("/livez", 200, ALIVE).await;
    let ready = match &alive {
        Ok(_) => subject.becomes("/readyz", 200, kit.ready_within).await,
        Err(reason) => Err(reason.clone()),
    };
    let took = subject.begun.elapsed();
    if !kit.declared_out(Case::Start, report) {
        report.add(vec![match alive {
            Ok(took) => Finding::timed(Case::Start, "exec to alive", took, ALIVE),
            Err(reason) => Finding::late(Case::Start, "exec to alive", ALIVE, reason),
        }]);
        report.add(vec![match &ready {
            Ok(_) => Finding::timed(Case::Start, "exec to ready", took, kit.ready_within),
            Err(reason) => Finding::late(Case::Start, "exec to ready", kit.ready_within, reason),
        }]);
        if ready.is_ok() {
            report.add(vec![routes(kit, subject).await]);
        }
    }
    ready.map(drop)
}

async fn routes(kit: &Conformance<'_>, subject: &Subject) -> Finding {
    let mut wrong = Vec::new();
    let default = ["/".to_owned()];
    let paths = if kit.routes.is_empty() {
        &default[..]
    } else {
        &kit.routes
    };
    for path in paths {
        match ask(subject.port, path, &[]).await {
            Ok(answer) if (200..300).contains(&answer.status) => {}
            Ok(answer) => wrong.push(format!("{path} is {}", answer.status)),
            Err(error) => wrong.push(format!("{path}: {error}")),
        }
    }
    Finding::wrong(Case::Start, "every route answers 2xx once ready", &wrong)
}
