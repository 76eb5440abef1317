//! How many logins to a node may be in flight. Pure.
//!
//! A login takes some milliseconds of a processor on each side, so that many at once delay each other, and everything
//! else that a server has to do that was just promoted. A burst begins with few and grows with each that succeeds. One
//! that timed out may have been held up by the others: with half as many, down to one, each has more of the processors,
//! and what can be logged in at all is.

/// A burst begins with these.
const FIRST: usize = 2;
/// More would be a storm.
const MOST: usize = 8;

/// Logins that may be in flight to one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limit(usize);

impl Default for Limit {
    fn default() -> Self {
        Self(FIRST)
    }
}

impl Limit {
    pub(super) fn get(self) -> usize {
        self.0
    }

    pub(super) fn succeeded(&mut self) {
        self.0 = (self.0 + 1).min(MOST);
    }

    pub(super) fn timed_out(&mut self) {
        self.0 = (self.0 / 2).max(1);
    }

    /// None is in flight any more: the next one begins a burst.
    pub(super) fn rested(&mut self) {
        self.0 = self.0.min(FIRST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_by_one_with_each_success_and_halves_with_each_time_out() {
        let mut limit = Limit::default();
        for _ in 0..20 {
            limit.succeeded();
        }
        assert_eq!(limit.get(), MOST);
        let halved: Vec<_> = (0..4)
            .map(|_| {
                limit.timed_out();
                limit.get()
            })
            .collect();
        assert_eq!(halved, [4, 2, 1, 1]);
        limit.rested();
        assert_eq!(limit.get(), 1, "what was learnt stays");
        (0..5).for_each(|_| limit.succeeded());
        limit.rested();
        assert_eq!(limit.get(), FIRST);
    }
}
