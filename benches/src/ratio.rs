//! A ratio over interleaved rounds.

use std::fmt;

use hafnium_testkit::referee::Row;

/// The median of what the rounds showed, and the interval that their middle half lies in.
///
/// A ratio is made per round, of measurements that follow each other at once: what disturbs the machine for longer than
/// a round disturbs both sides of it.
#[derive(Debug, Clone, Copy, PartialEq)]
#[must_use]
pub struct Ratio {
    /// Half of the rounds showed no more.
    pub median: f64,
    /// A quarter of the rounds showed less.
    pub low: f64,
    /// A quarter of the rounds showed more.
    pub high: f64,
}

impl Ratio {
    /// Of one value per round; `NaN` of none.
    pub fn of(rounds: impl IntoIterator<Item = f64>) -> Self {
        let mut rounds: Vec<f64> = rounds.into_iter().collect();
        rounds.sort_by(f64::total_cmp);
        let last = rounds.len().saturating_sub(1) as f64;
        let at = |share: f64| rounds.get((last * share).round() as usize).copied();
        Self {
            median: at(0.5).unwrap_or(f64::NAN),
            low: at(0.25).unwrap_or(f64::NAN),
            high: at(0.75).unwrap_or(f64::NAN),
        }
    }

    /// The row of it, with its interval.
    pub fn row(self, name: &str, case: impl Into<String>) -> Row {
        self.row_in(name, case, "ratio")
    }

    /// The same of a value in `unit`.
    pub fn row_in(self, name: &str, case: impl Into<String>, unit: &str) -> Row {
        Row::new(name, case, Some(self.median), unit).between(self.low, self.high)
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { median, low, high } = self;
        write!(f, "{median:.3} (middle half {low:.3}..{high:.3})")
    }
}

/// The order in which so many candidates take their turn in `round`: each comes first equally often, so that a drift of
/// the machine favours none.
pub fn turned<const N: usize>(round: usize) -> [usize; N] {
    std::array::from_fn(|place| (place + round) % N)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_wild_round_moves_neither_the_median_nor_the_interval() {
        let quiet = [1.0, 1.01, 0.99, 1.02, 0.98, 1.0, 1.01, 0.99];
        let ratio = Ratio::of(quiet.into_iter().chain([17.0]));
        assert!((0.99..=1.01).contains(&ratio.median), "{ratio}");
        assert!(ratio.low >= 0.98 && ratio.high <= 1.02, "{ratio}");
        assert!(Ratio::of([]).median.is_nan());
    }

    #[test]
    fn each_candidate_comes_first_equally_often_and_none_is_left_out() {
        assert_eq!(turned::<3>(0), [0, 1, 2]);
        assert_eq!(turned::<3>(1), [1, 2, 0]);
        assert_eq!(turned::<3>(5), [2, 0, 1]);
    }
}
