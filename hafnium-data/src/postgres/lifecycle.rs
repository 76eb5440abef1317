//! The database as a component: start waits for a writable primary or what else the URL asks for, stop gives operations their time.

use std::sync::PoisonError;
use std::time::Duration;

use hafnium_core::component::BoxFuture;
use hafnium_core::{Component, Context, Deadline, StartError, Stopped};

use super::credentials::keep;
use super::handle::Postgres;
use super::route::Destination;

/// One try of a start. Short, because only its end tells the probes what is being waited for.
const TRY: Duration = Duration::from_secs(1);
/// Between two looks at what can't be awaited.
const LOOK: Duration = Duration::from_millis(10);

impl Component for Postgres {
    fn name(&self) -> &str {
        &self.shared.component
    }

    /// Waits for a writable primary, or what `target_session_attrs` asks for, a second at most; calling again goes on
    /// waiting.
    ///
    /// The probes run on tasks of their own, because pools must work until all background tasks of the service have
    /// ended. Credentials that every answering node refused three times are an error of the configuration.
    fn start<'a>(&'a self, _: &'a Context) -> BoxFuture<'a, Result<(), StartError>> {
        Box::pin(self.open(TRY))
    }

    /// Refuses new operations, waits for those in flight, then closes every connection. What is still in flight at
    /// the deadline is cut and named.
    fn stop<'a>(&'a self, deadline: Deadline) -> BoxFuture<'a, Stopped> {
        Box::pin(async move {
            let client = self.client();
            client.close();
            let busy = || {
                let nodes = client.monitor.nodes().iter();
                nodes.filter(|node| node.users() > 0)
            };
            while busy().next().is_some() && !deadline.is_past() {
                tokio::time::sleep(LOOK.min(deadline.remaining())).await;
            }
            let stragglers: Vec<String> = busy()
                .map(|node| format!("{} operations on {}", node.users(), node.label))
                .collect();
            client.stop.cancel();
            for node in client.monitor.nodes() {
                node.cut("the client is closing");
                node.close();
            }
            client.tracker.close();
            // Probers end at once and logins within their budget; a slow login is no one's work.
            let _ = deadline.bound("the probers", client.tracker.wait()).await;
            if stragglers.is_empty() {
                Stopped::Clean
            } else {
                Stopped::Incomplete(stragglers)
            }
        })
    }
}

impl Postgres {
    /// Starts the probes, once, and waits for a writable primary, for `limit` at most.
    pub(super) async fn open(&self, limit: Duration) -> Result<(), StartError> {
        let client = self.client();
        let name = &self.shared.component;
        let probes = self
            .shared
            .probes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(probes) = probes {
            let tasks = &self.shared.tasks;
            client
                .monitor
                .start(name, probes, tasks, &client.tracker, &client.stop);
            let (tracker, stop) = (client.tracker.clone(), client.stop.clone());
            let keeper = keep(
                client.credentials.clone(),
                client.monitor.clone(),
                tracker,
                stop.clone(),
            );
            let keeper = async move {
                stop.run_until_cancelled(keeper).await;
            };
            client.tracker.spawn(tasks.guard(name, keeper));
        }
        let patroni = self.shared.patroni.lock();
        let patroni = patroni.unwrap_or_else(PoisonError::into_inner).take();
        if let Some(patroni) = patroni {
            self.consult(patroni);
        }
        let deadline = self.within(limit).deadline();
        let mut snapshots = client.monitor.watch();
        loop {
            if client.is_closed() {
                return Err(StartError::failed(name, "it was stopped"));
            }
            let ready = {
                let snapshot = snapshots.borrow_and_update();
                client.sought.is_met(&snapshot)
                    && !(client.sought == Destination::Writer && snapshot.read_only)
            };
            if ready {
                return Ok(());
            }
            if let Some(reason) = client.monitor.credentials_refused()
                && !client.credentials.looks()
            {
                let keys = client.credentials.own_keys();
                return Err(StartError::configuration(
                    name,
                    format!("{keys}: login refused: {reason}"),
                ));
            }
            if deadline.is_past() {
                let reason = client.monitor.explain();
                let reason = format!("no {} within {limit:?}: {reason}", client.sought.wanted());
                return Err(StartError::unavailable(name, reason));
            }
            let look = LOOK.min(deadline.remaining());
            // Only a change of the writer is published; refusals and read-only primaries are looked for.
            let _ = tokio::time::timeout(look, snapshots.changed()).await;
        }
    }
}
