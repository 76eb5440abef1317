//! Health checks with their history, and the watchdogs.

use tokio::time::Instant;

use super::markup::Markup;
use super::section;
use super::table::{Cell, Tone, table};
use super::time::spoken;
use crate::admin::Admin;
use crate::health::{CheckReport, Health, PulseReport, Scope};

/// How many changes of a check have room.
const SHOWN: usize = 5;

pub(super) fn write(page: &mut Markup, admin: &Admin) {
    let report = admin.probes.report();
    section(page, "checks", "Checks", |page| {
        if report.checks.is_empty() {
            page.raw("<p class=\"none\">No check is registered.</p>");
        } else {
            let rows: Vec<_> = report.checks.iter().map(check).collect();
            let columns = [
                "Check",
                "Health",
                "For",
                "Reason",
                "Counts for readiness",
                "Last run",
                "History",
            ];
            table(page, "What was last seen of each check", &columns, &rows);
        }
        if !report.pulses.is_empty() {
            let rows: Vec<_> = report.pulses.iter().map(pulse).collect();
            table(
                page,
                "Loops of this process that must not stall",
                &["Loop", "State", "Last turn"],
                &rows,
            );
        }
    });
}

pub(super) fn tone(health: Health) -> Tone {
    match health {
        Health::Up => Tone::Good,
        Health::Degraded => Tone::Worn,
        Health::Down => Tone::Bad,
        Health::Unknown => Tone::Quiet,
    }
}

fn check(check: &CheckReport) -> Vec<Cell> {
    let counts = match (check.counts, check.scope) {
        (true, _) => "yes",
        (false, Scope::Shared) => "no: shared with other replicas",
        (false, Scope::Own) => "no: informational",
    };
    let last = match check.last_run {
        Some(ago) => format!("{} ago, took {}", spoken(ago), spoken(check.took)),
        None => "not yet".to_owned(),
    };
    vec![
        Cell::text(&check.name),
        Cell::state(tone(check.health), check.health.as_str()),
        Cell::text(spoken(check.since)),
        Cell::text(check.explanation()),
        Cell::text(counts),
        Cell::text(last),
        Cell::List(history(check)),
    ]
}

/// The newest first.
fn history(check: &CheckReport) -> Vec<String> {
    let now = Instant::now();
    let newest = check.history.iter().rev().take(SHOWN);
    newest
        .map(|change| {
            let ago = spoken(now.saturating_duration_since(change.at));
            let became = format!("{ago} ago: {}", change.health.as_str());
            match &change.reason {
                Some(reason) => format!("{became}, {reason}"),
                None => became,
            }
        })
        .collect()
}

fn pulse(pulse: &PulseReport) -> Vec<Cell> {
    let state = match pulse.is_alive() {
        true => Cell::state(Tone::Good, "turns"),
        false => Cell::state(Tone::Bad, "stalled"),
    };
    let last = format!(
        "{} ago, {} are allowed",
        spoken(pulse.silent),
        spoken(pulse.limit)
    );
    vec![Cell::text(&pulse.name), state, Cell::text(last)]
}
