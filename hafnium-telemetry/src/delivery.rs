//! What became of what was exported: counted, and said once per change instead of once per batch.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use hafnium_core::metrics::Counter;
use opentelemetry_sdk::error::OTelSdkResult;

/// The state of the way to the collector, for one signal.
#[derive(Debug)]
pub(crate) struct Delivery {
    what: &'static str,
    dropped: OnceLock<Counter>,
    failing: AtomicBool,
    lost: AtomicU64,
}

impl Delivery {
    /// For `what`, such as `spans`.
    pub(crate) fn new(what: &'static str) -> Self {
        Self {
            what,
            dropped: OnceLock::new(),
            failing: AtomicBool::new(false),
            lost: AtomicU64::new(0),
        }
    }

    /// Counts losses in `dropped`. Said afterwards, because the exporter of metrics is made before any instrument.
    pub(crate) fn count_in(&self, dropped: Counter) {
        // A second counter is not wanted anywhere.
        let _ = self.dropped.set(dropped);
    }

    /// Notes that the export of `count` items ended so.
    pub(crate) fn note(&self, count: u64, result: &OTelSdkResult) {
        match result {
            Ok(()) => {
                if self.failing.swap(false, Ordering::Relaxed) {
                    let lost = self.lost.swap(0, Ordering::Relaxed);
                    tracing::info!(
                        what = self.what,
                        lost,
                        "the telemetry collector takes exports again"
                    );
                }
            }
            Err(error) => {
                if let Some(dropped) = self.dropped.get() {
                    dropped.add(count);
                }
                self.lost.fetch_add(count, Ordering::Relaxed);
                if !self.failing.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        what = self.what,
                        %error,
                        "the telemetry collector takes no exports: they are dropped and counted until it does"
                    );
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use opentelemetry_sdk::error::OTelSdkError;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_collector_that_is_gone_is_said_once_and_so_is_its_return() {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            let delivery = Delivery::new("spans");
            let failed = || Err(OTelSdkError::InternalFailure("refused".to_owned()));
            for result in [Ok(()), failed(), failed(), failed(), Ok(()), Ok(())] {
                delivery.note(100, &result);
            }
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert!(
            lines[0].contains("takes no exports") && lines[0].contains("refused"),
            "{text}"
        );
        assert!(
            lines[1].contains("takes exports again") && lines[1].contains("300"),
            "{text}"
        );
    }
}
