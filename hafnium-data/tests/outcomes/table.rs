//! The table itself: its rows, and the page that shows it.

use std::fmt::Write as _;
use std::path::Path;

use super::{
    Case, capacity, commit, given_up, logins, losses, procedures, roles, sessions, stale, statements,
    timeouts,
};

/// The rows, each with its signals. A signal without a case is a failure, and a case without a signal here is too.
const ROWS: [&[&str]; 29] = [
    &["refused, unreachable, DNS, TLS failure before start-up; handshake over budget"],
    &["failure before the first byte of the request was written"],
    &["EOF / reset / time-out after bytes were written"],
    &["57P01"],
    &["57P02"],
    &["57P03"],
    &["57P04"],
    &["57P05", "25P03", "25P04"],
    &["57014"],
    &["25006", "55000"],
    &["40001", "40P01"],
    &["40003", "08007"],
    &["08000", "08003", "08006"],
    &["08001", "08004"],
    &["08P01"],
    &["53300", "53400"],
    &["53100", "53200", "58030", "58000"],
    &["55P03"],
    &["28P01", "28000"],
    &["3D000"],
    &["26000", "42P05", "0A000"],
    &["25P02"],
    &["COMMIT answered ROLLBACK"],
    &["XX000", "XX001", "XX002", "F0xxx"],
    &["class 22", "class 23", "class 42", "class P0"],
    &["pool time-out"],
    &["any error of a CALL, a DO, or a script with COMMIT in it"],
    &["a row that is not as the caller expects it"],
    &["no answer is waited for"],
];

/// Those that a real server must have made by its own cause.
const BY_A_SERVER: [&str; 21] = [
    "57P01",
    "57P03",
    "57014",
    "25006",
    "55000",
    "40001",
    "40P01",
    "53300",
    "55P03",
    "28P01",
    "3D000",
    "26000",
    "42P05",
    "0A000",
    "25P02",
    "COMMIT answered ROLLBACK",
    "class 22",
    "class 23",
    "class 42",
    "57P05",
    "25P03",
];

const PAGE: &str = "docs/postgres-outcomes.md";
const BEGIN: &str = "<!-- the cases of hafnium-data/tests/outcomes; HAFNIUM_RENEW=1 renews them -->\n";
const END: &str = "<!-- end of the cases -->\n";

fn cases() -> Vec<Case> {
    let all = [
        losses::cases(),
        sessions::cases(),
        logins::cases(),
        statements::cases(),
        timeouts::cases(),
        stale::cases(),
        commit::cases(),
        capacity::cases(),
        roles::cases(),
        procedures::cases(),
        given_up::cases(),
    ];
    all.into_iter().flatten().collect()
}

fn render(cases: &[Case]) -> String {
    let mut table =
        String::from("| Signal | When | Outcome | What the client does | Made by |\n|---|---|---|---|---|\n");
    for signal in ROWS.iter().copied().flatten() {
        for case in cases.iter().filter(|case| case.signals == *signal) {
            writeln!(table, "| {signal} | {} |", case.cells()).unwrap();
        }
    }
    table
}

/// Compares the cases with the rows, and the page with the cases; `HAFNIUM_RENEW=1` writes the page.
pub(crate) fn check() {
    let cases = cases();
    let table = render(&cases);
    println!("{} rows, {} cases\n{table}", ROWS.len(), cases.len());
    let signals: Vec<&str> = ROWS.iter().copied().flatten().copied().collect();
    let unshown: Vec<_> = signals
        .iter()
        .filter(|signal| !cases.iter().any(|case| case.signals == **signal))
        .collect();
    assert!(unshown.is_empty(), "rows without a case: {unshown:?}");
    let unknown: Vec<_> = cases
        .iter()
        .filter(|case| !signals.contains(&case.signals))
        .collect();
    assert!(
        unknown.is_empty(),
        "cases without a row: {:?}",
        unknown[0].signals
    );
    let made_up: Vec<_> = BY_A_SERVER
        .iter()
        .filter(|signal| {
            let by_server = |case: &&Case| case.signals == **signal && case.made == super::Made::Server;
            cases.iter().find(by_server).is_none()
        })
        .collect();
    assert!(made_up.is_empty(), "not made by a server: {made_up:?}");

    let path = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(PAGE);
    let page = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    let renewed = format!("{before}{BEGIN}{table}{END}{after}");
    if std::env::var_os("HAFNIUM_RENEW").is_some() {
        std::fs::write(&path, renewed).unwrap();
    } else {
        assert_eq!(
            page, renewed,
            "{PAGE} is not what the cases say; HAFNIUM_RENEW=1 renews it"
        );
    }
}
