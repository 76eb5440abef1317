//! Read-your-writes: how far the log had to be when a transaction had committed.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use sqlx::Row;
use sqlx::postgres::PgRow;

/// Where the log of a database ended when a transaction had committed: whoever has replayed as much sees what the
/// transaction wrote. Got from [`Tx::token`](super::Tx::token), used by
/// [`reader_after`](super::Postgres::reader_after).
///
/// Its text is three hexadecimal numbers (system identifier, timeline, position in bytes) joined by `-`, at most 42
/// characters that a header or a cookie takes as they are. It holds no secret and is not signed: one made up by a
/// client costs that client's own reads a wait, and shows nothing it could not read otherwise.
///
/// ```
/// use hafnium_data::postgres::Token;
///
/// let token: Token = "6b1f0c52a9d3e841-2-3000148".parse()?;
/// assert_eq!(token.to_string(), "6b1f0c52a9d3e841-2-3000148");
/// # Ok::<(), hafnium_data::postgres::TokenError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token {
    /// Which cluster: its system identifier.
    pub(crate) system: u64,
    pub(crate) timeline: u32,
    /// Bytes of log from its beginning.
    pub(crate) position: u64,
}

/// A text that is no [`Token`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a token: expected system identifier, timeline and position in lower-case hexadecimal without leading zeros, joined by `-`"
)]
pub struct TokenError;

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{:x}-{:x}", self.system, self.timeline, self.position)
    }
}

impl FromStr for Token {
    type Err = TokenError;

    /// Accepts exactly what [`Display`](fmt::Display) writes.
    fn from_str(text: &str) -> Result<Self, TokenError> {
        let mut parts = text.split('-').map(number);
        let (Some(Some(system)), Some(Some(timeline)), Some(Some(position)), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(TokenError);
        };
        let timeline = u32::try_from(timeline).map_err(|_| TokenError)?;
        Ok(Self {
            system,
            timeline,
            position,
        })
    }
}

/// One spelling per number, so that a token is one text.
fn number(digits: &str) -> Option<u64> {
    let plain = digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let shortest = digits.len() == 1 || !digits.starts_with('0');
    if !plain || !shortest {
        return None;
    }
    u64::from_str_radix(digits, 16).ok()
}

impl Token {
    /// What follows a COMMIT in the same message, as the transaction's token.
    ///
    /// The position is where the next record would go. That of the COMMIT itself can't be had, and the flushed one lies
    /// before it when `synchronous_commit` is off; a later position costs a wait at most. The timeline is in the name of
    /// the log file: the control file's is stale until a checkpoint.
    pub(crate) const QUESTION: &str = "SELECT (SELECT system_identifier FROM pg_control_system()), \
         pg_walfile_name(pg_current_wal_insert_lsn()), \
         (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint";

    /// Reads the answer to [`QUESTION`](Self::QUESTION); nothing when it is not as it should be.
    pub(crate) fn read(row: &PgRow) -> Option<Self> {
        let system: i64 = row.try_get(0).ok()?;
        let file: String = row.try_get(1).ok()?;
        let position: i64 = row.try_get(2).ok()?;
        Some(Self {
            system: system.cast_unsigned(),
            timeline: u32::from_str_radix(file.get(..8)?, 16).ok()?,
            position: u64::try_from(position).ok()?,
        })
    }
}

/// A [`Token`] that was asked for and is known once its transaction has committed. Clones share it.
#[derive(Clone, Default)]
#[must_use]
pub struct PendingToken {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    asked: AtomicBool,
    token: OnceLock<Token>,
}

impl PendingToken {
    /// The token, after [`transaction`](super::Postgres::transaction) or
    /// [`exactly_once`](super::Postgres::exactly_once) has returned success.
    ///
    /// `None` before that, after a rollback, on a replica, and when the connection was lost between the reply to COMMIT
    /// and the position: then read from the primary.
    pub fn get(&self) -> Option<Token> {
        self.shared.token.get().copied()
    }

    pub(crate) fn ask(&self) {
        self.shared.asked.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_asked(&self) -> bool {
        self.shared.asked.load(Ordering::Relaxed)
    }

    /// The first one stays: a transaction commits once.
    pub(crate) fn fill(&self, token: Option<Token>) {
        if let Some(token) = token {
            let _filled = self.shared.token.set(token);
        }
    }
}

impl fmt::Debug for PendingToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PendingToken").field(&self.get()).finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_token_survives_its_text(system: u64, timeline: u32, position: u64) {
            let token = Token { system, timeline, position };
            let text = token.to_string();
            prop_assert!(text.len() <= 42);
            prop_assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'));
            prop_assert_eq!(text.parse::<Token>(), Ok(token));
        }

        #[test]
        fn what_is_accepted_is_what_would_be_written(text in "[0-9a-fA-F+ -]{0,48}|.{0,64}") {
            if let Ok(token) = text.parse::<Token>() {
                prop_assert_eq!(token.to_string(), text);
            }
        }
    }

    #[test]
    fn anything_but_three_plain_numbers_is_refused() {
        for text in [
            "",
            "-",
            "--",
            "1-2",
            "1-2-3-4",
            "01-2-3",
            "+1-2-3",
            "1-2-0x3",
            "A-2-3",
            "1-100000000-3",
            "1-2-10000000000000000",
            " 1-2-3",
            "1-2-3\n",
            "1--3",
            "é-2-3",
        ] {
            assert_eq!(text.parse::<Token>(), Err(TokenError), "{text:?}");
        }
        assert!("0-0-0".parse::<Token>().is_ok());
    }
}
