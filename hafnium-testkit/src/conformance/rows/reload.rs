//! A key that may change while the service runs, mounted as a ConfigMap is.

use std::time::Duration;

use rustix::process::Signal;

use super::life::Mounts;
use super::{failures, load};
use crate::conformance::Conformance;
use crate::conformance::report::{Case, Finding};
use crate::conformance::subject::Subject;
use crate::load::Kind;

const CASE: Case = Case::Reload;
/// A key that every service has, and values that no one configures by chance.
pub(super) const KEY: &str = "http.idle_timeout";
pub(super) const VALUES: [&str; 3] = ["71s", "72s", "73s"];

/// A kubelet takes up to a minute to bring a change; the service shall not add much.
const BY_FILE: Duration = Duration::from_secs(15);
const BY_SIGNAL: Duration = Duration::from_secs(3);

pub(super) async fn reload(
    kit: &Conformance<'_>,
    subject: &mut Subject,
    mounts: &mut Mounts,
) -> Vec<Finding> {
    let Some(volume) = &mut mounts.config else {
        return vec![Finding::not_run(
            CASE,
            "a mounted key changes",
            "nothing is mounted",
        )];
    };
    let load = load(kit, subject, Kind::Http1Kept);
    let mut findings = Vec::new();
    for (value, signal, limit, what) in [
        (VALUES[1], None, BY_FILE, "a changed file is in force"),
        (
            VALUES[2],
            Some(Signal::HUP),
            BY_SIGNAL,
            "SIGHUP: a changed file is in force",
        ),
    ] {
        if let Err(error) = volume.swap(&[(KEY, value)]) {
            findings.push(Finding::not_run(CASE, what, error.to_string()));
            continue;
        }
        if let Some(signal) = signal {
            subject.signal(signal);
        }
        let shown = subject.until(limit, async |subject| shows(subject, value).await);
        findings.push(match shown.await {
            Ok(took) => Finding::timed(CASE, what, took, limit),
            Err(reason) => Finding::late(CASE, what, limit, reason),
        });
    }
    let wrong = failures(&load.finish().await);
    findings.push(Finding::wrong(CASE, "requests that failed meanwhile", &wrong));
    findings
}

/// By effect: the configuration in force has the value.
async fn shows(subject: &Subject, value: &str) -> Result<(), String> {
    match subject.configured(KEY).await? {
        shown if shown == value => Ok(()),
        shown => Err(format!("{KEY} is {shown}")),
    }
}
