//! The partitions that a consumer holds.

use std::collections::HashMap;
use std::sync::Arc;

use super::lease::Lease;
use super::tracker::Tracker;

pub(crate) struct Partition {
    pub(crate) lease: Arc<Lease>,
    pub(crate) tracker: Tracker,
    /// The offset that the group is known to have committed for it here.
    pub(crate) committed: Option<i64>,
    /// Nothing new is taken: it is about to be given back.
    pub(crate) leaving: bool,
    /// Nothing is fetched, because too much of it is not committable.
    pub(crate) paused: bool,
}

impl Partition {
    pub(crate) fn new(lease: Lease) -> Self {
        Self {
            lease: Arc::new(lease),
            tracker: Tracker::default(),
            committed: None,
            leaving: false,
            paused: false,
        }
    }

    /// Takes nothing new; what did not begin is handed back unless it lies below something that did.
    pub(crate) fn surrender(&mut self) {
        self.leaving = true;
        let last = self.lease.surrender();
        self.tracker.hand_back_after(last);
    }

    /// The offset to commit, if there is a new one.
    pub(crate) fn to_commit(&self) -> Option<i64> {
        self.tracker
            .committable()
            .filter(|offset| Some(*offset) != self.committed)
    }
}

/// By topic and number.
#[derive(Default)]
pub(crate) struct Partitions {
    by_topic: HashMap<Arc<str>, HashMap<i32, Partition>>,
}

impl Partitions {
    pub(crate) fn get_mut(&mut self, topic: &str, partition: i32) -> Option<&mut Partition> {
        self.by_topic.get_mut(topic)?.get_mut(&partition)
    }

    pub(crate) fn get(&self, topic: &str, partition: i32) -> Option<&Partition> {
        self.by_topic.get(topic)?.get(&partition)
    }

    /// Begins the assignment of a partition; an earlier one of the same is over.
    pub(crate) fn insert(&mut self, topic: &str, number: i32, generation: u64) -> &mut Partition {
        let topic = match self.by_topic.get_key_value(topic) {
            Some((topic, _)) => topic.clone(),
            None => topic.into(),
        };
        let partition = Partition::new(Lease::new(topic.clone(), number, generation));
        let of_topic = self.by_topic.entry(topic).or_default();
        if let Some(earlier) = of_topic.remove(&number) {
            earlier.lease.cut.cancel();
        }
        of_topic.entry(number).or_insert(partition)
    }

    pub(crate) fn remove(&mut self, topic: &str, number: i32) -> Option<Partition> {
        self.by_topic.get_mut(topic)?.remove(&number)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Partition> {
        self.by_topic.values().flat_map(HashMap::values)
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Partition> {
        self.by_topic.values_mut().flat_map(HashMap::values_mut)
    }
}
