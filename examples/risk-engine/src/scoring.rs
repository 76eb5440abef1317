//! The risk model: the larger the amount and the faster the account pays, the higher the score.

use crate::payment::Payment;

/// The score of `payment`, 0 to 100. An unknown velocity counts as a moderate one: better cautious than blind.
pub(crate) fn score(payment: &Payment, velocity: Option<i64>, large_amount: i64) -> i32 {
    const UNKNOWN_VELOCITY: i64 = 5;
    let amount = (payment.amount as f64 / large_amount.max(1) as f64).min(1.0);
    let speed = (velocity.unwrap_or(UNKNOWN_VELOCITY) as f64 / 20.0).min(1.0);
    (60.0 * amount + 40.0 * speed).round() as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payment(amount: i64) -> Payment {
        Payment {
            id: "p".into(),
            account: "a".into(),
            amount,
        }
    }

    #[test]
    fn the_score_rises_with_amount_and_velocity_and_stays_within_its_bounds() {
        assert!(score(&payment(100), Some(1), 10_000) < score(&payment(9_000), Some(1), 10_000));
        assert!(score(&payment(100), Some(1), 10_000) < score(&payment(100), Some(15), 10_000));
        assert_eq!(score(&payment(i64::MAX), Some(i64::MAX), 10_000), 100);
        assert!(score(&payment(1), None, 0) <= 100);
    }
}
