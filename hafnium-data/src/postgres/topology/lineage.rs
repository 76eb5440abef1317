//! Whose history a standby replays. A position says nothing of it: a standby that goes on following a deposed primary
//! is past positions of the new one, on another history.

/// The timeline that a standby follows, as far as its server shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Following {
    /// It receives this one: exact, and shown to who may read all statistics.
    Received(u32),
    /// It had reached this one at its last restart point, and may have left it since.
    AtLeast(u32),
}

/// What one process showed of the history it replays.
///
/// Invariant: a process that was found on another history than a primary stays there for its life, unless it shows
/// a later timeline than that primary's: recovery never goes back behind a point that it has passed.
#[derive(Debug, Default)]
pub(crate) struct Lineage {
    received: Option<u32>,
    reached: Option<u32>,
    /// The timeline of the primary whose log it was ahead of.
    ahead_of: Option<u32>,
}

impl Lineage {
    pub(crate) fn note(&mut self, following: Option<Following>) {
        match following {
            Some(Following::Received(timeline)) => self.received = Some(timeline),
            Some(Following::AtLeast(timeline)) => self.reached = self.reached.max(Some(timeline)),
            None => {}
        }
    }

    /// It had replayed up to `replayed` before the primary of `timeline` was asked and had got to `end`. A primary
    /// sends nothing that it has not written, so that who is ahead has it from another.
    pub(crate) fn compare(&mut self, replayed: i64, timeline: u32, end: i64) {
        if replayed > end {
            self.ahead_of = Some(timeline);
        }
    }

    /// Whether it is known to have left the history of the primary on `timeline`, of which `began` was seen first.
    pub(crate) fn diverged(&self, replayed: i64, timeline: u32, began: i64) -> bool {
        let shown = self.received.max(self.reached);
        let ahead = self.ahead_of.is_some_and(|primary| shown <= Some(primary));
        // A timeline begins before its primary says so: who is past that on an earlier one has missed the turn.
        let missed = self.received.is_some() && shown < Some(timeline) && replayed >= began;
        ahead || missed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lineage(following: Following) -> Lineage {
        let mut lineage = Lineage::default();
        lineage.note(Some(following));
        lineage
    }

    #[test]
    fn who_receives_an_earlier_timeline_diverged_once_it_is_past_the_turn() {
        let old = lineage(Following::Received(1));
        assert!(!old.diverged(99, 2, 100));
        assert!(old.diverged(100, 2, 100));
        assert!(!lineage(Following::Received(2)).diverged(100, 2, 100));
        let mut lost = old;
        lost.note(None);
        assert!(lost.diverged(100, 2, 100), "its receiver ended");
        lost.note(Some(Following::AtLeast(2)));
        assert!(!lost.diverged(100, 2, 100), "it came by way of an archive");
    }

    #[test]
    fn an_old_restart_point_proves_nothing() {
        assert!(!lineage(Following::AtLeast(1)).diverged(100, 2, 100));
        assert!(!Lineage::default().diverged(100, 2, 100));
    }

    #[test]
    fn who_was_ahead_of_a_primary_stays_diverged_until_it_shows_a_later_timeline() {
        for shown in [None, Some(Following::AtLeast(2)), Some(Following::Received(2))] {
            let mut lineage = Lineage::default();
            lineage.note(shown);
            lineage.compare(100, 2, 100);
            assert!(!lineage.diverged(100, 2, 50));
            lineage.compare(101, 2, 100);
            assert!(lineage.diverged(101, 2, 50), "{shown:?}");
            assert!(
                lineage.diverged(150, 3, 50),
                "a new primary does not bring it back"
            );
            lineage.note(Some(Following::AtLeast(3)));
            assert!(!lineage.diverged(150, 3, 50));
        }
    }
}
