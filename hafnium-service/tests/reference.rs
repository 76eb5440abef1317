//! The committed reference of the library's keys is what the types say now.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::path::Path;
use std::time::Duration;

use support::Launch;

async fn generated(option: &str) -> String {
    let launch = Launch::new(env!("CARGO_BIN_EXE_conformance"))
        .variable("CONFORMANCE_CASE", "reference")
        .argument("config")
        .argument(option);
    let ended = launch.finish(Duration::from_secs(20)).await;
    ended.exited(0);
    ended.stdout
}

async fn is_fresh(name: &str, option: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../docs/reference")
        .join(name);
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    let generated = generated(option).await;
    let differs = committed
        .lines()
        .zip(generated.lines())
        .find(|(old, new)| old != new);
    assert!(
        committed == generated,
        "docs/reference/{name} is stale, run `make reference`; the first line that differs: {differs:#?}"
    );
}

#[tokio::test]
async fn the_committed_reference_is_what_the_types_say() {
    is_fresh("config.md", "--reference").await;
}

#[tokio::test]
async fn the_committed_schema_is_what_the_types_say() {
    is_fresh("config.schema.json", "--schema").await;
}

#[tokio::test]
async fn every_key_of_the_reference_is_explained_and_has_a_variable() {
    let reference = generated("--reference").await;
    let rows: Vec<_> = reference.lines().filter(|line| line.starts_with("| `")).collect();
    assert!(rows.len() > 60, "{} keys", rows.len());
    for row in rows {
        let cells: Vec<_> = row
            .trim_matches('|')
            .replace("\\|", "/")
            .split('|')
            .map(|cell| cell.trim().to_owned())
            .collect();
        assert_eq!(cells.len(), 5, "{row}");
        assert!(cells[0].contains("HAFNIUM__"), "{row}");
        assert!(
            cells
                .iter()
                .enumerate()
                .all(|(place, cell)| place == 3 || !cell.is_empty()),
            "{row}"
        );
    }
}
