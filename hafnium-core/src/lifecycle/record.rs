//! The state of the service as metrics.

use tokio::time::Instant;

use super::state::{State, Watch};
use crate::metrics::Metrics;
use crate::tasks::Tasks;

const STATES: [State; 5] = [
    State::Starting,
    State::Ready,
    State::Draining,
    State::Stopping,
    State::Stopped,
];

/// Records `hafnium.lifecycle.state` (1 for the present state, 0 for the others) from now on, and
/// `hafnium.start.duration`, the time from `begun` to the moment the service was ready, which is also logged.
///
/// Must be called within a tokio runtime.
pub fn record(watch: Watch, begun: Instant, tasks: &Tasks, metrics: &Metrics) {
    let state = metrics.gauge(
        "hafnium.lifecycle.state",
        "{state}",
        "1 for the state the service is in, 0 for the others",
    );
    let handles = STATES.map(|one| (one, state.with(&[("state", one.as_str())])));
    let start = metrics.gauge(
        "hafnium.start.duration",
        "s",
        "Time from the start of the process, its exec, until it was ready",
    );
    tasks.spawn("lifecycle", async move {
        let mut next = Some(State::Starting);
        while let Some(wanted) = next {
            watch.reached(wanted).await;
            let present = watch.state();
            for (one, handle) in &handles {
                handle.set(if *one == present { 1.0 } else { 0.0 });
            }
            if present == State::Ready {
                let took = begun.elapsed();
                start.set(took.as_secs_f64());
                tracing::info!(?took, "ready");
            }
            next = STATES.into_iter().find(|one| *one > present);
        }
    });
}
