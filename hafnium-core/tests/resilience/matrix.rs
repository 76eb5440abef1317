//! `docs/contract-matrix.md` names a test for each guarantee: here they are looked for.

use std::collections::BTreeSet;
use std::path::Path;

/// Where the tests are that the matrix may name.
const PLACES: [&str; 4] = [
    "hafnium-core/src",
    "hafnium-core/tests",
    "hafnium-stream/src",
    "hafnium-stream/tests",
];

fn names_of_tests(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            names_of_tests(&path, names);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let mut is_test = false;
            for line in text.lines().map(str::trim) {
                let function = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ");
                match function.and_then(|rest| rest.split('(').next()) {
                    Some(name) if is_test => {
                        names.insert(name.to_owned());
                        is_test = false;
                    }
                    Some(_) => is_test = false,
                    None => is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test"),
                }
            }
        }
    }
}

/// The cells of each row: guarantee, function, layer.
fn rows(matrix: &str) -> Vec<Vec<&str>> {
    let lines = matrix.lines().filter(|line| line.starts_with("| "));
    let cells = lines.map(|line| {
        line.trim_matches('|')
            .split('|')
            .map(str::trim)
            .collect::<Vec<_>>()
    });
    cells.filter(|cells| cells[0] != "guarantee").collect()
}

#[test]
fn each_test_that_the_contract_matrix_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let matrix = std::fs::read_to_string(root.join("docs/contract-matrix.md")).unwrap();
    let mut tests = BTreeSet::new();
    for place in PLACES {
        names_of_tests(&root.join(place), &mut tests);
    }
    let rows = rows(&matrix);
    assert!(rows.len() > 30, "{} rows", rows.len());
    let mut wrong = Vec::new();
    for row in rows {
        let shown: Vec<&str> = row[1..]
            .iter()
            .flat_map(|cell| cell.split('`').skip(1).step_by(2))
            .collect();
        if shown.is_empty() {
            wrong.push(format!("no test shows: {}", row[0]));
        }
        let missing = shown.iter().filter(|name| !tests.contains(**name));
        wrong.extend(missing.map(|name| format!("there is no test {name}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
