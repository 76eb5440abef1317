//! Sending: idempotent, acknowledged by every in-sync replica, bounded in records and bytes.

mod credit;
mod delivery;
mod error;
mod handle;
mod link;
mod message;
mod topics;

pub(crate) use credit::Credits;
pub(crate) use delivery::Deliveries;
pub use error::SendError;
pub use handle::Producer;
pub(crate) use link::{Link, State};
pub use message::{Delivery, Message};
pub(crate) use topics::Topics;
