//! A database per test, and faults where a test wants them.
//!
//! ```no_run
//! hafnium_testkit::test! {
//!     async fn a_score_is_stored(sandbox: Sandbox) -> Result<(), Box<dyn std::error::Error>> {
//!         let session = sandbox.session().await?;
//!         session.batch_execute("CREATE TABLE scores (id bigint PRIMARY KEY)").await?;
//!         Ok(())
//!     }
//!
//!     async fn a_score_outlives_its_primary(sandbox: Breakable) -> Result<(), hafnium_testkit::Error> {
//!         println!("{}", sandbox.kill9_primary().await?);
//!         println!("{}", sandbox.promote().await?);
//!         Ok(())
//!     }
//! }
//! # fn main() {}
//! ```
//!
//! * [`Sandbox`]: a database in a server that all tests of the binary share, started with the first of them. A test
//!   can't break what others use, so that it has no faults.
//! * [`Breakable`]: a database in a primary and a standby that are the test's own, with `kill9`, `freeze`, `thaw` and
//!   `promote`. It takes a few seconds to come up.
//!
//! Each test has a runtime of two workers of its own. Its database is dropped when it ends, however it ends, unless
//! `HAFNIUM_TEST_KEEP` is set.

mod breakable;
mod database;
mod macros;
mod shared;

use std::fmt::Debug;
use std::future::Future;
use std::panic::{AssertUnwindSafe, resume_unwind};

use futures_util::FutureExt;

use crate::Error;

pub use breakable::Breakable;
pub use shared::Sandbox;

/// A place that a test gets, and gives back.
pub trait Place: Sized {
    /// Makes it for the test of that name.
    fn begin(test: &str) -> impl Future<Output = Result<Self, Error>>;

    /// Takes it down.
    fn end(self) -> impl Future<Output = Result<(), Error>>;
}

/// What a test may return.
pub trait Verdict {
    /// Panics unless it is a success.
    fn assert(self);
}

impl Verdict for () {
    fn assert(self) {}
}

impl<T: Verdict, E: Debug> Verdict for Result<T, E> {
    #[track_caller]
    fn assert(self) {
        match self {
            Ok(verdict) => verdict.assert(),
            Err(error) => panic!("{error:?}"),
        }
    }
}

/// Runs `body` as the test `name`: what [`test!`](crate::test) makes of a test.
///
/// # Panics
/// When the place can't be made or taken down, and as `body` does; then the place is taken down first.
pub fn run<P: Place, V: Verdict>(name: &str, body: impl AsyncFnOnce(&P) -> V) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let runtime = runtime.unwrap_or_else(|error| panic!("no runtime: {error}"));
    runtime.block_on(async {
        let place = P::begin(name).await;
        let place = place.unwrap_or_else(|error| panic!("{name} has no place to run: {error}"));
        let verdict = AssertUnwindSafe(body(&place)).catch_unwind().await;
        let ended = place.end().await;
        match verdict {
            Err(panic) => resume_unwind(panic),
            Ok(verdict) => verdict.assert(),
        }
        ended.unwrap_or_else(|error| panic!("{name} could not be cleaned up: {error}"));
    });
}
