//! The breakers: which dependencies are not called at present, and why.

use super::markup::Markup;
use super::section;
use super::table::{Cell, Tone, table};
use super::time::spoken;
use crate::admin::Admin;
use crate::resilience::BreakerState;
use crate::resilience::breaker::BreakerReport;

const COLUMNS: [&str; 5] = ["Breaker", "State", "For", "Calls seen", "Opened so far"];

pub(super) fn write(page: &mut Markup, admin: &Admin) {
    let breakers = admin.cx.breakers().report();
    section(page, "breakers", "Breakers", |page| {
        if breakers.is_empty() {
            page.raw("<p class=\"none\">There is none.</p>");
            return;
        }
        let rows: Vec<_> = breakers.iter().map(row).collect();
        table(
            page,
            "Calls that are held back while they would fail",
            &COLUMNS,
            &rows,
        );
    });
}

fn row(breaker: &BreakerReport) -> Vec<Cell> {
    let tone = match breaker.state {
        BreakerState::Closed => Tone::Good,
        BreakerState::HalfOpen => Tone::Worn,
        BreakerState::Open => Tone::Bad,
    };
    let BreakerReport {
        calls,
        failures,
        slow,
        ..
    } = breaker;
    vec![
        Cell::text(&*breaker.name),
        Cell::state(tone, breaker.state.as_str()),
        Cell::text(spoken(breaker.since)),
        Cell::text(format!("{calls}, {failures} failed, {slow} slow")),
        Cell::text(breaker.opened.to_string()),
    ]
}
