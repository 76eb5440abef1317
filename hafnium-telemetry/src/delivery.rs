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
