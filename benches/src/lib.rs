//! What the benchmarks share: ratios of interleaved rounds, load from a process of its own, processor time.

mod cost;
mod load;
mod ratio;

pub use cost::CpuTime;
pub use load::{CONNECTIONS, Load};
pub use ratio::{Ratio, turned};
