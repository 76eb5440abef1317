//! What was lent is given back: first the leases, at once and seen to be done, then the tokens that are ours. Vault
//! drops what hangs on a token with it, so a lease that could not be given back goes with the token a moment later.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::StreamExt;
use serde_json::json;

use super::Inner;
use super::client::Ask;
use crate::deadline::Deadline;

/// Requests at a time.
const AT_ONCE: usize = 8;

pub(super) async fn release(inner: &Arc<Inner>, deadline: Deadline) {
    inner.ended.store(true, Ordering::Release);
    // A fetch on its way may be lent something yet. The tokens are to have their turn in any case.
    inner.fetches.close();
    let for_leases = Deadline::after(deadline.remaining() * 2 / 3);
    let _still_fetching = for_leases.bound("fetches to end", inner.fetches.wait()).await;
    let leases = for_leases.bound("the leases", leases(inner, for_leases)).await;
    let given_back = leases.unwrap_or_default();
    let tokens = deadline.bound("the tokens", tokens(inner, deadline)).await;
    tracing::info!(
        leases = given_back,
        tokens = tokens.unwrap_or_default(),
        "gave back what Vault lent"
    );
}

/// How many were given back.
async fn leases(inner: &Inner, deadline: Deadline) -> usize {
    let ids = inner.lending.end().await;
    let Some(token) = inner.session.last().filter(|_| !ids.is_empty()) else {
        return 0;
    };
    let revoked = futures_util::stream::iter(ids).map(|id| {
        let token = token.clone();
        async move {
            let body = json!({ "lease_id": id, "sync": true });
            let ask = Ask::post(["sys", "leases", "revoke"], body).repeatable();
            inner.session.ask_with(ask, &token, deadline).await
        }
    });
    let mut count = 0;
    let mut revoked = revoked.buffer_unordered(AT_ONCE);
    while let Some(outcome) = revoked.next().await {
        match outcome {
            Ok(_) => {
                inner.instruments.revoked();
                count += 1;
            }
            Err(failure) => {
                let reason = failure.of("a lease");
                tracing::warn!(%reason, "a lease could not be given back: it ends by itself, or with the token");
            }
        }
    }
    count
}

/// How many were given back.
async fn tokens(inner: &Inner, deadline: Deadline) -> usize {
    let tokens = inner.session.end().await;
    let revoked = tokens.iter().map(|token| inner.session.revoke(token, deadline));
    let mut count = 0;
    for outcome in futures_util::future::join_all(revoked).await {
        match outcome {
            Ok(()) => count += 1,
            Err(failure) => {
                let reason = failure.of("a token");
                tracing::warn!(%reason, "a token could not be given back: it ends by itself");
            }
        }
    }
    count
}
