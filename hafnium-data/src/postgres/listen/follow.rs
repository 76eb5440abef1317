//! Keeps a listening connection to whichever node is the primary.

use std::sync::Arc;
use std::time::Duration;

use hafnium_core::{Deadline, Outcome};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::super::client::Client;
use super::super::operation::guarded;
use super::super::route::Destination;
use super::ear::Ear;
use super::{Event, Lost};

/// One try to listen again, the wait for a primary included.
const TRY: Duration = Duration::from_secs(5);
/// The longest pause between two tries.
const PAUSE: Duration = Duration::from_secs(1);

pub(super) struct Follower {
    client: Arc<Client>,
    channels: Vec<String>,
    events: mpsc::Sender<Event>,
}

impl Follower {
    pub(super) fn new(client: Arc<Client>, channels: Vec<String>, events: mpsc::Sender<Event>) -> Self {
        Self {
            client,
            channels,
            events,
        }
    }

    /// A connection to the primary that listens, by `deadline`.
    pub(super) async fn attach(&self, deadline: Deadline) -> Result<Ear, sqlx::Error> {
        let node = self.client.settle_on(Destination::Writer, deadline).await?;
        let pass = node.tenure.pass();
        let open = Ear::open(node.clone(), pass.clone(), &self.channels);
        let waited_for = "a connection that listens";
        let opened = guarded(
            pass.cut(),
            &node.label,
            deadline,
            waited_for,
            Outcome::NotRun,
            open,
        );
        opened.await
    }

    /// Passes on what `ear` hears, and finds another when it is lost, until nobody wants to know.
    pub(super) async fn follow(self, mut ear: Ear) {
        loop {
            let Some(reason) = self.pass_on(&mut ear).await else {
                return;
            };
            let noticed = Instant::now();
            tracing::warn!(node = ear.node.label, reason, "notifications may be missed");
            drop(ear);
            ear = self.attach_again().await;
            let lost = Lost {
                deaf: noticed.elapsed(),
                reason,
                node: ear.node.label.clone(),
            };
            tracing::info!(node = lost.node, deaf = ?lost.deaf, "listening again");
            if self.events.send(Event::Lost(lost)).await.is_err() {
                return;
            }
        }
    }

    /// Returns how the connection was lost, or nothing when nobody wants to know any more.
    async fn pass_on(&self, ear: &mut Ear) -> Option<String> {
        let cut = ear.pass.cut().clone();
        let id = ear.node.id;
        let mut snapshots = self.client.monitor.watch();
        loop {
            let heard = tokio::select! {
                biased;
                reason = cut.made() => Err(format!("its node was cut: {reason}")),
                Ok(_) = snapshots.wait_for(|snapshot| snapshot.writer.is_ok_and(|writer| writer != id)) => {
                    Err("another node is the primary".to_owned())
                }
                heard = ear.hear() => heard,
            };
            match heard {
                Ok(notification) => {
                    let event = Event::Notification(notification);
                    self.events.send(event).await.ok()?;
                }
                Err(reason) => return Some(reason),
            }
        }
    }

    async fn attach_again(&self) -> Ear {
        let mut pause = Duration::from_millis(20);
        loop {
            match self.attach(Deadline::after(TRY)).await {
                Ok(ear) => return ear,
                Err(error) => tracing::warn!(%error, "can't listen yet"),
            }
            tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
            pause = (pause * 2).min(PAUSE);
        }
    }
}
