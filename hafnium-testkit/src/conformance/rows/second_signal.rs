//! Who asks twice does not want to wait.

use std::time::Duration;

use rustix::process::Signal;

use crate::conformance::Conformance;
use crate::conformance::report::{Case, Finding};
use crate::conformance::subject::told;

const CASE: Case = Case::SecondSignal;
const AT_ONCE: Duration = Duration::from_secs(1);

pub(in crate::conformance) async fn second_signal(kit: &Conformance<'_>) -> Vec<Finding> {
    let what = "the second SIGTERM ends it at once, with 143";
    let drains = async {
        let mut subject = kit.ready(&[("HAFNIUM__SHUTDOWN__DRAIN_DELAY", "5s")]).await?;
        subject.signal(Signal::TERM);
        subject.becomes("/readyz", 503, AT_ONCE).await?;
        Ok::<_, String>(subject)
    };
    let mut subject = match drains.await {
        Ok(subject) => subject,
        Err(reason) => return vec![Finding::not_run(CASE, what, reason)],
    };
    subject.signal(Signal::TERM);
    vec![match subject.ends(AT_ONCE).await {
        Ok((status, took)) if status.code() == Some(143) => Finding::timed(CASE, what, took, AT_ONCE),
        Ok((status, _)) => Finding::wrong(CASE, what, &[told(status)]),
        Err(reason) => Finding::late(CASE, what, AT_ONCE, reason),
    }]
}
