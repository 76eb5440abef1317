//! What makes more work than can be done.

pub(crate) mod load;
pub(crate) mod narrow;
