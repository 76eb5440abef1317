//! The settings that can change while the listener serves.

use std::sync::{Arc, Weak};

use super::envelope;
use super::rules::Rules;
use super::server;
use super::settings::HttpSettings;
use crate::context::Context;

/// What goes by settings that can be replaced.
pub(super) trait Follower: Send + Sync + 'static {
    fn take(&self, settings: &HttpSettings);
}

impl Follower for envelope::Shared {
    fn take(&self, settings: &HttpSettings) {
        self.rules.store(Arc::new(Rules::of(settings)));
    }
}

impl Follower for server::Shared {
    fn take(&self, settings: &HttpSettings) {
        self.adopt(settings.limits(), settings.trust());
    }
}

/// Gives `follower` every new configuration while it is there.
pub(super) fn follow<F: Follower>(follower: &Arc<F>, cx: &Context) {
    let follower: Weak<F> = Arc::downgrade(follower);
    let mut changes = cx.config().watch();
    cx.tasks().spawn("http.settings", async move {
        loop {
            let config = changes.changed().await;
            let Some(follower) = follower.upgrade() else { break };
            if let Ok(settings) = config.get::<HttpSettings>() {
                follower.take(&settings);
            }
        }
    });
}
