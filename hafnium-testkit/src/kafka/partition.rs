//! Who leads a partition, and who follows closely.

use std::fmt;

use crate::Error;

/// The state of a partition as the brokers' metadata says.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct PartitionState {
    /// Its number.
    pub partition: i32,
    /// Id of the broker that leads it; `None` when there is none that may.
    pub leader: Option<i32>,
    /// Rises with every election.
    pub epoch: i32,
    /// Ids of the brokers that shall hold it, in order.
    pub replicas: Vec<i32>,
    /// Ids of the brokers that hold all of it, in order.
    pub in_sync: Vec<i32>,
}

impl PartitionState {
    /// The leader.
    ///
    /// # Errors
    /// [`Error::Refused`] when there is none.
    pub fn leader(&self) -> Result<i32, Error> {
        self.leader.ok_or_else(|| {
            Error::refused(
                format!("find the leader of partition {}", self.partition),
                "it has none",
            )
        })
    }

    /// Whether it has a leader and every replica holds all of it.
    pub fn is_in_sync(&self) -> bool {
        self.leader.is_some() && self.in_sync == self.replicas
    }
}

impl fmt::Display for PartitionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.leader {
            Some(leader) => write!(f, "leader {leader}")?,
            None => f.write_str("no leader")?,
        }
        write!(
            f,
            " in epoch {}, in sync {:?} of {:?}",
            self.epoch, self.in_sync, self.replicas
        )
    }
}
