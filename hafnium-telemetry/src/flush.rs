//! Waiting for several blocking things at once, with one deadline, from any runtime.

use std::thread;

use hafnium_core::{Deadline, Stopped};
use tokio::sync::oneshot;

/// A blocking part of a flush; says whether it succeeded.
pub(crate) type Work = Box<dyn FnOnce() -> bool + Send>;

/// Does all of `work` at the same time, each part on a thread of its own, and waits until `deadline` at the latest.
/// Names the parts that failed or were not done by then.
///
/// The threads are the point: on a runtime with one worker a part that blocked in a task would keep everything else
/// from running, and `spawn_blocking` may be refused while a runtime ends.
pub(crate) async fn in_parallel(work: Vec<(&'static str, Work)>, deadline: Deadline) -> Stopped {
    let begun: Vec<_> = work
        .into_iter()
        .map(|(signal, work)| {
            let (done, wait) = oneshot::channel();
            let started = thread::Builder::new()
                .name(format!("hafnium-flush-{signal}"))
                .spawn(move || {
                    // Who waited may have given up.
                    let _ = done.send(work());
                });
            (signal, started.is_ok().then_some(wait))
        })
        .collect();
    let mut late = Vec::new();
    for (signal, wait) in begun {
        let delivered = match wait {
            Some(wait) => matches!(deadline.bound("a telemetry flush", wait).await, Ok(Ok(true))),
            None => false,
        };
        if !delivered {
            late.push(signal.to_owned());
        }
    }
    if late.is_empty() {
        Stopped::Clean
    } else {
        Stopped::Incomplete(late)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn sleeping(millis: u64) -> Work {
        Box::new(move || {
            thread::sleep(Duration::from_millis(millis));
            true
        })
    }

    #[tokio::test]
    async fn the_parts_run_at_the_same_time_and_those_that_are_late_or_failed_are_named() {
        let begun = Instant::now();
        let work: Vec<(&'static str, Work)> = vec![
            ("slow", sleeping(10_000)),
            ("quick", sleeping(100)),
            ("also quick", sleeping(100)),
            ("failed", Box::new(|| false)),
        ];
        let stopped = in_parallel(work, Deadline::after(Duration::from_millis(400))).await;
        assert_eq!(stopped.stragglers(), ["slow", "failed"]);
        assert!(
            begun.elapsed() < Duration::from_millis(900),
            "{:?}",
            begun.elapsed()
        );
    }
}
