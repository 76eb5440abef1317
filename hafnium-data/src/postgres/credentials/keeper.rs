//! The task that follows the secrets: tries what is new with one login, and finds out what works when a server refuses
//! what is in use.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use hafnium_core::Deadline;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::super::monitor::Monitor;
use super::super::pool::Node;
use super::super::topology::NodeId;
use super::pair::Pair;
use super::replacement::replace;
use super::{Credentials, Gate, Refusal, refuses};

/// How long the sources of the secrets may take when a server refused.
const REFRESH: Duration = Duration::from_secs(3);
/// Between two tries of what did not work: at first, and at most. More often would lock an account.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// Between two tries that no server answered.
const UNANSWERED: Duration = Duration::from_millis(250);

/// What a login with a pair came to.
enum Found {
    Accepted,
    Refused(Arc<sqlx::Error>),
    /// Something else went wrong, which says nothing of the pair.
    Unanswered(Arc<sqlx::Error>),
}

/// Keeps the credentials of a database up to date for as long as it runs.
pub(crate) async fn keep(
    credentials: Arc<Credentials>,
    monitor: Arc<Monitor>,
    tracker: TaskTracker,
    stop: CancellationToken,
) {
    let mut keeper = Keeper {
        tracker: &tracker,
        stop: &stop,
        credentials: &credentials,
        monitor: &monitor,
        again: None,
        pause: RETRY.0,
        rounded: None,
    };
    loop {
        let again = keeper.again;
        tokio::select! {
            biased;
            () = credentials.wake.notified() => keeper.recover().await,
            changed = credentials.origin.bundle.changed() => {
                keeper.pause = RETRY.0;
                match changed {
                    Ok(pair) => keeper.examine(&pair).await,
                    Err(error) => {
                        keeper.again = None;
                        keeper.reject(&error.reason);
                    }
                }
            }
            () = at(again) => keeper.try_again().await,
        }
    }
}

async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => pending().await,
    }
}

struct Keeper<'a> {
    credentials: &'a Arc<Credentials>,
    monitor: &'a Arc<Monitor>,
    /// When what did not work is tried again.
    again: Option<Instant>,
    pause: Duration,
    /// When the last round of [`Keeper::recover`] began.
    rounded: Option<Instant>,
    tracker: &'a TaskTracker,
    stop: &'a CancellationToken,
}

