//! LISTEN on a connection of its own that follows the primary, and says so when it was deaf.
//!
//! Notifications are not stored by the server: what is sent while nobody listens is gone. A listener therefore reports
//! [`Event::Lost`] each time its connection was lost, after it listens again, so that the caller can read what the
//! notifications would have told. It is never silent about it.

mod ear;
mod follow;

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::Stream;
use sqlx::Error;
use sqlx::postgres::PgNotification;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::handle::Postgres;
use follow::Follower;

/// Events that wait for the caller. When there are more, the server keeps the rest.
const BUFFER: usize = 256;

/// What a [`Listener`] yields.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// A notification, in the order in which the server sent them.
    Notification(PgNotification),
    /// The listener was deaf for a while and listens again: notifications may have been missed. Read now what they
    /// would have told.
    Lost(Lost),
}

/// How and for how long a listener was deaf.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Lost {
    /// From when the loss was noticed until the server listened again. A silent loss is noticed after 7 s at the latest.
    pub deaf: Duration,
    /// What was seen.
    pub reason: String,
    /// The node that it listens to now.
    pub node: String,
}

/// Notifications of the channels that were named; made by [`Postgres::listen`]. Also a [`Stream`] of [`Event`].
///
/// A task of its own keeps the connection, so that a loss is found out and repaired also while nobody asks. It ends when
/// this is dropped, or with the client.
#[derive(Debug)]
#[must_use]
pub struct Listener {
    events: mpsc::Receiver<Event>,
    _stop: DropGuard,
}

impl Postgres {
    /// Listens to `channels` on the primary, on a connection beside the pool. Returns when the server listens.
    ///
    /// ```no_run
    /// # async fn example(ledger: hafnium_data::postgres::Postgres) -> Result<(), sqlx::Error> {
    /// use hafnium_data::postgres::Event;
    ///
    /// let mut listener = ledger.listen(["prices"]).await?;
    /// while let Some(event) = listener.recv().await {
    ///     match event {
    ///         Event::Notification(news) => println!("{}", news.payload()),
    ///         // Whatever is kept of the table may be outdated: read it again.
    ///         Event::Lost(lost) => println!("deaf for {:?}: {}", lost.deaf, lost.reason),
    ///         _ => {}
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// After a failover it listens to the new primary. The names of the channels are case-sensitive.
    ///
    /// # Errors
    /// Those of a login and of the statement, by the deadline of the task; later losses are events.
    /// [`Detail::NeedsSession`](super::Detail::NeedsSession) with `prepared_statements = false`, because a pooler in
    /// transaction mode would drop the notifications.
    ///
    /// Cancel-safe: dropping the future closes the connection.
    pub async fn listen<C>(&self, channels: impl IntoIterator<Item = C>) -> Result<Listener, Error>
    where
        C: Into<String>,
    {
        let client = self.client();
        client.opening.session("listen()")?;
        let channels: Vec<String> = channels.into_iter().map(Into::into).collect();
        if channels.is_empty() {
            return Err(Error::Configuration(
                "listen: expected at least one channel".into(),
            ));
        }
        let deadline = self.view().deadline();
        let (sender, events) = mpsc::channel(BUFFER);
        let stop = CancellationToken::new();
        let follower = Follower::new(client.clone(), channels, sender);
        let ear = follower.attach(deadline).await?;
        let name = &self.shared.component;
        let (stopped, closing) = (stop.clone(), client.stop.clone());
        let follow = async move {
            tokio::select! {
                biased;
                () = stopped.cancelled() => {}
                () = closing.cancelled() => {}
                () = follower.follow(ear) => {}
            }
        };
        client.tracker.spawn(self.shared.tasks.guard(name, follow));
        Ok(Listener {
            events,
            _stop: stop.drop_guard(),
        })
    }
}

impl Listener {
    /// The next event; `None` once the client was stopped.
    ///
    /// Cancel-safe: no event is lost.
    pub async fn recv(&mut self) -> Option<Event> {
        self.events.recv().await
    }
}

impl Stream for Listener {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.events.poll_recv(cx)
    }
}
