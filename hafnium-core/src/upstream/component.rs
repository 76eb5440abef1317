//! An upstream as a part of a service: start, stop, health, and what operations see of it.

use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use tokio::time::Instant;

use super::client::Upstream;
use super::core::Core;
use crate::component::{BoxFuture, Component, StartError, Stopped};
use crate::context::Context;
use crate::deadline::Deadline;
use crate::health::{Check, Registration as CheckRegistration, Status};
use crate::resilience::BreakerState;
use crate::topology::{Node, NodeState, Pool, Registration as TopologyRegistration, View};

/// What is registered goes with it.
pub(super) struct Registrations {
    _check: CheckRegistration,
    _topology: TopologyRegistration,
}

impl Registrations {
    pub(super) fn new(component: &str, core: &Arc<Core>, cx: &Context) -> Self {
        let seen = Arc::downgrade(core);
        let check = cx.health().register(Check::shared(component), move || {
            let status = seen.upgrade().map_or(Status::Up, |core| core.health());
            async { status }
        });
        let seen: Weak<Core> = Arc::downgrade(core);
        let topology = cx.topology().register(component, "http", move || {
            seen.upgrade().map_or_else(View::new, |core| core.view())
        });
        Self {
            _check: check,
            _topology: topology,
        }
    }
}

impl Core {
    /// From memory: an upstream is not called for its health's sake, and its own probes tell the rest.
    fn health(&self) -> Status {
        if self.breaker.state() == BreakerState::Open {
            return Status::Down("the breaker is open".to_owned());
        }
        let known = self.lookups.known();
        let (all, out) = (self.addresses.all().len(), self.addresses.out());
        if all == 0 {
            return match known.error {
                Some(error) => Status::Down(format!("no address of {}: {error}", self.target.host)),
                None => Status::Up,
            };
        }
        if out > 0 {
            return Status::Degraded(format!("{out} of {all} addresses are ejected"));
        }
        if let Some(error) = known.error {
            return Status::Degraded(format!("the last addresses are used: {error}"));
        }
        #[cfg(feature = "tls")]
        if let Some(refused) = self.tls.as_ref().and_then(crate::tls::client::TlsClient::refused) {
            return Status::Degraded(format!("the last good TLS material is used: tls.{refused}"));
        }
        Status::Up
    }

    fn view(&self) -> View {
        let now = Instant::now();
        let all = self.addresses.all();
        let nodes = all.iter().map(|endpoint| {
            let (active, idle) = (endpoint.counts.active(), endpoint.counts.idle());
            let node = Node::new(endpoint.address().to_string())
                .role("endpoint")
                .pool(Pool::new(active, idle, active + self.blueprint.max_idle));
            match endpoint.out_for(now) {
                None => node.state(NodeState::Up),
                Some(Duration::ZERO) => node.state(NodeState::Suspect).detail("on trial"),
                Some(left) => node
                    .state(NodeState::Down)
                    .detail(format!("ejected for {}s more", left.as_secs() + 1)),
            }
        });
        let view = View::new().nodes(nodes);
        match self.health() {
            Status::Down(reason) => view.trouble(reason),
            Status::Up | Status::Degraded(_) => view,
        }
    }

    /// Uses no connection any more that an old certificate opened. What runs on one ends as it would have.
    #[cfg(feature = "tls")]
    pub(super) async fn keep_rotating(self: Arc<Self>, tls: crate::tls::client::TlsClient) {
        let mut rotations = tls.watch();
        loop {
            rotations.changed().await;
            for endpoint in self.addresses.all().iter() {
                endpoint.renew();
            }
            tracing::info!(upstream = &*self.name, "TLS material rotated");
        }
    }
}

impl Component for Upstream {
    fn name(&self) -> &str {
        &self.handle().component
    }

    /// Never waits for the upstream: two services that call each other could not start otherwise.
    fn start<'a>(&'a self, _: &'a Context) -> BoxFuture<'a, Result<(), StartError>> {
        Box::pin(async {
            self.open();
            Ok(())
        })
    }

    fn stop<'a>(&'a self, deadline: Deadline) -> BoxFuture<'a, Stopped> {
        Box::pin(async move {
            let handle = self.handle();
            drop(
                handle
                    .background
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .take(),
            );
            handle.tasks.close();
            match deadline.bound("the upstream's tasks", handle.tasks.wait()).await {
                Ok(()) => Stopped::Clean,
                Err(_) => Stopped::Incomplete(vec![format!("{}: its lookup", handle.component)]),
            }
        })
    }
}
