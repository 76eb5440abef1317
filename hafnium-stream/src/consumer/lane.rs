//! Lanes: one queue per live key. Pure state.
//!
//! Not hash lanes: a slow key must not delay another one that happens to share its hash. A lane exists while a record
//! of its key is being handled, and is freed with the last one.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::Arc;

use bytes::Bytes;

use super::spec::Order;

/// What must be handled in order.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum LaneKey {
    Key(Arc<str>, i32, Bytes),
    Partition(Arc<str>, i32),
    /// A record that waits for none.
    Alone(Arc<str>, i32, i64),
}

impl LaneKey {
    pub(crate) fn of(
        order: Order,
        topic: &Arc<str>,
        partition: i32,
        key: Option<&Bytes>,
        offset: i64,
    ) -> Self {
        match (order, key) {
            (Order::ByKey, Some(key)) => Self::Key(topic.clone(), partition, key.clone()),
            (Order::ByPartition, _) => Self::Partition(topic.clone(), partition),
            (Order::ByKey | Order::None, _) => Self::Alone(topic.clone(), partition, offset),
        }
    }

    pub(crate) fn partition(&self) -> (Arc<str>, i32) {
        let (Self::Key(topic, number, _) | Self::Partition(topic, number) | Self::Alone(topic, number, _)) =
            self;
        (topic.clone(), *number)
    }
}

/// The live lanes. The record at the head of a lane is out for handling and not in its queue.
#[derive(Debug)]
pub(crate) struct Lanes<K, T> {
    live: HashMap<K, VecDeque<T>>,
}

impl<K: Hash + Eq + Clone, T> Lanes<K, T> {
    pub(crate) fn new() -> Self {
        Self { live: HashMap::new() }
    }

    /// The live lanes.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &K> {
        self.live.keys()
    }

    /// A record arrives: returned when its lane was free, to be handled now; else it waits for its turn.
    pub(crate) fn arrive(&mut self, key: &K, record: T) -> Option<T> {
        match self.live.get_mut(key) {
            Some(waiting) => {
                waiting.push_back(record);
                None
            }
            None => {
                self.live.insert(key.clone(), VecDeque::new());
                Some(record)
            }
        }
    }

    /// The record that was out has ended: returns the next of its lane, or frees the lane.
    pub(crate) fn next(&mut self, key: &K) -> Option<T> {
        let next = self.live.get_mut(key)?.pop_front();
        if next.is_none() {
            self.live.remove(key);
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever arrives and in whatever order lanes come to their end: records of one key go out one at a time
        /// and in the order of their arrival, other keys never wait, and nothing is left behind.
        #[test]
        fn keys_keep_their_order_and_never_wait_for_each_other(
            arrivals in prop::collection::vec(0..5u8, 0..100),
            ends in prop::collection::vec(any::<usize>(), 0..400),
        ) {
            let mut lanes = Lanes::new();
            let mut out: Vec<(u8, usize)> = Vec::new();
            let mut finished: Vec<(u8, usize)> = Vec::new();
            let mut arrivals = arrivals.into_iter().enumerate().peekable();
            let mut ends = ends.into_iter();
            let total = arrivals.len();
            loop {
                let n = ends.next().unwrap_or(0);
                match arrivals.peek() {
                    Some(_) if n % 2 == 0 => {
                        let (sequence, key) = arrivals.next().unwrap();
                        let live = out.iter().any(|(other, _)| *other == key);
                        let now = lanes.arrive(&key, sequence);
                        prop_assert_eq!(now.is_none(), live, "a free key goes at once");
                        out.extend(now.map(|sequence| (key, sequence)));
                    }
                    more => {
                        let more = more.is_some();
                        if out.is_empty() {
                            if more { continue } else { break }
                        }
                        let (key, sequence) = out.swap_remove(n % out.len());
                        finished.push((key, sequence));
                        out.extend(lanes.next(&key).map(|sequence| (key, sequence)));
                    }
                }
            }
            prop_assert_eq!(finished.len(), total);
            prop_assert!(lanes.live.is_empty());
            for key in 0..5 {
                let of_key: Vec<_> = finished.iter().filter(|(k, _)| *k == key).map(|(_, s)| *s).collect();
                prop_assert!(of_key.is_sorted());
            }
        }
    }

    #[test]
    fn records_without_a_key_wait_for_none_unless_the_partition_is_the_order() {
        let topic: Arc<str> = "t".into();
        let of = |order, offset| LaneKey::of(order, &topic, 0, None, offset);
        assert_ne!(of(Order::ByKey, 1), of(Order::ByKey, 2));
        assert_eq!(of(Order::ByPartition, 1), of(Order::ByPartition, 2));
        let key = Bytes::from_static(b"k");
        let keyed = |order, offset| LaneKey::of(order, &topic, 0, Some(&key), offset);
        assert_eq!(keyed(Order::ByKey, 1), keyed(Order::ByKey, 2));
        assert_ne!(keyed(Order::None, 1), keyed(Order::None, 2));
    }
}
