//! What makes more work than can be done.

#![allow(dead_code, reason = "each suite uses its part")]

pub(crate) mod load;
pub(crate) mod narrow;
