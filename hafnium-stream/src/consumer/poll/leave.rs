//! Commits, and the way out.

use rdkafka::consumer::{CommitMode, Consumer as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::{Poller, report};
use crate::consumer::state::{Ending, Problem};

impl Poller {
    /// Commits what is new, in one request. Waits for the answer: asynchronous commits never tell theirs
    /// (rust-rdkafka #856).
    pub(super) fn commit(&mut self) -> bool {
        let mut list = TopicPartitionList::new();
        for partition in self.partitions.iter() {
            if let Some(offset) = partition.to_commit() {
                let lease = &partition.lease;
                report(
                    "commit",
                    list.add_partition_offset(&lease.topic, lease.partition, Offset::Offset(offset)),
                );
            }
        }
        if list.count() == 0 {
            return true;
        }
        match self.consumer.commit(&list, CommitMode::Sync) {
            Ok(()) => {
                for element in list.elements() {
                    if let Some(partition) = self.partitions.get_mut(element.topic(), element.partition()) {
                        partition.committed = element.offset().to_raw();
                    }
                }
                self.state.solve(Problem::Commits);
                true
            }
            Err(error) => {
                self.state.raise(Problem::Commits, error.to_string());
                false
            }
        }
    }

    /// Hands back what is left, commits, leaves the group.
    pub(super) fn close(mut self) {
        self.state.set_stragglers(self.stragglers());
        for partition in self.partitions.iter() {
            partition.lease.cut.cancel();
        }
        if !self.commit() {
            // Once more: a coordinator may just have moved.
            self.commit();
        }
        self.consumer.context().close();
        for leaving in self.leaving.drain(..) {
            report(
                "incremental_unassign",
                self.consumer.incremental_unassign(&leaving.partitions),
            );
        }
        let Self {
            consumer,
            state,
            shop,
            ..
        } = self;
        // Leaves the group, and serves the rebalance that comes of it. Without brokers it takes up to a session
        // timeout (librdkafka), which is why it happens here and not in anybody's `drop`.
        drop(consumer);
        tracing::info!(group = shop.group, "the consumer has left its group");
        let failed = state.failed().map(|reason| Ending::Failed(reason.to_owned()));
        state.end(failed.unwrap_or(Ending::Asked));
    }

    /// What is still in hand, by partition.
    fn stragglers(&self) -> Vec<String> {
        let live = self.shop.live();
        let mut names: Vec<String> = self
            .partitions
            .iter()
            .filter(|partition| partition.tracker.in_hand() > 0)
            .map(|partition| {
                let lease = &partition.lease;
                let keys = live
                    .get(&(lease.topic.clone(), lease.partition))
                    .copied()
                    .unwrap_or_default();
                let records = partition.tracker.in_hand();
                format!(
                    "{}[{}]: {records} records of {keys} keys",
                    lease.topic, lease.partition
                )
            })
            .collect();
        names.sort();
        names
    }
}
