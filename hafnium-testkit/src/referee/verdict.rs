//! What the run was worth.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use super::attempt::{Attempt, Ending};
use super::figures::Row;

/// The account of a run: what clients were told against what the servers hold.
#[derive(Clone, Debug, serde::Serialize)]
#[non_exhaustive]
pub struct Verdict {
    /// Distinct ids that were attempted.
    pub attempted: u64,
    /// Distinct ids of which the client was told: done.
    pub acknowledged: u64,
    /// Distinct ids that the servers hold.
    pub applied: u64,
    /// Distinct ids of which the client was only ever told: no effect.
    pub not_run: u64,
    /// Distinct ids never acknowledged, whose effect the client could not know.
    pub unknown: u64,
    /// Acknowledged, yet not applied.
    pub lost: Vec<u64>,
    /// Applied more than once.
    pub doubled: Vec<u64>,
    /// Applied although every attempt was said to be without effect.
    pub denied: Vec<u64>,
    /// Applied although nobody attempted it.
    pub strange: Vec<u64>,
    /// Reads that missed what was acknowledged before they began. What is lost in the end no read could have found: it is
    /// counted there.
    pub stale: u64,
    /// The longest any attempt waited for its ending, in seconds.
    #[serde(rename = "longest_wait_s", serialize_with = "seconds")]
    pub longest_wait: Duration,
}

#[derive(Default)]
struct Told {
    acknowledged: bool,
    unknown: bool,
    count: u64,
}

impl Verdict {
    pub(crate) fn of(
        attempts: &[Attempt],
        missed: &[u64],
        applied: impl IntoIterator<Item = (u64, u64)>,
    ) -> Verdict {
        let mut told: HashMap<u64, Told> = HashMap::new();
        for attempt in attempts {
            let entry = told.entry(attempt.id).or_default();
            entry.acknowledged |= attempt.ending == Some(Ending::Acknowledged);
            entry.unknown |= !matches!(attempt.ending, Some(Ending::Acknowledged | Ending::NotRun));
        }
        let mut strange = HashMap::new();
        for (id, count) in applied {
            match told.get_mut(&id) {
                Some(entry) => entry.count += count,
                None => *strange.entry(id).or_default() += count,
            }
        }
        let ids = |wanted: &dyn Fn(&Told) -> bool| {
            let mut ids: Vec<_> = told
                .iter()
                .filter(|(_, entry)| wanted(entry))
                .map(|(id, _)| *id)
                .collect();
            ids.sort_unstable();
            ids
        };
        let count =
            |wanted: &dyn Fn(&Told) -> bool| told.values().filter(|entry| wanted(entry)).count() as u64;
        let mut doubled = ids(&|entry| entry.count > 1);
        doubled.extend(strange.iter().filter(|(_, count)| **count > 1).map(|(id, _)| *id));
        let mut strange: Vec<_> = strange
            .into_iter()
            .filter(|(_, count): &(u64, u64)| *count > 0)
            .map(|(id, _)| id)
            .collect();
        strange.sort_unstable();
        let lost = ids(&|entry| entry.acknowledged && entry.count == 0);
        let stale = missed.iter().filter(|id| lost.binary_search(id).is_err());
        Verdict {
            stale: stale.count() as u64,
            attempted: told.len() as u64,
            acknowledged: count(&|entry| entry.acknowledged),
            applied: count(&|entry| entry.count > 0) + strange.len() as u64,
            not_run: count(&|entry| !entry.acknowledged && !entry.unknown),
            unknown: count(&|entry| !entry.acknowledged && entry.unknown),
            lost,
            denied: ids(&|entry| !entry.acknowledged && !entry.unknown && entry.count > 0),
            doubled,
            strange,
            longest_wait: attempts.iter().map(Attempt::took).max().unwrap_or_default(),
        }
    }

    /// Why the run failed, one line per reason; empty when it did not. A run that acknowledged nothing has failed:
    /// nothing can be lost where nothing was done.
    pub fn complaints(&self) -> Vec<String> {
        let mut complaints = Vec::new();
        if self.acknowledged == 0 {
            complaints.push(format!(
                "no write was acknowledged ({} attempted)",
                self.attempted
            ));
        }
        let named = [
            (&self.lost, "acknowledged and lost"),
            (&self.doubled, "applied more than once"),
            (&self.denied, "said to be without effect, yet applied"),
            (&self.strange, "applied, yet never attempted"),
        ];
        for (ids, what) in named {
            if !ids.is_empty() {
                complaints.push(format!("{} {what}: {}", ids.len(), listed(ids)));
            }
        }
        if self.stale > 0 {
            complaints.push(format!("{} stale reads", self.stale));
        }
        complaints
    }

    /// The same as rows of a suite's figures: what must not happen has a target of none, the rest is for information.
    pub fn rows(&self, case: &str) -> Vec<Row> {
        let row = |name: &str, value: f64, unit: &str| Row::new(name, case, Some(value), unit);
        let none = |name: &str, count: usize| row(name, count as f64, "ids").exactly(0.0);
        vec![
            row("attempted", self.attempted as f64, "ids"),
            row("acknowledged", self.acknowledged as f64, "ids").at_least(1.0),
            row("applied", self.applied as f64, "ids"),
            row("not_run", self.not_run as f64, "ids"),
            row("unknown", self.unknown as f64, "ids"),
            none("lost", self.lost.len()),
            none("doubled", self.doubled.len()),
            none("denied", self.denied.len()),
            none("strange", self.strange.len()),
            row("stale", self.stale as f64, "reads").exactly(0.0),
            row("longest_wait", self.longest_wait.as_secs_f64() * 1000.0, "ms"),
        ]
    }

    /// Whether any guarantee was broken, or nothing was shown.
    pub fn is_red(&self) -> bool {
        !self.complaints().is_empty()
    }
}

/// The first ten.
fn listed(ids: &[u64]) -> String {
    let shown: Vec<_> = ids.iter().take(10).map(u64::to_string).collect();
    let more = if ids.len() > 10 { ", .." } else { "" };
    format!("{}{more}", shown.join(", "))
}

fn seconds<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

/// One table, and under it what is wrong.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = [
            ("attempted", self.attempted.to_string()),
            ("acknowledged", self.acknowledged.to_string()),
            ("applied", self.applied.to_string()),
            ("not run", self.not_run.to_string()),
            ("unknown", self.unknown.to_string()),
            ("lost", self.lost.len().to_string()),
            ("doubled", self.doubled.len().to_string()),
            ("denied", self.denied.len().to_string()),
            ("strange", self.strange.len().to_string()),
            ("stale", self.stale.to_string()),
            (
                "longest wait",
                format!("{:.1} ms", self.longest_wait.as_secs_f64() * 1000.0),
            ),
        ];
        for (name, value) in rows {
            writeln!(f, "{name:<14}{value:>12}")?;
        }
        for complaint in self.complaints() {
            writeln!(f, "RED: {complaint}")?;
        }
        Ok(())
    }
}
