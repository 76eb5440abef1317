//! A real Vault server for tests: in memory, unsealed, in plain HTTP on loopback.
//!
//! Where it comes from, the first that there is:
//! 1. the program that `HAFNIUM_VAULT_BIN` names: `vault` or `bao`, or a test server built from Vault's core that knows
//!    `-addr`, `-root-token` and `-state`;
//! 2. `vault`, then `bao`, on the `PATH`;
//! 3. the official image, where a Docker daemon answers;
//! 4. none, and [`Absent`] says how to get one.

mod api;
#[cfg(feature = "postgres")]
mod database;
mod image;
mod ladder;
mod program;
mod server;

pub use api::Answer;
pub use ladder::Absent;
pub use server::VaultServer;
