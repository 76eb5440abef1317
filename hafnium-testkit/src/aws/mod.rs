//! AWS without AWS: moto as a server, which `scripts/setup aws` installs.
//!
//! It keeps what it is told in memory and checks neither signatures nor permissions: refusals, throttling and outages
//! need a scripted peer.

mod home;
mod http;
mod moto;

pub use moto::Moto;
