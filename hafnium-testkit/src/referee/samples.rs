//! Percentiles over the runs of one figure.

/// Values of one figure, one per run.
#[derive(Clone, Debug, Default)]
pub struct Samples(Vec<f64>);

impl Samples {
    /// No values yet.
    pub fn new() -> Samples {
        Samples::default()
    }

    /// Adds the value of one run. A value that is no number (0/0) is left out: it was not measured.
    pub fn add(&mut self, value: f64) {
        if !value.is_nan() {
            self.0.push(value);
        }
    }

    /// Adds a duration in milliseconds.
    pub fn add_ms(&mut self, duration: std::time::Duration) {
        self.add(duration.as_secs_f64() * 1000.0);
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The smallest value that at least `percent` of all are not above (nearest rank: of 20 values the 95th is the
    /// 19th). `None` without values.
    pub fn percentile(&self, percent: f64) -> Option<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let rank = (percent / 100.0 * sorted.len() as f64).ceil().max(1.0) as usize;
        sorted.get(rank - 1).copied()
    }

    /// The middle value.
    pub fn median(&self) -> Option<f64> {
        self.percentile(50.0)
    }

    /// The largest value.
    pub fn worst(&self) -> Option<f64> {
        self.percentile(100.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_twenty_the_95th_percentile_is_the_nineteenth() {
        let mut samples = Samples::new();
        (1..=20).rev().for_each(|value| samples.add(f64::from(value)));
        assert_eq!(samples.percentile(95.0), Some(19.0));
        assert_eq!((samples.median(), samples.worst()), (Some(10.0), Some(20.0)));
        assert_eq!(Samples::new().median(), None);
    }
}
