//! `docs/lifecycle.md` names a test for each guarantee: here they are looked for.
#![allow(clippy::unwrap_used, reason = "test code")]

use std::collections::BTreeSet;
use std::path::Path;

const CRATES: [&str; 3] = ["hafnium-core", "hafnium-service", "hafnium-telemetry"];

/// Adds the names of the test functions in the Rust files below `folder`.
fn collect(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, names);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let mut marked = false;
            for line in text.lines().map(str::trim) {
                let function = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ");
                match function.and_then(|rest| rest.split('(').next()) {
                    Some(name) => {
                        if std::mem::take(&mut marked) {
                            names.insert(name.to_owned());
                        }
                    }
                    None => marked |= line.starts_with("#[test]") || line.starts_with("#[tokio::test"),
                }
            }
        }
    }
}

#[test]
fn each_test_that_shows_a_guarantee_of_the_lifecycle_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let document = std::fs::read_to_string(root.join("docs/lifecycle.md")).unwrap();
    let (_, table) = document
        .split_once("## Guarantees and the tests that show them")
        .unwrap();
    let mut tests = BTreeSet::new();
    for name in CRATES {
        collect(&root.join(name).join("src"), &mut tests);
        collect(&root.join(name).join("tests"), &mut tests);
    }
    let rows: Vec<&str> = table
        .lines()
        .filter(|line| line.starts_with("| "))
        .skip(1)
        .collect();
    assert!(rows.len() > 50, "{} rows", rows.len());
    let mut wrong = Vec::new();
    for row in rows {
        // The guarantee itself may name a key in backticks; the tests stand in the last cell.
        let cell = row.trim_end_matches(['|', ' ']).rsplit('|').next().unwrap();
        let shown: Vec<&str> = cell.split('`').skip(1).step_by(2).collect();
        if shown.is_empty() {
            wrong.push(format!("no test shows: {row}"));
        }
        let missing = shown.into_iter().filter(|name| !tests.contains(*name));
        wrong.extend(missing.map(|name| format!("there is no test {name}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
