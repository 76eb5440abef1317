//! What became of every payment: compared after the end from what the broker acknowledged, what lies in Postgres and
//! what an independent consumer read. The service's own counters play no part.

use std::collections::{BTreeMap, BTreeSet};

/// What was found after the end.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Well-formed payments that the broker acknowledged.
    pub(crate) acknowledged: BTreeSet<String>,
    /// Malformed ones that it acknowledged.
    pub(crate) malformed: BTreeSet<String>,
    /// Payment ids with a score in Postgres.
    pub(crate) scores: BTreeSet<String>,
    /// Effects per payment id in Postgres.
    pub(crate) effects: BTreeMap<String, u64>,
    /// Records per payment id in `risk-scores`.
    pub(crate) published: BTreeMap<String, u64>,
    /// Payment ids in the dead-letter topic.
    pub(crate) dead: BTreeSet<String>,
}

/// The totals of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) acknowledged: usize,
    pub(crate) scored: usize,
    pub(crate) dead: usize,
    /// Acknowledged by the broker, but neither (scored, with its effect, and published) nor dead.
    pub(crate) lost: Vec<String>,
    /// More than one effect in Postgres.
    pub(crate) doubled: Vec<String>,
    /// Well-formed and yet given up as a dead letter, or malformed and yet scored.
    pub(crate) misjudged: Vec<String>,
    /// Published more than once: allowed (at least once), but counted.
    pub(crate) repeated: usize,
}

impl Found {
    pub(crate) fn totals(&self) -> Totals {
        let scored = |id: &&String| {
            self.scores.contains(*id) && self.effects.contains_key(*id) && self.published.contains_key(*id)
        };
        let everything = self.acknowledged.iter().chain(&self.malformed);
        let lost = everything
            .filter(|id| !scored(id) && !self.dead.contains(*id))
            .cloned()
            .collect();
        let misjudged = self
            .acknowledged
            .intersection(&self.dead)
            .chain(self.malformed.intersection(&self.scores));
        let misjudged = misjudged.cloned().collect();
        let more_than_one = |counts: &BTreeMap<String, u64>| -> Vec<String> {
            counts
                .iter()
                .filter(|(_, count)| **count > 1)
                .map(|(id, _)| id.clone())
                .collect()
        };
        Totals {
            acknowledged: self.acknowledged.len() + self.malformed.len(),
            scored: self.acknowledged.iter().filter(scored).count(),
            dead: self.dead.len(),
            lost,
            doubled: more_than_one(&self.effects),
            misjudged,
            repeated: more_than_one(&self.published).len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(acknowledged: &[&str], scored: &[&str]) -> Found {
        let ids = |ids: &[&str]| ids.iter().map(|id| id.to_string()).collect::<BTreeSet<_>>();
        let counts = |ids: &[&str]| {
            ids.iter()
                .map(|id| (id.to_string(), 1))
                .collect::<BTreeMap<_, _>>()
        };
        Found {
            acknowledged: ids(acknowledged),
            scores: ids(scored),
            effects: counts(scored),
            published: counts(scored),
            ..Found::default()
        }
    }

    #[test]
    fn what_was_acknowledged_and_is_nowhere_is_lost() {
        let totals = found(&["a", "b"], &["a"]).totals();
        assert_eq!(
            (totals.acknowledged, totals.scored, totals.lost),
            (2, 1, vec!["b".to_owned()])
        );
    }

    #[test]
    fn a_score_without_its_effect_or_without_its_record_is_lost() {
        let mut without_effect = found(&["a"], &["a"]);
        without_effect.effects.clear();
        assert_eq!(without_effect.totals().lost, ["a"]);
        let mut unpublished = found(&["a"], &["a"]);
        unpublished.published.clear();
        assert_eq!(unpublished.totals().lost, ["a"]);
    }

    #[test]
    fn a_malformed_payment_is_accounted_for_by_its_dead_letter() {
        let mut found = found(&[], &[]);
        found.malformed.insert("m".into());
        assert_eq!(found.totals().lost, ["m"]);
        found.dead.insert("m".into());
        assert_eq!((found.totals().lost.len(), found.totals().dead), (0, 1));
    }

    #[test]
    fn a_good_payment_that_is_dead_and_a_malformed_one_that_is_scored_are_misjudged() {
        let mut found = found(&["a"], &["m"]);
        found.malformed.insert("m".into());
        found.dead.insert("a".into());
        let totals = found.totals();
        assert_eq!(
            (totals.lost.len(), totals.misjudged),
            (0, vec!["a".to_owned(), "m".to_owned()])
        );
    }

    #[test]
    fn a_second_effect_is_doubled_and_a_second_record_is_only_repeated() {
        let mut found = found(&["a"], &["a"]);
        found.published.insert("a".into(), 2);
        assert_eq!((found.totals().doubled.len(), found.totals().repeated), (0, 1));
        found.effects.insert("a".into(), 2);
        assert_eq!(found.totals().doubled, ["a"]);
    }
}
