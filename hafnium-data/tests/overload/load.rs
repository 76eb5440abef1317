//! Requests that arrive at their times, whatever becomes of those before.

use std::collections::BTreeMap;
use std::time::Duration;

use hafnium_core::Classify;
use hafnium_data::postgres::{Postgres, classify};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// What became of the requests that arrived within one second.
#[derive(Clone, Debug, Default)]
pub(crate) struct Second {
    pub(crate) arrived: u64,
    pub(crate) done: u64,
    /// By code.
    pub(crate) failed: BTreeMap<&'static str, u64>,
}

/// Runs `statement` so many times in each second, evenly. Each ends by its own deadline.
pub(crate) async fn run(
    postgres: &Postgres,
    statement: &'static str,
    rates: &[u32],
    deadline: Duration,
) -> Vec<Second> {
    let began = Instant::now();
    let mut requests = JoinSet::new();
    for (second, rate) in rates.iter().copied().enumerate() {
        for number in 0..rate {
            let arrival = began + Duration::from_secs(second as u64) + Duration::from_secs(1) * number / rate;
            tokio::time::sleep_until(arrival).await;
            let view = postgres.within(deadline);
            requests.spawn(async move {
                let result = sqlx::query(statement).execute(&view).await;
                (second, result.err().map(|error| classify(&error).code()))
            });
        }
    }
    let mut seconds = vec![Second::default(); rates.len()];
    while let Some(ended) = requests.join_next().await {
        let (second, failed) = ended.unwrap();
        let second = &mut seconds[second];
        second.arrived += 1;
        match failed {
            None => second.done += 1,
            Some(code) => *second.failed.entry(code).or_default() += 1,
        }
    }
    for (number, second) in seconds.iter().enumerate() {
        println!(
            "second {number}: {} arrived, {} done, failed {:?}",
            second.arrived, second.done, second.failed
        );
    }
    seconds
}
