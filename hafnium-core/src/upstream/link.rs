//! Connections that are counted: open, in use, and how many answers came over each.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use arc_swap::ArcSwap;
use http::Uri;
use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{self, Connected};
use tokio::time::Instant;

use super::core::Live;
use crate::component::BoxFuture;
use crate::metrics::UpDown;
use crate::tls::client::{ConnectError, Connection, Connector};

/// The connections of one address.
pub(super) struct Counts {
    active: AtomicUsize,
    idle: AtomicUsize,
    shown_active: UpDown,
    shown_idle: UpDown,
    /// When the last connection ended with the other side's refusal of the handshake, and what it said.
    refused: Mutex<Option<(Instant, Arc<str>)>>,
}

impl Counts {
    pub(super) fn new(shown_active: UpDown, shown_idle: UpDown) -> Self {
        Self {
            active: AtomicUsize::new(0),
            idle: AtomicUsize::new(0),
            shown_active,
            shown_idle,
            refused: Mutex::default(),
        }
    }

    /// What was said when a handshake was refused, if that was after `begun`.
    pub(super) fn refused_since(&self, begun: Instant) -> Option<Arc<str>> {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, said) = refused.as_ref()?;
        (*at >= begun).then(|| said.clone())
    }

    pub(super) fn active(&self) -> usize {
        self.active.load(Ordering::Relaxed)
    }

    pub(super) fn idle(&self) -> usize {
        self.idle.load(Ordering::Relaxed)
    }

    fn moved(&self, from: Shown, to: Shown) {
        if from == to {
            return;
        }
        match from {
            Shown::Active => {
                self.active.fetch_sub(1, Ordering::Relaxed);
                self.shown_active.add(-1);
            }
            Shown::Idle => {
                self.idle.fetch_sub(1, Ordering::Relaxed);
                self.shown_idle.add(-1);
            }
            Shown::Gone => {}
        }
        match to {
            Shown::Active => {
                self.active.fetch_add(1, Ordering::Relaxed);
                self.shown_active.add(1);
            }
            Shown::Idle => {
                self.idle.fetch_add(1, Ordering::Relaxed);
                self.shown_idle.add(1);
            }
            Shown::Gone => {}
        }
    }
}

/// As what a connection is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    Gone,
    Idle,
    Active,
}

/// What is known of one connection.
pub(super) struct Link {
    state: Mutex<State>,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct State {
    open: bool,
    exchanges: u32,
    answered: u64,
    /// What the other side said when it refused the handshake: nothing that was written has been read.
    refused: Option<Arc<str>>,
}

impl State {
    fn shown(&self) -> Shown {
        match (self.open, self.exchanges) {
            (false, _) => Shown::Gone,
            (true, 0) => Shown::Idle,
            (true, _) => Shown::Active,
        }
    }
}

impl Link {
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let before = state.shown();
        let result = change(&mut state);
        let after = state.shown();
        drop(state);
        self.counts.moved(before, after);
        result
    }

    /// Held for a few instructions only.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One request on a connection, from when it has the connection until its answer is whole or given up.
pub(super) struct Exchange {
    link: Arc<Link>,
    /// Whether an answer had come over the connection before.
    pub(super) reused: bool,
}

impl Exchange {
    /// The exchange on the connection that hyper has chosen.
    pub(super) fn begin(connected: &Connected) -> Option<Self> {
        let mut extras = http::Extensions::new();
        connected.get_extras(&mut extras);
        let link: Arc<Link> = extras.remove()?;
        let reused = link.change(|state| {
            state.exchanges += 1;
            state.answered > 0
        });
        Some(Self { link, reused })
    }

    /// What the other side said when it refused the handshake, if it did. On a connection that an answer has come over
    /// the handshake was over, and what was written may have been read.
    pub(super) fn refused(&self) -> Option<Arc<str>> {
        match self.reused {
            true => None,
            false => self.link.lock().refused.clone(),
        }
    }

