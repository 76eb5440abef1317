//! What one client, one node or one operation that is in trouble must not do to the others. Real servers per test.

#![cfg(feature = "postgres")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test may end where it stands, its helpers too"
)]
#![allow(clippy::disallowed_methods, reason = "real servers take real time")]

#[path = "../../hafnium-core/tests/recorded/mod.rs"]
mod recorded;
mod recovery;
mod sockets;
