//! Producer and consumer against three real brokers, shared by all tests here; one that breaks them has them alone.
#![allow(clippy::unwrap_used, reason = "a test")]

mod consuming;
mod dead_letters;
mod deadlines;
mod producing;
mod rebalancing;
mod rig;
mod stopping;
