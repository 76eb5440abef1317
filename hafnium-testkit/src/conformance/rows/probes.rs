//! Asked as a kubelet does.

use std::time::{Duration, Instant};

use crate::conformance::ask::LIMIT;
use crate::conformance::report::{Case, Finding};
use crate::conformance::subject::Subject;

/// A kubelet's 10 s.
const PERIOD: Duration = Duration::from_millis(100);
const ROUNDS: usize = 20;

pub(super) async fn probes(subject: &Subject) -> Vec<Finding> {
    let (mut wrong, mut slowest) = (Vec::new(), Duration::ZERO);
    for _ in 0..ROUNDS {
        for path in ["/livez", "/readyz", "/startupz"] {
            let begun = Instant::now();
            match subject.probe(path).await {
                Ok(answer) if answer.status == 200 => slowest = slowest.max(begun.elapsed()),
                Ok(answer) => wrong.push(format!("{path} is {}: {}", answer.status, answer.body.trim())),
                Err(error) => wrong.push(error),
            }
        }
        tokio::time::sleep(PERIOD).await;
    }
    let asked = format!("{} probes of a ready service are 200", ROUNDS * 3);
    vec![
        Finding::wrong(Case::Probes, asked, &wrong),
        Finding::timed(
            Case::Probes,
            "the slowest answer, connecting included",
            slowest,
            LIMIT,
        ),
    ]
}
