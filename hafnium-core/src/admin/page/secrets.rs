//! The age of secrets, and whether their sources answer. Never a value.

use super::markup::Markup;
use super::section;
use super::table::{Cell, Tone, table};
use super::time::spoken;
use crate::admin::Admin;
use crate::secret::{SecretReport, SecretState};

const COLUMNS: [&str; 7] = [
    "Secret",
    "State",
    "Age",
    "Reason",
    "Source",
    "Version",
    "Source answered",
];

pub(super) fn write(page: &mut Markup, admin: &Admin) {
    let secrets = admin.cx.secrets().report();
    section(page, "secrets", "Secrets", |page| {
        if secrets.is_empty() {
            page.raw("<p class=\"none\">There is none.</p>");
            return;
        }
        let rows: Vec<_> = secrets.iter().map(row).collect();
        table(
            page,
            "Where secrets come from and how old they are; versions are hashes",
            &COLUMNS,
            &rows,
        );
    });
}

fn row(secret: &SecretReport) -> Vec<Cell> {
    let tone = match secret.state {
        SecretState::Current => Tone::Good,
        SecretState::Retrying | SecretState::Old => Tone::Worn,
        SecretState::Stale
        | SecretState::Rejected
        | SecretState::Expired
        | SecretState::Refused
        | SecretState::Lost => Tone::Bad,
    };
    let answered = secret.asked.map(|ago| format!("{} ago", spoken(ago)));
    vec![
        Cell::text(&secret.key),
        Cell::state(tone, secret.state.as_str()),
        Cell::text(format!(
            "{} of {}",
            spoken(secret.age),
            spoken(secret.maximum_age)
        )),
        Cell::text(secret.reason.clone().unwrap_or_default()),
        Cell::text(secret.source.to_string()),
        Cell::text(secret.version.clone().unwrap_or_default()),
        Cell::text(answered.unwrap_or_default()),
    ]
}
