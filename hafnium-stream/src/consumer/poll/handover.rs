//! Partitions come and go.

use rdkafka::consumer::Consumer as _;
use rdkafka::topic_partition_list::TopicPartitionList;
use tokio::time::Instant;

use super::{Leaving, Poller, report};
use crate::consumer::rebalance::Rebalance;
use crate::consumer::state::Problem;

impl Poller {
    pub(super) fn serve_rebalances(&mut self, now: Instant) {
        while let Some(rebalance) = self.consumer.context().next() {
            match rebalance {
                Rebalance::Assigned(partitions) => self.assigned(&partitions),
                Rebalance::Revoked {
                    partitions,
                    lost: true,
                } => {
                    tracing::warn!(
                        group = self.shop.group,
                        count = partitions.count(),
                        "partitions were lost"
                    );
                    self.unassign(&partitions);
                }
                Rebalance::Revoked {
                    partitions,
                    lost: false,
                } => {
                    for element in partitions.elements() {
                        if let Some(partition) = self.partitions.get_mut(element.topic(), element.partition())
                        {
                            partition.surrender();
                        }
                    }
                    let until = now + self.drain_timeout;
                    self.leaving.push_back(Leaving { partitions, until });
                }
            }
        }
    }

    fn assigned(&mut self, partitions: &TopicPartitionList) {
        tracing::info!(
            group = self.shop.group,
            count = partitions.count(),
            "partitions assigned"
        );
        self.state.solve(Problem::Subscription);
        for element in partitions.elements() {
            self.generation += 1;
            let partition = self
                .partitions
                .insert(element.topic(), element.partition(), self.generation);
            if self.phase.is_draining() {
                partition.surrender();
            }
        }
        if self.pressure.is_paused() || self.phase.is_draining() {
            report("pause", self.consumer.pause(partitions));
        }
    }

    /// Gives revoked partitions back once what began of them is finished, or their time is over.
    pub(super) fn release(&mut self, now: Instant) {
        while let Some(leaving) = self.leaving.front() {
            let elements = leaving.partitions.elements();
            let in_hand = elements.iter().any(|element| {
                let partition = self.partitions.get(element.topic(), element.partition());
                partition.is_some_and(|partition| partition.tracker.in_hand() > 0)
            });
            if in_hand && now < leaving.until && !self.phase.is_past(now) {
                return;
            }
            drop(elements);
            if !self.commit() {
                // Once more: what is not committed now is done twice, here and by the next member.
                self.commit();
            }
            let Some(leaving) = self.leaving.pop_front() else {
                return;
            };
            let unfinished = self.unassign(&leaving.partitions);
            let count = leaving.partitions.count();
            tracing::info!(
                group = self.shop.group,
                count,
                unfinished,
                "partitions given back"
            );
        }
    }

    /// Answers a revocation; returns how many records of it were still in hand.
    ///
    /// librdkafka keeps a partition paused over revocation and assignment, so that one which came back would never be
    /// read again: it is resumed on its way out. Only a paused one is: for another one everything prefetched would be
    /// thrown away.
    fn unassign(&mut self, partitions: &TopicPartitionList) -> usize {
        let mut unfinished = 0;
        let mut paused = TopicPartitionList::new();
        for element in partitions.elements() {
            let Some(partition) = self.partitions.remove(element.topic(), element.partition()) else {
                continue;
            };
            unfinished += partition.tracker.in_hand();
            partition.lease.surrender();
            partition.lease.cut.cancel();
            if partition.paused || self.pressure.is_paused() || self.phase.is_draining() {
                paused.add_partition(element.topic(), element.partition());
            }
        }
        if paused.count() > 0 {
            report("resume", self.consumer.resume(&paused));
        }
        report(
            "incremental_unassign",
            self.consumer.incremental_unassign(partitions),
        );
        unfinished
    }
}
