//! Calls to another service over HTTP: one pooled client per declared upstream.
//!
//! A call has a deadline and carries what is left of it, the trace and the id of the request that is being served. It
//! goes to one of all addresses of the upstream's name; those that fail get nothing for a while. It is repeated only if
//! it certainly did not happen, or may happen twice, and only within a budget. Its error says whether it happened.
//!
//! From the outside in: the bulkhead, retries, the breaker, the choice of an address, the connection.
//!
//! ```no_run
//! use std::time::Duration;
//! use hafnium_core::{Classify, Context, Outcome};
//! use hafnium_core::upstream::{Upstream, UpstreamSettings};
//!
//! #[derive(serde::Deserialize)]
//! struct Score { value: f64 }
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let settings = UpstreamSettings::new("http://scoring.internal:8000");
//! let scoring = Upstream::connect("scoring", &settings, &Context::standalone())?;
//!
//! let score: Score = scoring.get("/scores/17").within(Duration::from_millis(200)).await?.json()?;
//!
//! let booked = scoring.post("/bookings").json(&serde_json::json!({ "amount": 100 })).await;
//! match booked {
//!     Ok(_) => println!("booked, at {}", score.value),
//!     Err(error) if error.outcome() == Outcome::NotRun => println!("certainly not booked: {error}"),
//!     Err(error) => println!("perhaps booked: {error}"),
//! }
//! # Ok(()) }
//! ```

mod addresses;
mod attempt;
mod broken;
mod call;
mod check;
mod choice;
mod client;
mod component;
mod core;
mod ejection;
mod endpoint;
mod error;
mod figures;
mod hedge;
mod link;
mod lookup;
mod order;
mod payload;
mod problem;
mod record;
mod resolve;
mod response;
mod retry_after;
mod settings;
mod status;
mod target;

pub use call::Call;
pub use client::Upstream;
pub use error::UpstreamError;
pub use problem::UpstreamProblem;
pub use resolve::{Resolve, SystemResolver};
pub use response::Response;
pub use settings::{EjectionSettings, HedgeMode, HedgeSettings, Protocol, UpstreamSettings};

#[cfg(doctest)]
#[doc = include_str!("../../../docs/guides/upstream.md")]
mod guide {}
