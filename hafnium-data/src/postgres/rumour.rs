//! A newer primary that only the token of a client speaks of. Pure: time is passed in.
//!
//! Tokens are not signed, so that nothing is suspected on the word of one: who made it up would stop everybody's writes.
//! All that it does is that the nodes are asked sooner than they would have been, and only so often.

use std::time::Duration;

use tokio::time::Instant;

/// Between two times that the nodes are asked on the word of tokens, however many come.
const PAUSE: Duration = Duration::from_millis(100);

/// When a token was last listened to.
#[derive(Debug, Default)]
pub(crate) struct Rumours {
    heeded: Option<Instant>,
}

impl Rumours {
    /// A token speaks of a newer primary. Whether the nodes are to be asked now.
    pub(crate) fn heed(&mut self, now: Instant) -> bool {
        let heed = self
            .heeded
            .is_none_or(|heeded| now.saturating_duration_since(heeded) >= PAUSE);
        if heed {
            self.heeded = Some(now);
        }
        heed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_many_tokens_come_the_nodes_are_asked_ten_times_a_second() {
        let begun = Instant::now();
        let mut rumours = Rumours::default();
        let heeded = (0..5000_u64).filter(|i| rumours.heed(begun + Duration::from_micros(200 * i)));
        assert_eq!(heeded.count(), 10);
        assert!(rumours.heed(begun + Duration::from_secs(2)));
    }
}
