//! The README shows this example as it is.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

const MARKER: &str = "<!-- examples/quickstart/src/main.rs -->";

#[test]
fn the_readme_shows_the_quickstart_as_it_is() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let source = std::fs::read_to_string(root.join("examples/quickstart/src/main.rs")).unwrap();
    let (_, rest) = readme
        .split_once(MARKER)
        .unwrap_or_else(|| panic!("README.md has no line {MARKER}"));
    let block = rest
        .trim_start()
        .strip_prefix("```rust\n")
        .expect("a ```rust block follows the marker");
    let (shown, _) = block.split_once("\n```").expect("the block ends");
    assert!(
        shown.trim_end() == source.trim_end(),
        "copy examples/quickstart/src/main.rs into README.md:\n{source}"
    );
}

#[test]
fn the_readme_has_the_demos_table_and_no_placeholder() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    assert!(!readme.contains("@@"), "a placeholder is left");
    // The first and the last row of the table that the demo prints after a good run.
    for row in [
        "| acknowledged by the broker",
        "nothing lost, nothing doubled, every fault proven",
    ] {
        assert!(readme.contains(row), "{row:?} is missing");
    }
}
