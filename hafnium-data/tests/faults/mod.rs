//! What every fault suite of Postgres shares: the load, its account after the run, and the figures.
//!
//! A suite starts a [`load::Load`] on a handle, makes a fault happen, stops the load and lets [`report::Report`] be
//! compared with the tables, which a raw driver reads. [`figures::Case`] makes rows of what the runs came to.

#![allow(dead_code, reason = "each suite uses its part")]

pub mod figures;
pub mod load;
pub mod mix;
pub mod report;
pub mod trio;
