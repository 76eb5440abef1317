//! Until when a record is wanted: the deadline that its producer sent along.

use std::time::{Duration, SystemTime};

use hafnium_core::deadline::wire;

use super::spec::PastDeadline;
use crate::record::Headers;

/// How long an attempt may take, and why not longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Limit {
    /// The consumer's `handler_timeout`.
    Handler(Duration),
    /// What the record's deadline leaves.
    Record(Duration),
    /// The record is past its deadline and is handled all the same, within the `handler_timeout`.
    Late(Duration),
    /// The record is past its deadline and is not handled.
    Unwanted,
}

/// The limit of an attempt that begins at `now`. The nearest of several deadlines counts; one that can't be read does
/// not.
pub(super) fn limit(
    headers: &Headers,
    handler_timeout: Duration,
    past: PastDeadline,
    now: SystemTime,
) -> Limit {
    let deadlines = headers.iter().filter(|(name, _)| *name == wire::DEADLINE_UNIX_MS);
    let left = deadlines
        .filter_map(|(_, value)| wire::time_left_until_unix_millis(value, now))
        .min();
    match (left, past) {
        (Some(Duration::ZERO), PastDeadline::Handle) => Limit::Late(handler_timeout),
        (Some(Duration::ZERO), PastDeadline::DeadLetter) => Limit::Unwanted,
        (Some(left), _) if left < handler_timeout => Limit::Record(left),
        _ => Limit::Handler(handler_timeout),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(30);

    fn of(values: &[&'static str], past: PastDeadline) -> Limit {
        let headers = values
            .iter()
            .map(|value| (wire::DEADLINE_UNIX_MS.to_owned(), (*value).into()));
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(10_000);
        limit(&headers.collect(), TIMEOUT, past, now)
    }

    #[test]
    fn the_nearest_of_the_records_deadlines_and_the_handlers_timeout_counts() {
        let handle = |values: &[&'static str]| of(values, PastDeadline::Handle);
        assert_eq!(handle(&[]), Limit::Handler(TIMEOUT));
        assert_eq!(handle(&["12000"]), Limit::Record(Duration::from_secs(2)));
        assert_eq!(
            handle(&["12000", "11000", "x"]),
            Limit::Record(Duration::from_secs(1))
        );
        assert_eq!(handle(&["900000"]), Limit::Handler(TIMEOUT));
        assert_eq!(handle(&["soon"]), Limit::Handler(TIMEOUT));
    }

    #[test]
    fn a_record_past_its_deadline_has_the_handlers_time_unless_it_is_unwanted() {
        assert_eq!(of(&["9999"], PastDeadline::Handle), Limit::Late(TIMEOUT));
        assert_eq!(of(&["10000"], PastDeadline::DeadLetter), Limit::Unwanted);
        assert_eq!(
            of(&["10001"], PastDeadline::DeadLetter),
            Limit::Record(Duration::from_millis(1))
        );
    }
}
