//! A secret that is rotated, mounted as a Secret is: the token of the operator listener, which every service has.

use std::time::Duration;

use super::life::Mounts;
use super::{failures, load};
use crate::conformance::Conformance;
use crate::conformance::ask::{Answer, ask};
use crate::conformance::report::{Case, Finding};
use crate::conformance::subject::Subject;
use crate::load::Kind;

const CASE: Case = Case::Rotation;
pub(super) const FILE: &str = "admin-token";
pub(super) const TOKENS: [&str; 2] = ["first-of-two-tokens-4711", "second-of-two-tokens-0815"];
const LIMIT: Duration = Duration::from_secs(30);

pub(super) async fn rotation(
    kit: &Conformance<'_>,
    subject: &mut Subject,
    mounts: &mut Mounts,
) -> Vec<Finding> {
    let what = "a swapped secret is in force";
    let Some(volume) = &mut mounts.secret else {
        return vec![Finding::not_run(CASE, what, "nothing is mounted")];
    };
    if let Err(reason) = admitted(subject, TOKENS[0]).await {
        return vec![Finding::not_run(CASE, what, format!("the first token: {reason}"))];
    }
    let load = load(kit, subject, Kind::Http1Kept);
    if let Err(error) = volume.swap(&[(FILE, TOKENS[1])]) {
        return vec![Finding::not_run(CASE, what, error.to_string())];
    }
    let taken = subject.until(LIMIT, async |subject| admitted(subject, TOKENS[1]).await);
    let mut findings = vec![match taken.await {
        Ok(took) => Finding::timed(CASE, what, took, LIMIT),
        Err(reason) => Finding::late(CASE, what, LIMIT, reason),
    }];
    // Any other answer shows nothing of the token.
    let old = match asked(subject, TOKENS[0]).await {
        Ok(answer) if matches!(answer.status, 401 | 403) => None,
        Ok(answer) if answer.status == 200 => Some("it still lets its holder in".to_owned()),
        Ok(answer) => Some(format!("/config is {}: {}", answer.status, answer.body.trim())),
        Err(error) => Some(error.to_string()),
    };
    findings.push(Finding::wrong(
        CASE,
        "the secret before is refused",
        old.as_slice(),
    ));
    let wrong = failures(&load.finish().await);
    findings.push(Finding::wrong(CASE, "requests that failed meanwhile", &wrong));
    findings
}

/// Whether the token lets a caller of another host in.
async fn admitted(subject: &Subject, token: &str) -> Result<(), String> {
    match asked(subject, token).await {
        Ok(answer) if answer.status == 200 => Ok(()),
        Ok(answer) => Err(format!("/config is {}: {}", answer.status, answer.body.trim())),
        Err(error) => Err(error.to_string()),
    }
}

/// Asked with the token as a caller of another host. The header of a proxy makes this one such a caller.
async fn asked(subject: &Subject, token: &str) -> std::io::Result<Answer> {
    let bearer = format!("Bearer {token}");
    let headers = [
        ("x-forwarded-for", "192.0.2.1"),
        ("authorization", bearer.as_str()),
    ];
    ask(subject.admin, "/config", &headers).await
}
