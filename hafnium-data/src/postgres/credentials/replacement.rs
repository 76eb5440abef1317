//! What happens to the connections of the pair before: one after the other gets a successor and is closed.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::super::pool::Node;
use super::Credentials;

/// Within this time all connections of a node are replaced, where the server lets us in at once. All processes of a
/// service doing it in one instant would be a storm of logins.
const SPREAD: Duration = Duration::from_secs(5);
/// Between two logins of one node.
const PAUSE: Duration = Duration::from_millis(500);
/// How often connections that were in use, or about to be opened, are looked for.
const LOOK: Duration = Duration::from_millis(100);

/// Replaces the connections to `node` of the pair before, until there are none, another change comes or the longest
/// time is over. No connection in use is cut: it closes when it is given back.
pub(super) async fn replace(credentials: Arc<Credentials>, node: Arc<Node>) {
    let generation = credentials.generation.load(Ordering::Acquire);
    let left = credentials.state().to_replace(node.id).max(1);
    let pause = PAUSE.min(SPREAD / u32::try_from(left).unwrap_or(u32::MAX));
    loop {
        let (left, drains) = {
            let state = credentials.state();
            if state.generation != generation {
                return;
            }
            (state.to_replace(node.id), state.drains(Instant::now()))
        };
        if !drains {
            return node.sweep();
        }
        if left == 0 {
            // Some may be in use still, and close when they are given back; idle ones have nothing to wait for.
            node.sweep();
            tokio::time::sleep(LOOK).await;
            if credentials.state().is_replaced(node.id) {
                return;
            }
            continue;
        }
        tokio::time::sleep(pause.mul_f32(fastrand::f32() * 2.0)).await;
        match node.opener.open_ahead().await {
            Ok(()) => {
                credentials.state().replaced(node.id);
                node.sweep();
            }
            Err(error) => {
                tracing::debug!(node = node.label, %error, "no successor for an older connection yet");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}
