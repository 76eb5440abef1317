//! Typed configuration in layers, with the origin of every value.

mod section;
mod units;

pub use section::{Alias, Section};
pub use units::{ByteSize, Duration, Ratio, UnitError};
