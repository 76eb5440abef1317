//! The last resort of a stop, on a thread where nothing else runs: what blocks the service's runtime, the operator's thread
//! or the thread of `main` keeps the process no longer than a stop may take.

use std::convert::Infallible;
use std::io;
use std::thread;
use std::time::Duration;

use hafnium_core::Context;
use hafnium_core::exit::Exit;
use hafnium_core::lifecycle::{self, Budget, Signals};
use hafnium_core::tasks::Tasks;
use tokio::runtime::Builder;
use tokio::sync::oneshot;

use crate::ending::{self, Ending};

/// Ends the process when a stop that was asked for has not ended it in time. Armed until it is dropped.
#[must_use]
pub(crate) struct Guard {
    _armed: oneshot::Sender<Infallible>,
}

impl Guard {
    /// Begins to watch for a stop, which may take `budget` and a second.
    pub(crate) fn arm(cx: &Context, signals: &Signals, budget: Budget) -> Result<Self, Ending> {
        let failed = |error: io::Error| Ending::new(Exit::Failure, format!("no guard of the stop: {error}"));
        let runtime = Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(failed)?;
        let (armed, disarmed) = oneshot::channel();
        // Not the context: whoever drops the last one drops what the service's own code left in it.
        let (lifecycle, tasks, signals) = (cx.lifecycle().clone(), cx.tasks().clone(), signals.clone());
        let limit = budget.total();
        let watch = move || {
            let overdue = runtime.block_on(async {
                let asked = async {
                    signals.received().await;
                };
                tokio::select! {
                    biased;
                    _ = disarmed => false,
                    () = lifecycle::overdue(&lifecycle, asked, limit) => true,
                }
            });
            if overdue {
                give_up(tasks, limit);
            }
        };
        thread::Builder::new()
            .name("guard".to_owned())
            .spawn(watch)
            .map_err(failed)?;
        Ok(Self { _armed: armed })
    }
}

/// Ends the process, after a word if it can be had.
fn give_up(tasks: Tasks, limit: Duration) {
    ending::say_at_most(move || {
        let tasks: Vec<String> = tasks.running().into_keys().collect();
        let reason = format!(
            "drain incomplete: no end {limit:?} after it was asked for, so something blocks the process; tasks not ended: {}",
            tasks.join(", ")
        );
        // Before the log, whose reader may be what blocks.
        Ending::new(Exit::Incomplete, &reason).tell();
        tracing::error!("{reason}");
    });
    #[expect(
        clippy::disallowed_methods,
        reason = "main is what does not return: there is nobody else to end the process"
    )]
    std::process::exit(i32::from(Exit::Incomplete.code()));
}
