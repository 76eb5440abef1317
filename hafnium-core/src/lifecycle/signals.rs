//! The signals that stop a process, and the one that makes it read its configuration again.

use std::io;
use std::thread;

use tokio::signal::unix::{Signal as Stream, SignalKind, signal};
use tokio::sync::watch;

/// A signal that starts the drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Signal {
    /// What a platform sends to stop a process.
    Terminate,
    /// Ctrl-C.
    Interrupt,
    /// Ctrl-\.
    Quit,
}

impl Signal {
    /// The name: `SIGTERM`, `SIGINT`, `SIGQUIT`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Terminate => "SIGTERM",
            Self::Interrupt => "SIGINT",
            Self::Quit => "SIGQUIT",
        }
    }

    /// What a process that this signal ended at once exits with: 128 and its number.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Interrupt => 130,
            Self::Quit => 131,
            Self::Terminate => 143,
        }
    }
}

/// The stop signals of this process. Cheap to clone.
///
/// The first one is given to whoever waits in [`Signals::received`]; a second one ends the process at once. They are
/// followed on a thread of their own, because the second one is sent just when the service's runtime is stuck.
/// SIGHUP stops nothing; who wants to know of it takes [`Signals::hangups`].
#[derive(Debug, Clone)]
pub struct Signals {
    first: watch::Receiver<Option<Signal>>,
    hangups: watch::Receiver<u64>,
}

/// The SIGHUPs of this process, each seen once by every clone.
#[derive(Debug, Clone)]
pub struct Hangups {
    count: watch::Receiver<u64>,
}

impl Hangups {
    /// Hangups that never come, for tests and for programs without signals.
    pub fn none() -> Self {
        Self {
            count: watch::Sender::new(0).subscribe(),
        }
    }

    /// Hangups that something else counts up, such as a test.
    pub fn of(count: watch::Receiver<u64>) -> Self {
        Self { count }
    }

    /// Waits for a SIGHUP since the last call; several in between count as one.
    ///
    /// Cancel-safe.
    pub async fn next(&mut self) {
        if self.count.changed().await.is_err() {
            // The thread is gone, which only the end of the process does.
            std::future::pending::<()>().await;
        }
    }
}

impl Signals {
    /// Follows SIGTERM, SIGINT, SIGQUIT and SIGHUP from now on; call it once per process.
    ///
    /// # Errors
    /// When the handlers can't be installed or the thread can't be started.
    pub fn listen() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()?;
        let mut streams = {
            let _entered = runtime.enter();
            Streams::install()?
        };
        let (sender, first) = watch::channel(None);
        let (hung_up, hangups) = watch::channel(0);
        thread::Builder::new().name("signals".to_owned()).spawn(move || {
            runtime.block_on(async {
                let signal = streams.next(&hung_up).await;
                tracing::info!(
                    signal = signal.as_str(),
                    "stop asked for; a second signal ends the process at once"
                );
                sender.send_replace(Some(signal));
                let signal = streams.next(&hung_up).await;
                tracing::warn!(signal = signal.as_str(), "second signal, ending at once");
                #[expect(clippy::disallowed_methods, reason = "who asks twice wants no drain")]
                std::process::exit(i32::from(signal.exit_code()));
            });
        })?;
        Ok(Self { first, hangups })
    }

    /// The SIGHUPs since [`Signals::listen`]; those that came before this call count as one.
    pub fn hangups(&self) -> Hangups {
        Hangups {
            count: self.hangups.clone(),
        }
    }

    /// Waits for the first signal; returns at once when it already came.
    ///
    /// Cancel-safe.
    pub async fn received(&self) -> Signal {
        let mut first = self.first.clone();
        loop {
            if let Some(signal) = *first.borrow_and_update() {
                return signal;
            }
            if first.changed().await.is_err() {
                // The thread is gone, which only the end of the process does.
                std::future::pending::<()>().await;
            }
        }
    }
}

struct Streams {
    terminate: Stream,
    interrupt: Stream,
    quit: Stream,
    hangup: Stream,
}

impl Streams {
    fn install() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// The next signal that stops; those that do not are passed on.
    async fn next(&mut self, hung_up: &watch::Sender<u64>) -> Signal {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return Signal::Terminate,
                _ = self.interrupt.recv() => return Signal::Interrupt,
                _ = self.quit.recv() => return Signal::Quit,
                // Its default action would end the process without a drain.
                _ = self.hangup.recv() => hung_up.send_modify(|count| *count = count.wrapping_add(1)),
            }
        }
    }
}
