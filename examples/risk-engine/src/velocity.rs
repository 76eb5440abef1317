//! How fast an account pays: a sliding window per account in Redis. Best effort: without Redis, scoring goes on.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hafnium::redis::Redis;
use hafnium::tracing;

use crate::payment::Payment;

/// The velocity windows of all accounts.
#[derive(Clone)]
pub(crate) struct Velocity {
    redis: Redis,
    window: Duration,
}

impl Velocity {
    /// Windows of that length.
    pub(crate) fn new(redis: Redis, window: Duration) -> Self {
        Self { redis, window }
    }

    /// Notes `payment` and tells how many payments its account made within the window. Noting it again changes
    /// nothing, because the payment's id is the member of the set.
    pub(crate) async fn note(&self, payment: &Payment) -> Option<i64> {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_millis() as u64;
        let key = format!("velocity:{}", payment.account);
        let oldest = now.saturating_sub(self.window.as_millis() as u64);
        let mut pipe = hafnium::redis::pipe();
        pipe.zadd(&key, &payment.id, now).ignore();
        pipe.zrembyscore(&key, 0, oldest).ignore();
        pipe.zcard(&key);
        pipe.pexpire(&key, self.window.as_millis() as i64).ignore();
        let counted: Result<(i64,), _> = pipe.query_async(&mut self.redis.clone()).await;
        match counted {
            Ok((count,)) => Some(count),
            Err(error) => {
                tracing::warn!(%error, "scoring without velocity");
                None
            }
        }
    }
}
