//! "The outcome is the product", row by row: each signal is made to happen, and what the client makes of it is looked at:
//! the outcome it tells, what becomes of the connection and of its node, what is repeated, what is counted.
//!
//! The table of `docs/postgres-outcomes.md` is that of the cases here, and a row without a case is a failure.

#![cfg(feature = "postgres")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test may end where it stands, its helpers too"
)]
#![allow(clippy::disallowed_methods, reason = "real servers take real time")]

mod outcomes;
#[path = "../../hafnium-core/tests/recorded/mod.rs"]
mod recorded;

use outcomes::{
    capacity, commit, given_up, logins, losses, procedures, roles, run, sessions, stale, statements, table,
    timeouts,
};

#[test]
fn the_documented_table_is_that_of_the_cases_and_has_every_row() {
    table::check();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_refused_or_lost_says_what_became_of_its_work() {
    run(losses::cases()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_the_server_ends_is_undone_and_another_takes_over() {
    run(sessions::cases()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_that_is_refused_ran_nothing() {
    run(logins::cases()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_that_fails_is_undone_and_repeated_only_where_that_helps() {
    run(statements::cases()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_statement_is_surfaced_as_a_timeout() {
    run(timeouts::cases()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stale_statement_is_forgotten_and_tried_once_more() {
    run(stale::cases()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_tells_what_became_of_the_transaction() {
    run(commit::cases()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_or_pool_without_room_is_no_failed_node() {
    run(capacity::cases()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_of_another_role_sends_work_to_where_it_belongs() {
    run(roles::cases()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_commits_by_itself_is_neither_undone_nor_repeated() {
    run(procedures::cases()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_its_caller_gives_up_is_counted_once_by_what_became_of_it() {
    run(given_up::cases()).await;
}
