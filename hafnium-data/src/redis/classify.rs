//! What a Redis error says happened.
//!
//! Every error reply of the server comes before execution (or, for a script, is its own), so a reply means *not run*.
//! A broken or silent connection after the command was handed over means *unknown*.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use hafnium_core::{Classified, Fault, Outcome};
use redis::{ErrorKind, RedisError};

/// What this crate says of a command, inside [`RedisError`] of kind `Io`.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Detail {
    /// No primary was there within the deadline: nothing was sent.
    #[error("no primary of redis.{store} within {waited:?}: {reason}")]
    NoPrimary {
        store: String,
        waited: std::time::Duration,
        reason: String,
    },
    /// The node was cut while the command was under way.
    #[error("redis.{store} switched away from {node} while the command was under way")]
    Cut { store: String, node: String },
    /// The node did not answer within the deadline.
    #[error("{node} of redis.{store} gave no reply within {waited:?}")]
    NoReply {
        store: String,
        node: String,
        waited: std::time::Duration,
    },
    /// The store was stopped.
    #[error("redis.{store} is stopped")]
    Stopped { store: String },
}

impl From<Detail> for RedisError {
    fn from(detail: Detail) -> Self {
        std::io::Error::other(detail).into()
    }
}

/// What `error` says: whether the command ran, whether to repeat it, whose fault it is, and a stable code.
///
/// ```
/// use hafnium_core::{Classify, Outcome};
/// let reply = redis::RedisError::from((redis::ErrorKind::Server(redis::ServerErrorKind::ReadOnly), "demoted"));
/// assert_eq!(hafnium_data::redis::classify(&reply).outcome(), Outcome::NotRun);
/// ```
pub fn classify(error: &RedisError) -> Classified {
    if let Some(detail) = detail(error) {
        return match detail {
            Detail::NoPrimary { .. } => not_run(true, Fault::Dependency, "redis.no_primary"),
            Detail::Stopped { .. } => not_run(false, Fault::Service, "redis.stopped"),
            Detail::Cut { .. } => unknown("redis.cut"),
            Detail::NoReply { .. } => unknown("redis.no_reply"),
        };
    }
    match error.code() {
        Some("READONLY") => not_run(true, Fault::Dependency, "redis.READONLY"),
        Some("LOADING") => not_run(true, Fault::Dependency, "redis.LOADING"),
        Some("MASTERDOWN") => not_run(true, Fault::Dependency, "redis.MASTERDOWN"),
        Some("NOREPLICAS") => not_run(true, Fault::Dependency, "redis.NOREPLICAS"),
        Some("TRYAGAIN") => not_run(true, Fault::Dependency, "redis.TRYAGAIN"),
        Some("BUSY") => not_run(true, Fault::Capacity, "redis.BUSY"),
        Some("CLUSTERDOWN") => not_run(true, Fault::Dependency, "redis.CLUSTERDOWN"),
        Some("OOM") => not_run(false, Fault::Capacity, "redis.OOM"),
        Some("MISCONF") => not_run(false, Fault::Dependency, "redis.MISCONF"),
        Some("NOAUTH") => not_run(false, Fault::Service, "redis.NOAUTH"),
        Some("WRONGPASS") => not_run(false, Fault::Service, "redis.WRONGPASS"),
        Some("NOPERM") => not_run(false, Fault::Service, "redis.NOPERM"),
        Some("EXECABORT") => not_run(false, Fault::Caller, "redis.EXECABORT"),
        Some(_) => not_run(false, Fault::Caller, "redis.reply"),
        None => match error.kind() {
            ErrorKind::Io if error.is_connection_refusal() => {
                not_run(true, Fault::Dependency, "redis.refused")
            }
            ErrorKind::AuthenticationFailed => not_run(false, Fault::Service, "redis.authentication"),
            ErrorKind::InvalidClientConfig | ErrorKind::Client => {
                not_run(false, Fault::Caller, "redis.client")
            }
            ErrorKind::UnexpectedReturnType => {
                Classified::new(Outcome::Unknown, false, Fault::Caller, "redis.unexpected_type")
            }
            _ => unknown("redis.io"),
        },
    }
}

