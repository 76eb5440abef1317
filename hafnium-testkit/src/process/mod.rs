//! Servers as child processes that nothing can leave behind.
//!
//! A cluster owns one [`Keeper`]: a private directory, the thread that spawns every child, and a warden. Three things
//! end a child, whichever comes first:
//! * its [`Process`] is dropped: the whole tree is killed, synchronously;
//! * the keeper's thread ends, also because the test process was killed with SIGKILL: the kernel sends the
//!   parent-death signal. It fires when the parent *thread* ends and a test's thread ends early, hence the keeper;
//! * the warden, a shell reading from a pipe, sees our end close: it kills whatever still works in the private directory
//!   (a frozen descendant never notices that its parent died) and removes it.
//!
//! Servers never run as root: the children of a root process become the user `postgres` or else `nobody`.

mod account;
mod directory;
mod keeper;
mod launch;
mod port;
mod ready;
mod running;
#[cfg(any(feature = "redis", feature = "kafka"))]
mod silence;
mod state;
mod tree;
mod warden;

pub use keeper::Keeper;
pub use launch::Launch;
pub use port::free_ports;
pub use ready::{await_ready, wait_until};
pub use running::{Freeze, Kill, Process};
#[cfg(any(feature = "redis", feature = "kafka"))]
pub(crate) use silence::silence;
pub use state::{ProcessId, ProcessState};
pub use tree::tree_of;
