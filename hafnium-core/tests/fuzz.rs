//! Fuzz bodies, run on their seed corpus and on thousands of mutations of it in every test run.
//!
//! A body is a plain function of bytes that must neither panic nor hang. To add one: a file in `tests/fuzz/` with the
//! function, some seeds in `tests/fuzz/corpus/<name of the function without fuzz_>/`, and a test below.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "test code")]

#[path = "fuzz/config.rs"]
mod config;
#[path = "fuzz/deadline.rs"]
mod deadline;
#[path = "fuzz/forwarded.rs"]
mod forwarded;
#[path = "fuzz/frame.rs"]
mod frame;
#[path = "fuzz/probes.rs"]
mod probes;
#[path = "fuzz/secret.rs"]
mod secret;

#[test]
fn config_values_and_units_are_read_or_refused_and_never_panic() {
    frame::replay("config_values_and_units", config::fuzz_config_values_and_units);
}

#[test]
fn probe_queries_and_paths_are_answered_and_never_break_the_listener() {
    frame::replay("probe_queries_and_paths", probes::fuzz_probe_queries_and_paths);
}

#[test]
fn deadlines_in_headers_are_read_or_ignored_and_never_beyond_a_day() {
    frame::replay("deadline_headers", deadline::fuzz_deadline_headers);
}

#[test]
fn forwarded_headers_are_believed_only_as_far_as_a_trusted_proxy_wrote_them() {
    frame::replay("forwarded_headers", forwarded::fuzz_forwarded_headers);
}

#[test]
fn secret_references_are_kept_as_written_and_values_are_never_repeated() {
    frame::replay("secret_references", secret::fuzz_secret_references);
}
