//! The change of the filter that is in force, if there is one.
//!
//! Invariant: what is gone back to is the filter from before the *first* change, however many follow it, and a timer of
//! an earlier change never ends a later one.

use tokio::time::Instant;

#[derive(Debug, Default)]
pub(super) struct Temporary {
    lent: Option<Lent>,
    changes: u64,
}

#[derive(Debug)]
struct Lent {
    before: String,
    until: Instant,
}

impl Temporary {
    /// A change until `until`, made while `in_force` was in force; returns its number.
    pub(super) fn begin(&mut self, in_force: String, until: Instant) -> u64 {
        let before = self.end().unwrap_or(in_force);
        self.lent = Some(Lent { before, until });
        self.changes += 1;
        self.changes
    }

    /// The time of that change is over: what to go back to, unless another one followed or it was taken back.
    pub(super) fn expire(&mut self, change: u64) -> Option<String> {
        match change == self.changes {
            true => self.end(),
            false => None,
        }
    }

    /// What to go back to now.
    pub(super) fn end(&mut self) -> Option<String> {
        self.lent.take().map(|lent| lent.before)
    }

    pub(super) fn before(&self) -> Option<&str> {
        self.lent.as_ref().map(|lent| lent.before.as_str())
    }

    pub(super) fn until(&self) -> Option<Instant> {
        self.lent.as_ref().map(|lent| lent.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Clone)]
    enum Step {
        Change(u8),
        TakeBack,
        /// The timer of the n-th change so far.
        Expire(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            any::<u8>().prop_map(Step::Change),
            Just(Step::TakeBack),
            (0..8_usize).prop_map(Step::Expire),
        ]
    }

    proptest! {
        #[test]
        fn whatever_happens_the_configured_filter_comes_back(steps in prop::collection::vec(step(), 0..30)) {
            let until = Instant::now();
            let mut temporary = Temporary::default();
            let mut in_force = "configured".to_owned();
            let mut changes = Vec::new();
            for step in steps {
                match step {
                    Step::Change(filter) => {
                        changes.push(temporary.begin(in_force, until));
                        in_force = filter.to_string();
                    }
                    Step::TakeBack => in_force = temporary.end().unwrap_or(in_force),
                    Step::Expire(nth) => {
                        if let Some(change) = changes.get(nth) {
                            let newest = Some(change) == changes.last();
                            let before = temporary.expire(*change);
                            prop_assert!(newest || before.is_none());
                            in_force = before.unwrap_or(in_force);
                        }
                    }
                }
                // Either a change is in force and knows what it will go back to, or there is none.
                match temporary.before() {
                    Some(before) => prop_assert_eq!(before, "configured"),
                    None => prop_assert_eq!(&in_force, "configured"),
                }
            }
            if let Some(change) = changes.last() {
                in_force = temporary.expire(*change).unwrap_or(in_force);
            }
            prop_assert_eq!(in_force, "configured");
        }
    }
}
