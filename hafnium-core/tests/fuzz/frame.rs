//! Replays a corpus and mutates it: the same inputs in every run, so that a failure can be looked at.
//!
//! No fuzzer drives this by coverage; a body has the signature that one wants.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use fastrand::Rng;

/// Mutations of the corpus that each run tries, besides the corpus itself.
const MUTATIONS: usize = 4000;
/// The longest input. Longer ones find nothing else and take time.
const LONGEST: usize = 4096;
/// What parsers stumble over.
const TOKENS: [&[u8]; 24] = [
    b"",
    b"\0",
    b"\n",
    b"\r\n",
    b"=",
    b":",
    b"/",
    b"//",
    b",",
    b".",
    b"..",
    b"%",
    b"#",
    b"?",
    b"\"",
    b"'",
    b"[",
    b"]",
    b"{",
    b"-1",
    b"18446744073709551616",
    b"1e309",
    b"\xff\xfe",
    "\u{202e}é𝄞".as_bytes(),
];

/// Runs `body` on each file of `tests/fuzz/corpus/<name>/` and on mutations of them.
pub(crate) fn replay(name: &str, body: fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fuzz/corpus")
        .join(name);
    let mut files: Vec<_> = std::fs::read_dir(&directory)
        .unwrap_or_else(|error| panic!("{}: {error}", directory.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let corpus: Vec<Vec<u8>> = files.iter().map(|path| std::fs::read(path).unwrap()).collect();
    assert!(!corpus.is_empty(), "{}: no seed", directory.display());
    for seed in &corpus {
        attempt(name, body, seed);
    }
    let mut random = Rng::with_seed(0x48_61_66_6e_69_75_6d);
    for _ in 0..MUTATIONS {
        attempt(name, body, &mutated(&corpus, &mut random));
    }
}

fn attempt(name: &str, body: fn(&[u8]), input: &[u8]) {
    if catch_unwind(AssertUnwindSafe(|| body(input))).is_err() {
        panic!("{name} panicked on b\"{}\"", input.escape_ascii());
    }
}

/// A seed after one to eight changes.
fn mutated(corpus: &[Vec<u8>], random: &mut Rng) -> Vec<u8> {
    let mut input = pick(corpus, random).clone();
    for _ in 0..random.usize(1..=8) {
        let at = random.usize(..=input.len());
        match random.u8(..6) {
            0 if at < input.len() => input[at] ^= 1 << random.u8(..8),
            1 if at < input.len() => {
                input.remove(at);
            }
            2 => input.insert(at, random.u8(..)),
            3 => input.truncate(at),
            4 => {
                // Another seed's tail.
                let other = pick(corpus, random);
                let from = random.usize(..=other.len());
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
            _ => {
                let token = TOKENS[random.usize(..TOKENS.len())];
                input.splice(at..at, token.iter().copied());
            }
        }
    }
    input.truncate(LONGEST);
    input
}

fn pick<'a>(corpus: &'a [Vec<u8>], random: &mut Rng) -> &'a Vec<u8> {
    &corpus[random.usize(..corpus.len())]
}
