//! Repeating what failed, where that can help and can do no harm.

mod decision;
mod figures;
mod layer;
mod policy;
mod session;
mod settings;

pub use layer::{Retry, RetryFuture, RetryLayer};
pub use policy::RetryPolicy;
pub use session::{RetrySession, Step};
pub use settings::RetrySettings;
