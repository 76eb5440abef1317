//! The payments of a run: the same seed gives the same payments.
//!
//! Amounts are heavy-tailed (Pareto), accounts follow a Zipf distribution, and 0.5 % of the messages are malformed in
//! one of the ways that real producers get wrong.

use fastrand::Rng;

/// One message for the topic `payments`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Message {
    /// The payment's id; malformed messages have one too, to find them again.
    pub(crate) id: String,
    pub(crate) key: String,
    pub(crate) body: String,
    pub(crate) malformed: bool,
}

const ACCOUNTS: usize = 1000;
const MALFORMED_SHARE: f64 = 0.005;

/// An endless, seeded stream of messages.
pub(crate) struct Payments {
    rng: Rng,
    /// The cumulative Zipf distribution over the accounts.
    accounts: Vec<f64>,
    seed: u64,
    next: u64,
}

impl Payments {
    pub(crate) fn new(seed: u64) -> Self {
        let weights = (1..=ACCOUNTS).map(|rank| 1.0 / rank as f64);
        let accounts = weights
            .scan(0.0, |sum, weight| {
                *sum += weight;
                Some(*sum)
            })
            .collect();
        Self {
            rng: Rng::with_seed(seed),
            accounts,
            seed,
            next: 0,
        }
    }

    fn account(&mut self) -> usize {
        let total = self.accounts.last().copied().unwrap_or_default();
        let point = self.rng.f64() * total;
        self.accounts.partition_point(|sum| *sum < point)
    }

    /// Cents: half of all amounts are below 20.00, one in a thousand is above 10 000.00.
    fn amount(&mut self) -> i64 {
        let uniform = 1.0 - self.rng.f64();
        ((1000.0 * uniform.powf(-1.0)) as i64).clamp(1000, 100_000_000)
    }
}

impl Iterator for Payments {
    type Item = Message;

    fn next(&mut self) -> Option<Message> {
        let id = format!("pay-{}-{:07}", self.seed, self.next);
        self.next += 1;
        let account = format!("acct-{:04}", self.account());
        let amount = self.amount();
        let malformed = self.rng.f64() < MALFORMED_SHARE;
        let body = match malformed.then(|| self.rng.u8(0..4)) {
            None => format!(r#"{{"id":"{id}","account":"{account}","amount":{amount}}}"#),
            Some(0) => format!(r#"{{"id":"{id}","account":"{account}","amount":"#),
            Some(1) => format!(r#"{{"id":"{id}","account":"{account}","amount":"{amount} EUR"}}"#),
            Some(2) => format!(r#"{{"id":"{id}","amount":{amount}}}"#),
            Some(_) => format!(r#"{{"id":"{id}","account":"{account}","amount":-{amount}}}"#),
        };
        Some(Message {
            id,
            key: account,
            body,
            malformed,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_payments_and_another_seed_others() {
        let take = |seed| Payments::new(seed).take(100).collect::<Vec<_>>();
        assert_eq!(take(7), take(7));
        assert_ne!(take(7), take(8));
    }

    #[test]
    fn half_a_percent_is_malformed_and_the_busiest_account_is_far_busier_than_the_median() {
        let messages: Vec<_> = Payments::new(7).take(40_000).collect();
        let malformed = messages.iter().filter(|message| message.malformed).count();
        assert!((120..=280).contains(&malformed), "{malformed}");
        let mut accounts: HashMap<&str, usize> = HashMap::new();
        for message in &messages {
            *accounts.entry(&message.key).or_default() += 1;
        }
        let mut counts: Vec<_> = accounts.into_values().collect();
        counts.sort_unstable();
        assert!(counts[counts.len() - 1] > 100 * counts[counts.len() / 2] / 2);
    }
}
