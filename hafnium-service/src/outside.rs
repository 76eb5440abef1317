//! A panic of `main` itself, before or after [`Service::run`](crate::Service::run): told where every other end is told.

use std::panic::PanicHookInfo;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use hafnium_core::exit::Exit;

use crate::ending::Ending;

/// Whether `main` is outside of `run`, which tells of panics itself.
static OUTSIDE: AtomicBool = AtomicBool::new(false);

/// From now on a panic of the main thread is told, after whatever the hook in force says of it.
pub(crate) fn watch() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            before(panic);
            if OUTSIDE.load(Ordering::Relaxed) && thread::current().name() == Some("main") {
                tell(panic);
            }
        }));
    });
    OUTSIDE.store(true, Ordering::Relaxed);
}

/// Runs a command of the service, within which panics have an end of their own.
pub(crate) fn inside<T>(run: impl FnOnce() -> T) -> T {
    OUTSIDE.store(false, Ordering::Relaxed);
    let done = run();
    OUTSIDE.store(true, Ordering::Relaxed);
    done
}

fn tell(panic: &PanicHookInfo<'_>) {
    let text = panic.payload_as_str().unwrap_or("without a message");
    // The runtime of the language gives the code: 101, too.
    let _ = Ending::new(Exit::Panic, format!("main panicked: {text}")).conclude();
}