impl Keeper<'_> {
    /// Tries a pair that came from the secrets.
    async fn examine(&mut self, pair: &Arc<Pair>) {
        self.again = None;
        if pair.is(&self.in_use()) {
            self.credentials.state().rejected = None;
            return;
        }
        let Some(node) = self.judge(None) else { return };
        match self.log_in(&node, pair).await {
            Found::Accepted => self.adopt(pair),
            Found::Refused(error) => {
                let news = pair.news(&self.in_use());
                let named: Vec<_> = news
                    .iter()
                    .map(|(part, version)| {
                        format!(
                            "{}.{} (version {version})",
                            self.credentials.component,
                            part.key()
                        )
                    })
                    .collect();
                self.reject(&format!("{} does not work: {error}", named.join(" and ")));
                self.again = Some(self.next_try());
            }
            Found::Unanswered(error) => {
                tracing::debug!(node = node.label, %error, "new credentials could not be tried yet");
                self.again = Some(Instant::now() + UNANSWERED);
            }
        }
    }

    async fn try_again(&mut self) {
        self.again = None;
        let refused = matches!(&*self.credentials.gate.borrow(), Gate::Refused(_));
        if refused {
            self.recover().await;
        } else {
            let pair = self.credentials.origin.bundle.current();
            self.examine(&pair).await;
        }
    }

    /// A server refused the pair in use: asks the sources, once for all who wait, and finds out what works.
    async fn recover(&mut self) {
        let refusal = match &*self.credentials.gate.borrow() {
            Gate::Open => return,
            Gate::Looking(refusal) | Gate::Refused(refusal) => refusal.clone(),
        };
        if let Some(before) = self.rounded {
            tokio::time::sleep_until(before + RETRY.0).await;
        }
        self.rounded = Some(Instant::now());
        self.again = None;
        let Some(node) = self.judge(Some(refusal.node)) else {
            return;
        };
        let used = self.in_use();
        // A standby that has not replayed the change yet, or that has rules of its own, refuses alone.
        if node.id != refusal.node && matches!(self.log_in(&node, &used).await, Found::Accepted) {
            self.credentials.state().hold(refusal, Instant::now());
            self.credentials.gate.send_replace(Gate::Open);
            return;
        }
        let deadline = Deadline::after(REFRESH);
        let secrets = self.credentials.origin.secrets.iter();
        for refreshed in join_all(secrets.map(|(_, secret)| secret.refresh(deadline))).await {
            if let Err(error) = refreshed {
                tracing::warn!(keys = self.credentials.keys(), %error, "the source of the credentials gave no others");
            }
        }
        // What came is taken in here, so that it is not tried a second time.
        if let Some(Err(error)) = self.credentials.origin.bundle.changed().now_or_never() {
            self.reject(&error.reason);
        }
        let newest = self.credentials.origin.bundle.current();
        let former = self.credentials.state().former.clone();
        let mut tries: Vec<Arc<Pair>> = Vec::new();
        for pair in [Some(newest), Some(used.clone()), former].into_iter().flatten() {
            if !tries.iter().any(|tried| tried.is(&pair)) {
                tries.push(pair);
            }
        }
        let mut last = refusal.clone();
        for pair in &tries {
            match self.log_in(&node, pair).await {
                Found::Accepted if pair.is(&used) => {
                    if node.id != refusal.node {
                        self.credentials.state().hold(refusal, Instant::now());
                    }
                    self.judged();
                    self.credentials.gate.send_replace(Gate::Open);
                    return;
                }
                Found::Accepted => return self.adopt(pair),
                Found::Refused(error) => last = Refusal { node: node.id, error },
                Found::Unanswered(_) => {
                    // Nothing is known now; whoever logs in next finds out, a second later at the earliest.
                    self.credentials.gate.send_replace(Gate::Open);
                    return;
                }
            }
        }
        self.lose(last);
    }

    /// The pair works and is used from now on.
    fn adopt(&mut self, pair: &Arc<Pair>) {
        let news = pair.news(&self.in_use());
        let generation = {
            let mut state = self.credentials.state();
            state.adopt(pair.clone(), Instant::now());
            state.generation
        };
        self.credentials
            .generation
            .store(generation, std::sync::atomic::Ordering::Release);
        self.credentials.gate.send_replace(Gate::Open);
        self.credentials.adopted.add(1);
        self.judged();
        self.pause = RETRY.0;
        for node in self.monitor.nodes() {
            let replacing = replace(self.credentials.clone(), node.clone());
            let stop = self.stop.clone();
            self.tracker.spawn(async move {
                stop.run_until_cancelled(replacing).await;
            });
        }
        for (part, version) in news {
            let key = format!("{}.{}", self.credentials.component, part.key());
            tracing::info!(
                key,
                version,
                "new logins use this version; older connections are replaced"
            );
        }
    }

    /// Tells the secrets that what they hold works.
    fn judged(&self) {
        for ((_, secret), value) in self.credentials.origin.secrets.iter().zip(self.in_use().values()) {
            secret.accepted(value.version());
        }
    }

    /// What came does not work; the pair in use stays.
    fn reject(&self, reason: &str) {
        let reason = match reason.starts_with("postgres.") {
            true => format!("{reason}; the last good one stays in use"),
            false => format!(
                "{}.{reason}; the last good one stays in use",
                self.credentials.component
            ),
        };
        let before = self.credentials.state().rejected.replace(reason.as_str().into());
        if before.as_deref() != Some(&*reason) {
            self.credentials.rejected.add(1);
            tracing::warn!("{reason}");
        }
    }

    /// Nothing works.
    fn lose(&mut self, refusal: Refusal) {
        let before = self.credentials.gate.send_replace(Gate::Refused(refusal.clone()));
        if !matches!(before, Gate::Refused(_)) {
            self.credentials.refused.add(1);
            let keys = self.credentials.keys();
            tracing::error!(keys, error = %refusal.error, "the server refuses the login, and there is no other");
        }
        for (_, secret) in &self.credentials.origin.secrets {
            secret.refused(secret.current().version());
        }
        self.again = Some(self.next_try());
    }

    fn next_try(&mut self) -> Instant {
        let pause = self.pause;
        self.pause = (pause * 2).min(RETRY.1);
        Instant::now() + pause.mul_f32(0.8 + 0.4 * fastrand::f32())
    }

    fn in_use(&self) -> Arc<Pair> {
        self.credentials.state().adopted.clone()
    }

    /// The node whose word on a pair counts: the primary, which knows a changed password first; else the node that
    /// refused, else any.
    fn judge(&self, refuser: Option<NodeId>) -> Option<Arc<Node>> {
        let snapshot = self.monitor.watch().borrow().clone();
        let readers = snapshot.readers.first().copied();
        let any = || NodeId(fastrand::usize(0..self.monitor.nodes().len().max(1)));
        let chosen = snapshot.writer.ok().or(refuser).or(readers).unwrap_or_else(any);
        self.monitor.node(chosen).cloned()
    }

    async fn log_in(&self, node: &Node, pair: &Pair) -> Found {
        match node.opener.try_login(pair).await {
            Ok(()) => Found::Accepted,
            Err(error) if refuses(&error) => Found::Refused(Arc::new(error)),
            Err(error) => Found::Unanswered(Arc::new(error)),
        }
    }
}
