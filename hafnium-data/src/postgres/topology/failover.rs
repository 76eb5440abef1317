//! How long the database was without a primary when another node took its place.

use std::time::Duration;

use tokio::time::Instant;

use super::NodeId;

/// The last primary, and since when there is none.
#[derive(Debug, Default)]
pub(crate) struct Failover {
    last: Option<NodeId>,
    missing: Option<Instant>,
}

impl Failover {
    /// Who takes writes at `now`. When that is another node than before: it, and how long there was none.
    pub(crate) fn note(&mut self, writer: Option<NodeId>, now: Instant) -> Option<(NodeId, Duration)> {
        let Some(writer) = writer else {
            self.missing.get_or_insert(now);
            return None;
        };
        let missing = self.missing.take();
        let before = self.last.replace(writer);
        before.filter(|before| *before != writer)?;
        let gap = missing.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        Some((writer, gap))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_change_of_the_primary_is_a_failover_and_it_lasts_from_the_loss_of_the_old_one() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let (a, b) = (Some(NodeId(0)), Some(NodeId(1)));
        let mut failover = Failover::default();
        assert_eq!(failover.note(None, at(0)), None);
        assert_eq!(failover.note(a, at(1)), None, "the first one");
        assert_eq!(failover.note(None, at(2)), None);
        assert_eq!(failover.note(a, at(3)), None, "it was only suspect");
        assert_eq!(failover.note(None, at(4)), None);
        assert_eq!(failover.note(None, at(5)), None);
        assert_eq!(failover.note(b, at(6)), Some((NodeId(1), Duration::from_secs(2))));
        assert_eq!(failover.note(b, at(7)), None);
        assert_eq!(failover.note(a, at(8)), Some((NodeId(0), Duration::ZERO)));
    }
}
