//! Retry, budget, breaker and bulkhead, as functions and as tower layers, on a paused clock.
//!
//! What each guarantees is listed in `docs/contract-matrix.md`; `matrix.rs` holds it to that.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "test code")]

mod breaker;
mod breaker_layer;
mod bulkhead;
mod bulkhead_layer;
mod composition;
mod health;
mod matrix;
mod metrics;
#[path = "../recorded/mod.rs"]
mod recorded;
mod retry;
mod retry_layer;
mod settings;
mod support;
