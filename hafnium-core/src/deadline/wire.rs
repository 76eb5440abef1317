//! Deadlines in the headers of HTTP and Kafka.
//!
//! | header | says | written | read |
//! |---|---|---|---|
//! | `x-request-timeout-ms` | whole milliseconds left | yes | yes |
//! | `grpc-timeout` | up to eight digits and a unit, `H M S m u n` | no | yes |
//! | `x-envoy-expected-rq-timeout-ms` | whole milliseconds left; 0 is no limit | no | yes |
//! | `deadline-unix-ms` (Kafka) | whole milliseconds since 1970 | yes | yes |
//!
//! HTTP carries what is left, because two clocks differ by more than a request takes; the time on the network is not
//! subtracted. A record may lie for hours, so it carries the instant, and the two clocks have to agree.
//!
//! The nearest of all values wins. One that can't be read is ignored, with a line at debug level that does not repeat
//! it; one beyond [`LONGEST`] counts as that. Everything here is pure: the caller has the clock.

use std::time::{Duration, SystemTime};

use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::Deadline;

/// Milliseconds left, as this house writes it.
pub const REQUEST_TIMEOUT_MS: HeaderName = HeaderName::from_static("x-request-timeout-ms");
/// The time left, as gRPC clients write it.
pub const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
/// Milliseconds left, as Envoy and Istio write it for the service behind them.
pub const ENVOY_TIMEOUT_MS: HeaderName = HeaderName::from_static("x-envoy-expected-rq-timeout-ms");
/// The Kafka header: milliseconds since 1970.
pub const DEADLINE_UNIX_MS: &str = "deadline-unix-ms";

/// The longest time that is taken from a header: one day. Nobody means more, and sums with it can't overflow.
pub const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// What the headers of a request leave of its time: zero when it is over, `None` when they say nothing.
///
/// ```
/// use std::time::Duration;
/// use hafnium_core::deadline::wire;
///
/// let mut headers = http::HeaderMap::new();
/// headers.insert("x-request-timeout-ms", "1500".parse().unwrap());
/// headers.insert("grpc-timeout", "1S".parse().unwrap());
/// assert_eq!(wire::time_left(&headers), Some(Duration::from_secs(1)));
/// ```
pub fn time_left(headers: &HeaderMap) -> Option<Duration> {
    let mut nearest = None;
    // One look at all of them: each look-up by a name would hash it, and most requests have none of these.
    for (name, value) in headers {
        let Some(parse) = parser(name) else { continue };
        match parse(value.as_bytes().trim_ascii()) {
            Parsed::Left(left) => nearest = Some(nearest.map_or(left, |other: Duration| other.min(left))),
            Parsed::Unlimited => {}
            Parsed::Malformed => tracing::debug!(header = name.as_str(), "not a time; ignored"),
        }
    }
    nearest
}

fn parser(name: &HeaderName) -> Option<Parse> {
    if name == REQUEST_TIMEOUT_MS {
        Some(millis)
    } else if name == GRPC_TIMEOUT {
        Some(grpc)
    } else if name == ENVOY_TIMEOUT_MS {
        Some(envoy)
    } else {
        None
    }
}

/// Writes what is left until `deadline` as `x-request-timeout-ms`; a nearer one that is there already stays.
///
/// Rounded down, but never to zero before the deadline passed.
pub fn write(deadline: Deadline, headers: &mut HeaderMap) {
    let left = deadline.remaining();
    let present = headers
        .get_all(REQUEST_TIMEOUT_MS)
        .iter()
        .filter_map(|value| match millis(value.as_bytes().trim_ascii()) {
            Parsed::Left(left) => Some(left),
            Parsed::Unlimited | Parsed::Malformed => None,
        })
        .min();
    let left = present.map_or(left, |present| present.min(left));
    headers.insert(REQUEST_TIMEOUT_MS, HeaderValue::from(whole_millis(left)));
}

/// The instant `left` from `now`, as `deadline-unix-ms` says it.
pub fn unix_millis(left: Duration, now: SystemTime) -> u64 {
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    saturating_millis(now.saturating_add(left))
}

/// What a value of `deadline-unix-ms` leaves at `now`: zero when it is over, `None` when it can't be read.
pub fn time_left_until_unix_millis(value: &[u8], now: SystemTime) -> Option<Duration> {
    let Some(at) = digits(value.trim_ascii()) else {
        tracing::debug!(header = DEADLINE_UNIX_MS, "not a time; ignored");
        return None;
    };
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Some(Duration::from_millis(at).saturating_sub(now).min(LONGEST))
}

enum Parsed {
    Left(Duration),
    Unlimited,
    Malformed,
}

type Parse = fn(&[u8]) -> Parsed;

fn millis(text: &[u8]) -> Parsed {
    match digits(text) {
        Some(millis) => Parsed::Left(Duration::from_millis(millis).min(LONGEST)),
        None => Parsed::Malformed,
    }
}

fn envoy(text: &[u8]) -> Parsed {
    match digits(text) {
        Some(0) => Parsed::Unlimited,
        _ => millis(text),
    }
}