    /// The answer has begun.
    pub(super) fn answered(&self) {
        self.link.lock().answered += 1;
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.link
            .change(|state| state.exchanges = state.exchanges.saturating_sub(1));
    }
}

/// Opens counted connections.
#[derive(Clone)]
pub(super) struct Counting {
    pub(super) connector: Connector,
    pub(super) live: Arc<ArcSwap<Live>>,
    pub(super) counts: Arc<Counts>,
}

impl tower::Service<Uri> for Counting {
    type Response = Counted;
    type Error = ConnectError;
    type Future = BoxFuture<'static, Result<Counted, ConnectError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, url: Uri) -> Self::Future {
        let connector = self.connector.clone().limit(self.live.load().connect_timeout);
        let counts = self.counts.clone();
        Box::pin(async move { Ok(Counted::new(connector.connect(&url).await?, counts)) })
    }
}

/// A counted connection.
pub(super) struct Counted {
    connection: Connection,
    link: Arc<Link>,
    /// Why writing has failed, while what came before is still read.
    broken: Option<io::Error>,
}

impl Counted {
    fn new(connection: Connection, counts: Arc<Counts>) -> Self {
        let link = Arc::new(Link {
            state: Mutex::default(),
            counts,
        });
        link.change(|state| state.open = true);
        Self {
            connection,
            link,
            broken: None,
        }
    }
}

#[cfg(feature = "tls")]
impl Link {
    /// With TLS 1.3 the refusal of our certificate comes when the handshake is over on this side.
    fn failed(&self, error: &io::Error) {
        if let Some(said) = crate::tls::client::refusal(error) {
            let said: Arc<str> = said.into();
            self.lock().refused = Some(said.clone());
            let mut refused = self.counts.refused.lock().unwrap_or_else(PoisonError::into_inner);
            *refused = Some((Instant::now(), said));
        }
    }
}

#[cfg(not(feature = "tls"))]
impl Link {
    fn failed(&self, _: &io::Error) {}
}

impl Counted {
    /// Over HTTP/2 an error of writing ends the connection, and what the other side said before is not read any more: it
    /// may be why. (HTTP/1.1 reads on by itself.) So the error waits until everything is read that has come.
    fn written<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        let Poll::Ready(Err(error)) = written else {
            return written;
        };
        if self.connection.negotiated_h2() && self.read_on(cx).is_pending() {
            self.broken = Some(error);
            return Poll::Pending;
        }
        Poll::Ready(Err(error))
    }

    /// Reads for the sake of a refusal, which comes before anything else.
    fn read_on(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut room = [0; 1024];
        for _ in 0..4 {
            let mut buf = ReadBuf::new(&mut room);
            match ready!(Pin::new(&mut self.connection).poll_read(cx, buf.unfilled())) {
                Ok(()) if buf.filled().is_empty() => break,
                Ok(()) => {}
                Err(error) => {
                    self.link.failed(&error);
                    break;
                }
            }
        }
        Poll::Ready(())
    }

    /// Writes, or ends with the error that an earlier write ended with.
    fn write_by<T>(
        &mut self,
        cx: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut Connection>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let written = match self.broken.take() {
            Some(error) => Poll::Ready(Err(error)),
            None => write(Pin::new(&mut self.connection), cx),
        };
        self.written(cx, written)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.link.change(|state| state.open = false);
    }
}

impl connect::Connection for Counted {
    fn connected(&self) -> Connected {
        self.connection.connected().extra(self.link.clone())
    }
}

impl Read for Counted {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let read = Pin::new(&mut this.connection).poll_read(cx, buf);
        if let Poll::Ready(Err(error)) = &read {
            this.link.failed(error);
        }
        read
    }
}

impl Write for Counted {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut()
            .write_by(cx, |connection, cx| connection.poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut()
            .write_by(cx, |connection, cx| connection.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().connection).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.connection.is_write_vectored()
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut()
            .write_by(cx, |connection, cx| connection.poll_write_vectored(cx, bufs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::figures::Figures;
    use crate::upstream::target::Target;

    #[test]
    fn what_ends_a_connection_after_an_answer_is_no_refusal_of_its_handshake() {
        let cx = crate::Context::standalone();
        let target = Target::parse("https://scoring.test").unwrap();
        let exchange = |answered| {
            let link = Arc::new(Link {
                state: Mutex::default(),
                counts: Arc::new(Figures::new("scoring", &target, cx.metrics()).counts()),
            });
            link.lock().answered = answered;
            let exchange = Exchange::begin(&Connected::new().extra(link.clone())).unwrap();
            link.lock().refused = Some("access denied".into());
            exchange.refused()
        };
        assert_eq!(exchange(0).as_deref(), Some("access denied"));
        assert_eq!(exchange(1), None);
    }
}
