//! The command line of the demo.

use clap::Parser;

/// Two replicas of risk-engine, real servers, and what happens when each of them fails
#[derive(Debug, Clone, Parser)]
#[command(name = "demo")]
pub(crate) struct Arguments {
    /// Payments per second
    #[arg(long, default_value_t = 100)]
    pub(crate) rate: u32,
    /// Which payments: the same seed gives the same ones
    #[arg(long, default_value_t = 7)]
    pub(crate) seed: u64,
    /// Seconds of calm before the first fault
    #[arg(long, default_value_t = 15)]
    pub(crate) calm: u64,
}
