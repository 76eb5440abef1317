//! The cases of the outcome table, how they run, and what they run in.

pub(crate) mod capacity;
pub(crate) mod commit;
pub(crate) mod given_up;
pub(crate) mod logins;
pub(crate) mod losses;
mod peer;
mod place;
pub(crate) mod procedures;
pub(crate) mod roles;
pub(crate) mod sessions;
pub(crate) mod stale;
pub(crate) mod statements;
pub(crate) mod table;
pub(crate) mod timeouts;

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::time::Duration;

use futures_util::FutureExt;

/// Who made the signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Made {
    /// A real server, by its own cause.
    Server,
    /// A real server, by `RAISE` in a function: the answer and the state of the session are real, the cause is not.
    /// With the reason.
    Raised(&'static str),
    /// What lies between: nobody listens, or a proxy cuts or swallows.
    Network,
    /// A scripted peer before a real server, with the reason.
    Peer(&'static str),
}

impl std::fmt::Display for Made {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Server => f.write_str("server"),
            Self::Raised(reason) => write!(f, "server, raised: {reason}"),
            Self::Network => f.write_str("network"),
            Self::Peer(reason) => write!(f, "peer: {reason}"),
        }
    }
}

type Run = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = ()>>>>;

/// One line of the table, and the proof of it.
pub(crate) struct Case {
    /// The signals it shows, as the rows of the table name them.
    pub(crate) signals: &'static str,
    pub(crate) when: &'static str,
    pub(crate) outcome: &'static str,
    pub(crate) action: &'static str,
    pub(crate) made: Made,
    run: Run,
}

impl Case {
    pub(crate) fn new<F, Fut>(
        signals: &'static str,
        when: &'static str,
        outcome: &'static str,
        action: &'static str,
        made: Made,
        run: F,
    ) -> Self
    where
        F: FnOnce() -> Fut + 'static,
        Fut: Future<Output = ()> + 'static,
    {
        Self {
            signals,
            when,
            outcome,
            action,
            made,
            run: Box::new(|| Box::pin(run())),
        }
    }

    /// Its cells but for the signal.
    pub(crate) fn cells(&self) -> String {
        format!(
            "{} | {} | {} | {}",
            self.when, self.outcome, self.action, self.made
        )
    }
}

/// Longer than any case takes on a busy machine.
const LIMIT: Duration = Duration::from_secs(90);

/// Runs the cases one after another and prints their lines; panics at the end if one failed.
pub(crate) async fn run(cases: Vec<Case>) {
    let mut failed = Vec::new();
    for case in cases {
        let line = format!("{} | {}", case.signals, case.cells());
        let begun = std::time::Instant::now();
        let ended = tokio::time::timeout(LIMIT, AssertUnwindSafe((case.run)()).catch_unwind()).await;
        let verdict = match ended {
            Ok(Ok(())) => "holds",
            Ok(Err(_)) => "FAILED",
            Err(_) => "TOO LONG",
        };
        println!("{verdict} in {:.1?} | {line}", begun.elapsed());
        if verdict != "holds" {
            failed.push(line);
        }
    }
    assert!(failed.is_empty(), "failed:\n{}", failed.join("\n"));
}
