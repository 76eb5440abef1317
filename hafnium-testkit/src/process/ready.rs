//! Waits that say what they waited for.

use std::future::Future;
use std::time::{Duration, Instant};

use super::running::Process;
use crate::Error;

/// How often a wait asks again.
const EVERY: Duration = Duration::from_millis(10);

/// Waits until `probe` answers `Ok`; its `Err` is what it saw instead, which the error shows when time is up.
///
/// A probe is cut off at the deadline, so it may hang. Cancel-safe as far as `probe` is.
///
/// # Errors
/// [`Error::NotReady`] after `limit`.
pub async fn wait_until<T, F, Fut>(what: &str, limit: Duration, probe: F) -> Result<T, Error>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, String>>,
{
    await_ready(&[], what, limit, probe).await
}

/// As [`wait_until`], for what `processes` shall become ready for: ends early when one of them ends.
///
/// # Errors
/// [`Error::NotReady`] after `limit`, with the tail of each log; [`Error::Ended`] when a process ended.
pub async fn await_ready<T, F, Fut>(
    processes: &[&Process],
    what: &str,
    limit: Duration,
    mut probe: F,
) -> Result<T, Error>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, String>>,
{
    let start = Instant::now();
    let mut last = String::from("none");
    loop {
        let left = limit.saturating_sub(start.elapsed());
        match tokio::time::timeout(left, probe()).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(seen)) => last = seen,
            Err(_) if last == "none" => last = "silence".into(),
            Err(_) => {}
        }
        for process in processes {
            if let Some(status) = process.exit_status() {
                let (name, log) = (process.name().to_owned(), process.log_tail());
                return Err(Error::Ended {
                    name,
                    status: status.to_string(),
                    log,
                });
            }
        }
        if start.elapsed() >= limit {
            let log: Vec<_> = processes
                .iter()
                .map(|p| format!("-- {} --\n{}", p.name(), p.log_tail()))
                .collect();
            return Err(Error::NotReady {
                what: what.into(),
                waited: start.elapsed(),
                last,
                log: log.join("\n"),
            });
        }
        tokio::time::sleep(EVERY).await;
    }
}
