//! Dev services: what a service declares but is not told where to find, provided while it runs.
//!
//! For environment `dev` on a developer's machine, and for tests. Each dependency climbs a ladder and takes the first
//! rung that can provide it: Docker (official images, [testcontainers](https://docs.rs/testcontainers)), then the server
//! installed on this machine, then, for Kafka, librdkafka's mock cluster. A daemon that cannot get the image is
//! passed over, and the reason is told. `HAFNIUM_DEV_<NAME>=docker|local|mock|off|<url>` pins a rung, `<NAME>` being the
//! dependency's name in capitals.
//!
//! Provided means that the protocol answered (`select 1`, `PING`, metadata), not that a port is open.
//!
//! Only what was started here is stopped: servers of this machine are children that nothing can leave behind (see
//! [`process`](crate::process)); containers are removed when [`DevServices`] is dropped, and those of a run that was
//! killed are removed by the next one, which finds them in the lock file that the dead one left.
//!
//! Release builds refuse, unless `HAFNIUM_DEV_SERVICES=force`: a service in production that starts its own empty
//! database is an outage that looks healthy.
#![cfg_attr(
    not(any(feature = "postgres", feature = "redis", feature = "kafka")),
    expect(dead_code, reason = "the ladder has nothing to provide then")
)]

mod container;
mod docker;
mod error;
mod image;
#[cfg(feature = "kafka")]
mod kafka;
mod ladder;
mod lock;
#[cfg(feature = "postgres")]
mod postgres;
mod provided;
#[cfg(feature = "redis")]
mod redis;
mod server;
mod services;

pub use error::{DevError, Tried};
pub use image::Image;
pub use ladder::Rung;
pub use provided::Provided;
pub use services::{DevServices, Keep};
