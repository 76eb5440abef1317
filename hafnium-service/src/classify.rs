//! What any error of a service says happened.

use std::error::Error;

use hafnium_core::resilience::{BreakerOpen, BulkheadFull};
use hafnium_core::upstream::UpstreamError;
use hafnium_core::{Classified, DeadlineExceeded};

/// The answer of the first error in the chain of `error` that any crate of the house knows; `None` where none does.
///
/// ```
/// let error = std::io::Error::other("something else");
/// assert!(hafnium::classify(&error).is_none());
/// ```
pub fn classify(error: &(dyn Error + 'static)) -> Option<Classified> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(classified) = one(error) {
            return Some(classified);
        }
        next = error.source();
    }
    None
}

fn one(error: &(dyn Error + 'static)) -> Option<Classified> {
    #[cfg(feature = "postgres")]
    if let Some(error) = error.downcast_ref::<sqlx::Error>() {
        return Some(Classified::of(&hafnium_data::postgres::classify(error)));
    }
    #[cfg(feature = "redis")]
    if let Some(error) = error.downcast_ref::<redis::RedisError>() {
        return Some(hafnium_data::redis::classify(error));
    }
    #[cfg(feature = "kafka")]
    if let Some(error) = error.downcast_ref::<hafnium_stream::SendError>() {
        return Some(Classified::of(error));
    }
    if let Some(open) = error.downcast_ref::<BreakerOpen>() {
        return Some(Classified::of(open));
    }
    if let Some(full) = error.downcast_ref::<BulkheadFull>() {
        return Some(Classified::of(full));
    }
    if let Some(error) = error.downcast_ref::<UpstreamError>() {
        return Some(Classified::of(error));
    }
    error.downcast_ref::<DeadlineExceeded>().map(Classified::of)
}