/// <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>: `TimeoutValue` is at most eight digits.
fn grpc(text: &[u8]) -> Parsed {
    let Some((unit, number)) = text.split_last() else {
        return Parsed::Malformed;
    };
    let Some(number) = digits(number).filter(|_| number.len() <= 8) else {
        return Parsed::Malformed;
    };
    let left = match unit {
        b'H' => Duration::from_secs(number * 3600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return Parsed::Malformed,
    };
    Parsed::Left(left.min(LONGEST))
}

/// A number of digits and nothing else; what does not fit is the greatest there is.
fn digits(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let add = |sum: u64, digit: &u8| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0'));
    Some(text.iter().fold(0, add))
}

fn whole_millis(left: Duration) -> u64 {
    let least = u64::from(!left.is_zero());
    saturating_millis(left).max(least)
}

fn saturating_millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    fn left(name: &'static str, value: &str) -> Option<u128> {
        time_left(&headers(&[(name, value)])).map(|left| left.as_micros())
    }

    #[test]
    fn each_header_is_read_in_its_own_unit() {
        assert_eq!(left("x-request-timeout-ms", "250"), Some(250_000));
        assert_eq!(left("x-request-timeout-ms", " 0 "), Some(0));
        assert_eq!(left("x-envoy-expected-rq-timeout-ms", "250"), Some(250_000));
        assert_eq!(left("x-envoy-expected-rq-timeout-ms", "0"), None);
        for (value, micros) in [
            ("1H", 3_600_000_000),
            ("2M", 120_000_000),
            ("3S", 3_000_000),
            ("4m", 4000),
            ("5u", 5),
        ] {
            assert_eq!(left("grpc-timeout", value), Some(micros), "{value}");
        }
        assert_eq!(left("grpc-timeout", "6000n"), Some(6));
    }

    #[test]
    fn what_can_not_be_read_is_ignored() {
        for value in ["", "-1", "+1", "1.5", "1e3", "10s", "0x10", "1 2", "ten", "１"] {
            let mut map = HeaderMap::new();
            map.append(
                REQUEST_TIMEOUT_MS,
                HeaderValue::from_bytes(value.as_bytes()).unwrap(),
            );
            assert_eq!(time_left(&map), None, "{value}");
            assert_eq!(
                time_left_until_unix_millis(value.as_bytes(), SystemTime::now()),
                None
            );
        }
        for value in ["S", "10", "123456789S", "1s", "1D", "-1S", "1 S"] {
            assert_eq!(left("grpc-timeout", value), None, "{value}");
        }
        let good = headers(&[("grpc-timeout", "never"), ("x-request-timeout-ms", "7")]);
        assert_eq!(time_left(&good), Some(Duration::from_millis(7)));
    }

    #[test]
    fn the_nearest_wins_whatever_its_header_and_however_often_it_is_there() {
        let all = headers(&[
            ("x-request-timeout-ms", "900"),
            ("x-request-timeout-ms", "400"),
            ("grpc-timeout", "3S"),
            ("x-envoy-expected-rq-timeout-ms", "500"),
        ]);
        assert_eq!(time_left(&all), Some(Duration::from_millis(400)));
    }

    #[test]
    fn absurd_values_are_cut_to_a_day() {
        for value in ["86400001", "18446744073709551615", "99999999999999999999999999"] {
            assert_eq!(
                time_left(&headers(&[("x-request-timeout-ms", value)])),
                Some(LONGEST)
            );
            let now = SystemTime::UNIX_EPOCH;
            assert_eq!(time_left_until_unix_millis(value.as_bytes(), now), Some(LONGEST));
        }
        assert_eq!(
            time_left(&headers(&[("grpc-timeout", "99999999H")])),
            Some(LONGEST)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_written_keeps_a_nearer_one_and_is_zero_only_when_the_time_is_over() {
        let written = |deadline: Deadline, mut present: HeaderMap| {
            write(deadline, &mut present);
            assert_eq!(present.get_all(REQUEST_TIMEOUT_MS).iter().count(), 1);
            present[REQUEST_TIMEOUT_MS].to_str().unwrap().to_owned()
        };
        let second = Deadline::after(Duration::from_secs(1));
        assert_eq!(written(second, HeaderMap::new()), "1000");
        assert_eq!(written(second, headers(&[("x-request-timeout-ms", "20")])), "20");
        assert_eq!(
            written(second, headers(&[("x-request-timeout-ms", "2000")])),
            "1000"
        );
        assert_eq!(
            written(second, headers(&[("x-request-timeout-ms", "soon")])),
            "1000"
        );
        tokio::time::advance(Duration::from_micros(999_900)).await;
        assert_eq!(written(second, HeaderMap::new()), "1");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(written(second, HeaderMap::new()), "0");
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_nothing_read_is_longer_than_a_day(value in proptest::collection::vec(any::<u8>(), 0..40)) {
            let now = SystemTime::now();
            prop_assert!(time_left_until_unix_millis(&value, now).is_none_or(|left| left <= LONGEST));
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                for name in [REQUEST_TIMEOUT_MS, GRPC_TIMEOUT, ENVOY_TIMEOUT_MS] {
                    let mut headers = HeaderMap::new();
                    headers.insert(name, value.clone());
                    prop_assert!(time_left(&headers).is_none_or(|left| left <= LONGEST));
                }
            }
        }

        #[test]
        fn what_is_written_is_read_back_to_the_millisecond(millis in 0u64..86_400_000, since in 0u64..4_000_000_000_000) {
            let (left, now) = (Duration::from_millis(millis), SystemTime::UNIX_EPOCH + Duration::from_millis(since));
            let at = unix_millis(left, now).to_string();
            prop_assert_eq!(time_left_until_unix_millis(at.as_bytes(), now), Some(left));
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_TIMEOUT_MS, HeaderValue::from(whole_millis(left)));
            prop_assert_eq!(time_left(&headers), Some(left));
        }

        #[test]
        fn the_answer_is_the_least_of_what_can_be_read(millis in proptest::collection::vec(0u64..100_000, 1..6)) {
            let mut headers = HeaderMap::new();
            for millis in &millis {
                headers.append(REQUEST_TIMEOUT_MS, HeaderValue::from(*millis));
            }
            prop_assert_eq!(time_left(&headers).map(|left| left.as_millis() as u64), millis.iter().copied().min());
        }
    }
}
