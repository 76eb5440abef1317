//! What was recorded last arrives, also where one thread has to do it all.

use rustix::process::Signal;

use crate::conformance::Conformance;
use crate::conformance::ask::ask;
use crate::conformance::report::{Case, Finding};
use crate::conformance::subject::{Subject, told};
use crate::otlp::Collector;

const CASE: Case = Case::Flush;
const WORKERS: &str = "runtime.workers";
/// The trace of the last request before the signal.
const TRACE: [u8; 16] = *b"\x4b\xf9\x2f\x35\x77\xb3\x4d\xa6\xa3\xce\x92\x9d\x0e\x0e\x47\x36";
const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

pub(in crate::conformance) async fn flush(kit: &Conformance<'_>) -> Vec<Finding> {
    let what = "one worker: the span of the last request arrives";
    let collector = match Collector::start().await {
        Ok(collector) => collector,
        Err(error) => return vec![Finding::not_run(CASE, what, error.to_string())],
    };
    let endpoint = collector.endpoint();
    let variables = [
        ("HAFNIUM__RUNTIME__WORKERS", "1"),
        ("HAFNIUM__TELEMETRY__SAMPLE_RATIO", "100%"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        ("HAFNIUM__SHUTDOWN__DRAIN_DELAY", "0s"),
    ];
    let asked = async {
        let subject = kit.ready(&variables).await?;
        one_worker(&subject).await?;
        let answer = ask(subject.port, kit.path(), &[("traceparent", PARENT)]).await;
        let answer = answer.map_err(|error| format!("{}: {error}", kit.path()))?;
        if !(200..300).contains(&answer.status) {
            return Err(format!("{} is {}", kit.path(), answer.status));
        }
        Ok::<_, String>(subject)
    };
    let mut subject = match asked.await {
        Ok(subject) => subject,
        Err(reason) => return vec![Finding::not_run(CASE, what, reason)],
    };
    subject.signal(Signal::TERM);
    match subject.ends(kit.grace).await {
        Ok((status, took)) if status.code() == Some(0) => {
            let missing = match collector.holds(&TRACE) {
                true => Vec::new(),
                false => vec!["no export holds its trace".to_owned()],
            };
            vec![
                Finding::wrong(CASE, what, &missing),
                Finding::timed(CASE, "one worker: SIGTERM to the end", took, kit.grace),
            ]
        }
        Ok((status, _)) => {
            let ended = format!("{}: {}", told(status), subject.last_words());
            vec![Finding::wrong(CASE, what, &[ended])]
        }
        Err(reason) => vec![Finding::late(CASE, what, kit.grace, reason)],
    }
}

/// By effect, as far as it shows: what was asked for is the configuration in force.
async fn one_worker(subject: &Subject) -> Result<(), String> {
    match subject.configured(WORKERS).await?.as_str() {
        "1" => Ok(()),
        other => Err(format!("{WORKERS} is {other}")),
    }
}
