//! Which records of one partition are done. Pure state.
//!
//! The committable offset is the end of the contiguous done prefix: it never passes a record that is not done.

use std::collections::VecDeque;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    /// Taken and not done yet.
    InHand,
    Done,
    /// Will not be done here: handed back, or kept by a handler that stopped the consumer.
    HandedBack,
}

/// The records of one partition since its assignment, from the first one that is not done.
#[derive(Debug, Default)]
pub(crate) struct Tracker {
    /// By offset; offsets may have gaps (compaction, transaction markers).
    slots: VecDeque<(i64, Slot)>,
    last: Option<i64>,
    committable: Option<i64>,
    in_hand: usize,
}

impl Tracker {
    /// Notes a taken record; `false` when it was taken before, or an offset behind it was.
    pub(crate) fn take(&mut self, offset: i64) -> bool {
        if self.last.is_some_and(|last| offset <= last) {
            return false;
        }
        self.last = Some(offset);
        self.slots.push_back((offset, Slot::InHand));
        self.in_hand += 1;
        true
    }

    /// Notes that a record is done.
    pub(crate) fn done(&mut self, offset: i64) {
        self.settle(offset, Slot::Done);
        while let Some((offset, Slot::Done)) = self.slots.front() {
            self.committable = Some(offset + 1);
            self.slots.pop_front();
        }
    }

    /// Notes that a record will not be done here.
    pub(crate) fn hand_back(&mut self, offset: i64) {
        self.settle(offset, Slot::HandedBack);
    }

    /// Notes that no record behind `offset` will be done here.
    pub(crate) fn hand_back_after(&mut self, offset: i64) {
        for (slot_offset, slot) in self.slots.iter_mut().rev() {
            if *slot_offset <= offset {
                break;
            }
            if *slot == Slot::InHand {
                *slot = Slot::HandedBack;
                self.in_hand -= 1;
            }
        }
    }

    fn settle(&mut self, offset: i64, to: Slot) {
        let Ok(index) = self.slots.binary_search_by_key(&offset, |(offset, _)| *offset) else {
            return;
        };
        if let Some((_, slot)) = self.slots.get_mut(index)
            && *slot == Slot::InHand
        {
            *slot = to;
            self.in_hand -= 1;
        }
    }

    /// The offset up to which everything is done, if anything is.
    pub(crate) fn committable(&self) -> Option<i64> {
        self.committable
    }

    /// How many records are taken and not done.
    pub(crate) fn in_hand(&self) -> usize {
        self.in_hand
    }

    /// How many records are not committable, done ones among them.
    pub(crate) fn span(&self) -> usize {
        self.slots.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    #[derive(Debug, Clone)]
    enum Step {
        Take(i64),
        Done(usize),
        HandBack(usize),
        HandBackAfter(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            5 => (1..4i64).prop_map(Step::Take),
            5 => any::<usize>().prop_map(Step::Done),
            1 => any::<usize>().prop_map(Step::HandBack),
            1 => any::<usize>().prop_map(Step::HandBackAfter),
        ];
        prop::collection::vec(step, 0..200)
    }

    proptest! {
        /// Against a model that knows every record: the committable offset never passes one that is not done, and
        /// never stays behind one that could be passed.
        #[test]
        fn the_committable_offset_is_the_end_of_the_contiguous_done_prefix(steps in steps(), first in 0..1000i64) {
            let mut tracker = Tracker::default();
            let mut model: BTreeMap<i64, Slot> = BTreeMap::new();
            let mut next = first;
            let pick = |model: &BTreeMap<i64, Slot>, n: usize| {
                (!model.is_empty()).then(|| *model.keys().nth(n % model.len()).unwrap())
            };
            for step in steps {
                match step {
                    Step::Take(gap) => {
                        next += gap;
                        prop_assert!(tracker.take(next));
                        prop_assert!(!tracker.take(next), "a record is taken once");
                        model.insert(next, Slot::InHand);
                    }
                    Step::Done(n) => if let Some(offset) = pick(&model, n) {
                        tracker.done(offset);
                        let slot = model.get_mut(&offset).unwrap();
                        if *slot == Slot::InHand { *slot = Slot::Done; }
                    },
                    Step::HandBack(n) => if let Some(offset) = pick(&model, n) {
                        tracker.hand_back(offset);
                        let slot = model.get_mut(&offset).unwrap();
                        if *slot == Slot::InHand { *slot = Slot::HandedBack; }
                    },
                    Step::HandBackAfter(n) => if let Some(offset) = pick(&model, n) {
                        tracker.hand_back_after(offset);
                        for (_, slot) in model.range_mut(offset + 1..) {
                            if *slot == Slot::InHand { *slot = Slot::HandedBack; }
                        }
                    },
                }
                let expected = model.iter().take_while(|(_, slot)| **slot == Slot::Done).last().map(|(o, _)| o + 1);
                prop_assert_eq!(tracker.committable(), expected);
                prop_assert_eq!(tracker.in_hand(), model.values().filter(|slot| **slot == Slot::InHand).count());
            }
        }

        #[test]
        fn in_whatever_order_records_are_done_all_become_committable(
            (count, order) in (1..100usize).prop_flat_map(|n| (Just(n), Just((0..n as i64).collect::<Vec<_>>()).prop_shuffle()))
        ) {
            let mut tracker = Tracker::default();
            for offset in 0..count as i64 {
                tracker.take(offset);
            }
            let mut done = BTreeSet::new();
            for offset in order {
                tracker.done(offset);
                done.insert(offset);
                let prefix = (0..).take_while(|offset| done.contains(offset)).count() as i64;
                prop_assert_eq!(tracker.committable().unwrap_or(0), prefix);
            }
            prop_assert_eq!((tracker.in_hand(), tracker.span()), (0, 0));
        }
    }
}
