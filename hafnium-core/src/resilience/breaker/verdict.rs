//! What one call tells of the dependency.

use crate::classify::{Classify, Fault};

/// What one call tells of the dependency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Verdict {
    /// It works.
    Success,
    /// It does not.
    Failure,
    /// Nothing: counted neither way, and a probe's place is given back.
    Ignored,
}

impl Verdict {
    /// By whose fault an error is: [`Dependency`](Fault::Dependency) and [`Capacity`](Fault::Capacity) are failures.
    /// [`Caller`](Fault::Caller) and [`Service`](Fault::Service) are ignored: what can never work, or is a defect here,
    /// may not even have reached the dependency.
    pub fn of<T, E: Classify>(result: &Result<T, E>) -> Self {
        match result {
            Ok(_) => Self::Success,
            Err(error) => match error.fault() {
                Fault::Dependency | Fault::Capacity => Self::Failure,
                Fault::Caller | Fault::Service => Self::Ignored,
            },
        }
    }
}
