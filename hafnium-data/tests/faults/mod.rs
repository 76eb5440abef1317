//! What every fault suite of Postgres shares: the load, its account after the run, and the figures.
//!
//! A suite starts a [`load::Load`] on a handle, makes a fault happen, stops the load and compares the
//! [`report::Report`] with the tables, which a raw driver reads. [`figures::Case`] makes rows of what the runs came to.

#![allow(dead_code, reason = "each suite uses its part")]

pub(crate) mod figures;
pub(crate) mod load;
pub(crate) mod lost;
pub(crate) mod mix;
pub(crate) mod network;
pub(crate) mod planned;
pub(crate) mod replica;
pub(crate) mod report;
pub(crate) mod split;
pub(crate) mod trio;
