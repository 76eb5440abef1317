//! One number per round, and what they say together.

/// The median over all rounds.
pub(crate) struct Ratio {
    pub(crate) median: f64,
    /// The middle half.
    from: f64,
    to: f64,
}

impl Ratio {
    /// `None` when a round has no number: then there is no ratio.
    pub(crate) fn of(rounds: Vec<Option<f64>>) -> Option<Self> {
        let mut rounds: Vec<f64> = rounds.into_iter().collect::<Option<_>>()?;
        rounds.sort_by(f64::total_cmp);
        let at = |share: f64| {
            rounds
                .get(((rounds.len() - 1) as f64 * share).round() as usize)
                .copied()
        };
        Some(Self {
            median: at(0.5)?,
            from: at(0.25)?,
            to: at(0.75)?,
        })
    }
}

impl std::fmt::Display for Ratio {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:.3} (middle half {:.3}..{:.3})",
            self.median, self.from, self.to
        )
    }
}
