//! A service as its own process, like a pod: started on free ports, asked over HTTP, signalled, and read to its end.
//! Every wait is bounded.
#![allow(dead_code, unused_imports, reason = "each test binary uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

pub(crate) mod http;
mod launch;
mod service;

pub(crate) use launch::Launch;
pub(crate) use rustix::process::Signal;
pub(crate) use service::{Ended, Service, until};
