//! Panics in the log, with the trace they happened in.

use std::backtrace::Backtrace;
use std::panic::{self, PanicHookInfo};
use std::time::Duration;

use crate::log::Output;

/// How long a panic waits for its own log line: the process may be about to abort.
const PATIENCE: Duration = Duration::from_millis(500);

/// Logs every panic as one ERROR line of the target `hafnium::panic`, and then calls the hook that was there before.
pub(crate) fn install(output: Output) {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        log(info);
        output.flush(PATIENCE);
        before(info);
    }));
}

fn log(info: &PanicHookInfo<'_>) {
    let location = info.location().map(ToString::to_string).unwrap_or_default();
    let message = info.payload_as_str().unwrap_or("(no text)");
    let thread = std::thread::current();
    tracing::error!(
        target: "hafnium::panic",
        location,
        thread = thread.name().unwrap_or_default(),
        backtrace = %Backtrace::force_capture(),
        "panic: {message}"
    );
}