/// A reply that was given less time than this says nothing of the node when it does not come.
const PATIENCE: Duration = Duration::from_millis(100);

/// Whether `error` casts doubt on the node or the connection it came from.
pub(crate) fn casts_doubt(error: &RedisError) -> bool {
    match detail(error) {
        Some(Detail::NoReply { waited, .. }) => return *waited >= PATIENCE,
        // Said by the monitor, which knows.
        Some(_) => return false,
        None => {}
    }
    match error.code() {
        Some(code) => matches!(code, "READONLY" | "LOADING" | "MASTERDOWN" | "NOREPLICAS"),
        None => matches!(error.kind(), ErrorKind::Io | ErrorKind::Parse),
    }
}

/// Whether the connection that `error` came from is of no use any more.
pub(crate) fn is_broken(error: &RedisError) -> bool {
    match error.kind() {
        ErrorKind::Parse => true,
        ErrorKind::Io => detail(error).is_none() && !error.is_timeout(),
        _ => false,
    }
}

/// Whether `error` says that the user or password is not accepted: waiting changes nothing.
pub(crate) fn refuses_login(error: &RedisError) -> bool {
    matches!(error.code(), Some("NOAUTH" | "WRONGPASS" | "NOPERM"))
}

type Cause = Arc<dyn std::error::Error + Send + Sync>;

fn detail(error: &RedisError) -> Option<&Detail> {
    // redis-rs 1.8 gives out the `Arc` that it keeps the cause in, which is an error of its own type.
    let cause = error.source()?.downcast_ref::<Cause>()?;
    cause.downcast_ref::<std::io::Error>()?.get_ref()?.downcast_ref()
}

fn not_run(retryable: bool, fault: Fault, code: &'static str) -> Classified {
    Classified::new(Outcome::NotRun, retryable, fault, code)
}

fn unknown(code: &'static str) -> Classified {
    Classified::new(Outcome::Unknown, false, Fault::Dependency, code)
}

#[cfg(test)]
mod tests {
    use hafnium_core::Classify;
    use redis::ServerErrorKind;

    use super::*;

    #[test]
    fn our_own_details_are_found_again_inside_a_redis_error() {
        let none = Detail::NoPrimary {
            store: "s".into(),
            waited: Default::default(),
            reason: "r".into(),
        };
        let none = classify(&none.into());
        assert_eq!((none.outcome(), none.retryable()), (Outcome::NotRun, true));
        let cut = classify(
            &Detail::Cut {
                store: "s".into(),
                node: "n".into(),
            }
            .into(),
        );
        assert_eq!((cut.outcome(), cut.retryable()), (Outcome::Unknown, false));
    }

    #[test]
    fn a_reply_that_had_no_time_to_come_casts_no_doubt() {
        let after = |waited| {
            RedisError::from(Detail::NoReply {
                store: "s".into(),
                node: "n".into(),
                waited,
            })
        };
        assert!(!casts_doubt(&after(Duration::from_millis(5))));
        assert!(casts_doubt(&after(Duration::from_millis(100))));
        assert!(!is_broken(&after(Duration::from_millis(100))));
    }

    #[test]
    fn a_reply_means_not_run_and_a_lost_connection_means_unknown() {
        let reply = RedisError::from((ErrorKind::Server(ServerErrorKind::ReadOnly), "demoted"));
        assert_eq!(classify(&reply).outcome(), Outcome::NotRun);
        assert!(casts_doubt(&reply));
        assert!(!is_broken(&reply));
        let reset = RedisError::from(std::io::Error::from(std::io::ErrorKind::ConnectionReset));
        assert_eq!(classify(&reset).outcome(), Outcome::Unknown);
        assert!(is_broken(&reset));
        let refused = RedisError::from(std::io::Error::from(std::io::ErrorKind::ConnectionRefused));
        assert_eq!(classify(&refused).outcome(), Outcome::NotRun);
    }
}
