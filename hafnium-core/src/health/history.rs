//! What became of a check: its last changes, for the operator's page.

use std::sync::Arc;

use tokio::time::Instant;

use super::hysteresis::Health;

/// How many changes are kept per check.
const KEPT: usize = 16;

/// The health of a check changed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Change {
    /// When.
    pub at: Instant,
    /// To what.
    pub health: Health,
    /// Why, where it is not plainly up.
    pub reason: Option<String>,
}

/// The last changes of one check. Reading it costs no copy: probes read it more often than it changes.
#[derive(Debug, Clone, Default)]
pub(super) struct History {
    changes: Arc<[Change]>,
}

impl History {
    pub(super) fn add(&mut self, change: Change) {
        let dropped = (self.changes.len() + 1).saturating_sub(KEPT);
        let kept = self.changes.iter().skip(dropped).cloned();
        self.changes = kept.chain([change]).collect();
    }

    /// The latest one last.
    pub(super) fn changes(&self) -> Arc<[Change]> {
        self.changes.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_last_sixteen_changes_are_kept_the_latest_one_last() {
        let begun = Instant::now();
        let mut history = History::default();
        for second in 0..20 {
            history.add(Change {
                at: begun + Duration::from_secs(second),
                health: Health::Down,
                reason: None,
            });
        }
        let changes = history.changes();
        assert_eq!(changes.len(), KEPT);
        assert_eq!(changes[0].at, begun + Duration::from_secs(4));
        assert_eq!(changes[KEPT - 1].at, begun + Duration::from_secs(19));
    }
}
