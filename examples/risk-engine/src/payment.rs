//! What the service reads and what it writes.

use serde::{Deserialize, Serialize};

/// A payment to be scored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Payment {
    /// The payment's own id; scoring it again changes nothing.
    pub id: String,
    /// The paying account.
    pub account: String,
    /// The amount in cents.
    pub amount: i64,
}

impl Payment {
    /// Why this can't be a payment, if it can't.
    pub(crate) fn problem(&self) -> Option<&'static str> {
        match self {
            Self { id, .. } if id.is_empty() || id.len() > 64 => Some("id must have 1 to 64 characters"),
            Self { account, .. } if account.is_empty() => Some("account must not be empty"),
            Self { amount, .. } if *amount <= 0 => Some("amount must be a positive number of cents"),
            _ => None,
        }
    }
}

/// How risky a payment is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Score {
    pub payment_id: String,
    /// 0 (harmless) to 100.
    pub score: i32,
    /// Payments of the account within the window, this one included; absent when Redis could not tell.
    pub velocity: Option<i64>,
}
