//! Which cluster is the right one: decided once, from what the nodes say at the start. Pure.
//!
//! A node that was made anew by mistake is empty and believes in itself like any other, and its place in the URL says
//! nothing. Where the nodes disagree the majority of those that the URL names is right; without one nothing is guessed.

/// What the nodes say of their cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Survey {
    /// Nobody answered yet.
    Silence,
    /// Its system identifier.
    Cluster(i64),
    /// Several, and none has the majority of the nodes.
    Disagreement,
}

/// Counts what each node of the URL said last, if it ever answered.
pub(super) fn survey(said: &[Option<i64>]) -> Survey {
    let mut answers = said.iter().flatten();
    let Some(first) = answers.next() else {
        return Survey::Silence;
    };
    if answers.all(|system| system == first) {
        return Survey::Cluster(*first);
    }
    let votes = |system: &i64| said.iter().flatten().filter(|said| *said == system).count();
    let most = said
        .iter()
        .flatten()
        .find(|system| votes(system) * 2 > said.len());
    most.map_or(Survey::Disagreement, |system| Survey::Cluster(*system))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_majority_of_the_named_nodes_is_right_wherever_it_stands_in_the_url() {
        let (us, them) = (Some(7), Some(8));
        assert_eq!(survey(&[None, None]), Survey::Silence);
        assert_eq!(
            survey(&[None, us, None]),
            Survey::Cluster(7),
            "nobody says otherwise"
        );
        for nodes in [[us, us, them], [us, them, us], [them, us, us]] {
            assert_eq!(survey(&nodes), Survey::Cluster(7));
        }
        for nodes in [[us, them, None], [them, us, None], [None, them, us]] {
            assert_eq!(
                survey(&nodes),
                Survey::Disagreement,
                "two of three is a majority, one of two is not"
            );
        }
        assert_eq!(survey(&[us, them]), Survey::Disagreement);
        assert_eq!(survey(&[us, us, them, them]), Survey::Disagreement);
        assert_eq!(survey(&[us, Some(8), Some(9)]), Survey::Disagreement);
    }
}
