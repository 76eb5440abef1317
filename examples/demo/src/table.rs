//! The one table at the end.

use std::fmt::Write as _;
use std::time::Duration;

use crate::accounts::Totals;

/// What one fault did.
pub(crate) struct Fault {
    pub(crate) name: &'static str,
    /// What shows that it happened; without it the run is red.
    pub(crate) proof: Result<String, String>,
    /// From the fault until results flowed as before.
    pub(crate) recovered: Option<Duration>,
}

/// A run, as it is told.
pub(crate) struct Report {
    pub(crate) sent: u64,
    pub(crate) send_errors: u64,
    pub(crate) totals: Totals,
    pub(crate) longest_gap: Duration,
    pub(crate) faults: Vec<Fault>,
    /// Name and exit code of each replica.
    pub(crate) exits: Vec<(String, String)>,
}

impl Report {
    /// Everything that makes the run red.
    pub(crate) fn failures(&self) -> Vec<String> {
        let mut failures = Vec::new();
        if self.totals.acknowledged == 0 {
            failures.push("no payment was acknowledged by the broker".to_owned());
        }
        let some = |ids: &[String]| ids.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
        if !self.totals.lost.is_empty() {
            failures.push(format!(
                "{} lost: {}, …",
                self.totals.lost.len(),
                some(&self.totals.lost)
            ));
        }
        if !self.totals.doubled.is_empty() {
            failures.push(format!(
                "{} doubled: {}, …",
                self.totals.doubled.len(),
                some(&self.totals.doubled)
            ));
        }
        if !self.totals.misjudged.is_empty() {
            let some = some(&self.totals.misjudged);
            failures.push(format!("{} misjudged: {some}, …", self.totals.misjudged.len()));
        }
        for fault in &self.faults {
            match (&fault.proof, fault.recovered) {
                (Err(reason), _) => failures.push(format!("{}: not proven: {reason}", fault.name)),
                (Ok(_), None) => failures.push(format!("{}: results did not flow again", fault.name)),
                (Ok(_), Some(_)) => {}
            }
        }
        for (name, exit) in self.exits.iter().filter(|(_, exit)| exit != "0") {
            failures.push(format!("{name} exited with {exit}"));
        }
        failures
    }

    /// The table.
    pub(crate) fn table(&self) -> String {
        let mut text = String::new();
        let totals = &self.totals;
        let mut row = |name: &str, value: String| {
            let _ = writeln!(text, "| {name:<34} | {value:<62} |");
        };
        row("payments", "value".into());
        row(&"-".repeat(34), "-".repeat(62));
        row("sent", self.sent.to_string());
        row("refused by the broker", self.send_errors.to_string());
        row("acknowledged by the broker", totals.acknowledged.to_string());
        row("scored", totals.scored.to_string());
        row("dead or malformed", totals.dead.to_string());
        row("lost", totals.lost.len().to_string());
        row("doubled (effects in Postgres)", totals.doubled.len().to_string());
        row(
            "good but dead, or bad but scored",
            totals.misjudged.len().to_string(),
        );
        row("repeated ids in risk-scores", totals.repeated.to_string());
        row(
            "longest gap between results",
            format!("{} ms", self.longest_gap.as_millis()),
        );
        for fault in &self.faults {
            let recovered = match fault.recovered {
                Some(time) => format!("{} ms", time.as_millis()),
                None => "never".to_owned(),
            };
            row(&format!("{}: recovered", fault.name), recovered);
            match &fault.proof {
                Ok(proof) => row(&format!("{}: proof", fault.name), proof.clone()),
                Err(reason) => row(&format!("{}: NOT PROVEN", fault.name), reason.clone()),
            }
        }
        for (name, exit) in &self.exits {
            row(&format!("exit code of {name}"), exit.clone());
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        Report {
            sent: 1,
            send_errors: 0,
            totals: Totals {
                acknowledged: 1,
                scored: 1,
                dead: 0,
                lost: vec![],
                doubled: vec![],
                misjudged: vec![],
                repeated: 0,
            },
            longest_gap: Duration::ZERO,
            faults: vec![Fault {
                name: "redis",
                proof: Ok("p".into()),
                recovered: Some(Duration::ZERO),
            }],
            exits: vec![("a".into(), "0".into())],
        }
    }

    #[test]
    fn a_run_is_green_only_with_payments_proofs_recoveries_and_clean_exits() {
        assert!(report().failures().is_empty());
        let broken: [fn(&mut Report); 7] = [
            |report| report.totals.acknowledged = 0,
            |report| report.totals.lost.push("x".into()),
            |report| report.totals.doubled.push("x".into()),
            |report| report.totals.misjudged.push("x".into()),
            |report| report.faults[0].proof = Err("not seen".into()),
            |report| report.faults[0].recovered = None,
            |report| report.exits[0].1 = "75".into(),
        ];
        for break_it in broken {
            let mut report = report();
            break_it(&mut report);
            assert_eq!(report.failures().len(), 1);
        }
    }
}
