//! How the process ends: one line of reason where a person and where an orchestrator looks for it.

use std::any::Any;
use std::convert::Infallible;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use hafnium_core::StartError;
use hafnium_core::config::ConfigError;
use hafnium_core::exit::Exit;
use hafnium_core::lifecycle::StartFailure;

use crate::setup::SetupError;

/// Where Kubernetes looks for the reason, unless the pod says otherwise (`terminationMessagePath`).
const TERMINATION_LOG: &str = "/dev/termination-log";

/// The variable for such a pod. No key of the configuration: what is told may be that there is none.
const TERMINATION_LOG_VARIABLE: &str = "HAFNIUM_TERMINATION_LOG";

/// How long telling the reason may keep the process.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// An exit code and its reason; no reason after a clean end.
#[derive(Debug)]
pub(crate) struct Ending {
    pub(crate) exit: Exit,
    pub(crate) reason: String,
    /// More than fits on a line, such as every problem of a configuration.
    pub(crate) report: String,
}

impl Ending {
    pub(crate) fn clean() -> Self {
        Self {
            exit: Exit::Clean,
            reason: String::new(),
            report: String::new(),
        }
    }

    pub(crate) fn new(exit: Exit, reason: impl ToString) -> Self {
        Self {
            exit,
            reason: reason.to_string(),
            report: String::new(),
        }
    }

    /// The service's own code panicked while it was set up.
    pub(crate) fn panicked(payload: &(dyn Any + Send)) -> Self {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
        let text = text.unwrap_or("without a message");
        Self::new(Exit::Panic, format!("the set-up panicked: {text}"))
    }

    /// Tells the reason, as long as that takes no time, and gives the exit code.
    pub(crate) fn conclude(self) -> ExitCode {
        let code = self.exit.into();
        if !self.reason.is_empty() {
            say_at_most(move || self.tell());
        }
        code
    }

    /// Tells the reason in the termination log and on stderr; blocks while a pipe there is full.
    pub(crate) fn tell(&self) {
        if !self.reason.is_empty() {
            record(&self.reason, &self.report);
            let line = Exit::line(&self.reason);
            let text = if self.report.is_empty() {
                &line
            } else {
                &self.report
            };
            // Nobody is left to tell when stderr is closed.
            let _ = writeln!(std::io::stderr(), "{}", text.trim_end());
        }
    }
}

/// Does `say` on a thread of its own, and goes on without it when it takes long: nobody may read what is said.
pub(crate) fn say_at_most(say: impl FnOnce() + Send + 'static) {
    let (saying, said) = mpsc::sync_channel::<Infallible>(1);
    let say = move || {
        let _saying = saying;
        say();
    };
    // Without a thread nothing is said: the end counts for more.
    if thread::Builder::new()
        .name("last words".to_owned())
        .spawn(say)
        .is_ok()
    {
        let _ = said.recv_timeout(LAST_WORDS);
    }
}

/// Leaves the reason where an orchestrator looks for it.
pub(crate) fn record(reason: &str, report: &str) {
    let path = std::env::var_os(TERMINATION_LOG_VARIABLE);
    let path = path.map_or_else(|| PathBuf::from(TERMINATION_LOG), PathBuf::from);
    if let Err(error) = Exit::record(&path, reason, report) {
        tracing::debug!(%error, "the termination log can't be written");
    }
}

impl From<ConfigError> for Ending {
    fn from(error: ConfigError) -> Self {
        Self {
            exit: Exit::Configuration,
            reason: error.summary(),
            report: error.to_string(),
        }
    }
}

impl From<StartError> for Ending {
    fn from(error: StartError) -> Self {
        Self::new(Exit::from(&error), error)
    }
}

impl From<StartFailure> for Ending {
    fn from(failure: StartFailure) -> Self {
        Self::new(Exit::from(&failure.error), failure)
    }
}

impl From<SetupError> for Ending {
    fn from(error: SetupError) -> Self {
        Self::new(error.exit(), format!("set-up failed: {error}"))
    }
}
