//! Each patch in `mutants/` says what it removes and names a test that exists: `scripts/prove` looks for that very name.
#![allow(clippy::unwrap_used, reason = "test code")]

use std::path::Path;

/// Adds the text of the Rust files below `folder`.
fn collect(folder: &Path, text: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, text);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            text.push_str(&std::fs::read_to_string(&path).unwrap());
        }
    }
}

fn field<'a>(patch: &'a str, name: &str) -> &'a str {
    let head = patch
        .lines()
        .take_while(|line| !line.starts_with("diff") && !line.starts_with("---"));
    let mut values = head.filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    values.next().unwrap_or_default().trim()
}

#[test]
fn each_mutant_names_what_it_removes_and_a_test_that_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut code = String::new();
    for parts in [root.to_owned(), root.join("examples")] {
        for part in std::fs::read_dir(parts).unwrap() {
            let part = part.unwrap().path();
            for folder in ["src", "tests"].map(|folder| part.join(folder)) {
                if part.join("Cargo.toml").exists() && folder.exists() {
                    collect(&folder, &mut code);
                }
            }
        }
    }
    let mut seen = 0;
    let mut wrong = Vec::new();
    for patch in std::fs::read_dir(root.join("mutants")).unwrap() {
        let path = patch.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let (guarantee, test) = (field(&text, "Guarantee"), field(&text, "Test"));
        let name = test.split([' ', ':']).next_back().unwrap();
        // A function, or a row of a macro that makes one.
        let exists = code.contains(&format!("fn {name}(")) || code.contains(&format!("\n    {name}: \""));
        if guarantee.is_empty() || name.is_empty() || !exists {
            wrong.push(format!("{}: {guarantee:?}, {test:?}", path.display()));
        }
        seen += 1;
    }
    assert!(seen > 100, "{seen} mutants");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
