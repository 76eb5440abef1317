//! Load on a service that is counted to the last request: what a drain, a reload or a rotation must not fail.
//!
//! The clients behave as good ones do, and forgive nothing: they keep a connection until the server says that it closes
//! it (`Connection: close`, GOAWAY), and send a request again only when it never left over a connection that was kept, or
//! GOAWAY says that the server did not look at it. Everything else that is not a 2xx within 10 s has failed.
//!
//! ```no_run
//! # async fn example(address: std::net::SocketAddr) {
//! use hafnium_testkit::load::{Kind, Load, Pace};
//!
//! let load = Load::start(Kind::Http1Kept, address, Pace::of(4));
//! // … the load runs …
//! load.enter("during");
//! // … what must fail no request …
//! load.withdraw(); // the load balancer has noticed: no new connections
//! let tally = load.finish().await;
//! assert!(tally.failed.is_empty(), "{tally}");
//! # }
//! ```

mod client;
mod tally;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;

pub use tally::{Failed, Phase, Tally};

use client::Client;
use tally::Count;

/// How the clients of a load speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// HTTP/1.1 over connections that are kept.
    Http1Kept,
    /// HTTP/1.1 over a new connection for each request.
    Http1Fresh,
    /// HTTP/2 in plain text with prior knowledge, over connections that are kept.
    Http2,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Kind; 3] = [Kind::Http1Kept, Kind::Http1Fresh, Kind::Http2];

    /// The kind in tables and figures.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Http1Kept => "HTTP/1.1 kept",
            Kind::Http1Fresh => "HTTP/1.1 fresh",
            Kind::Http2 => "HTTP/2",
        }
    }
}

/// How much load there is.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Pace {
    /// How many clients there are, each with one request at a time.
    pub clients: usize,
    /// How long each rests between two requests. Default 2 ms.
    pub rest: Duration,
    /// What is asked for with GET. Default `/`.
    pub path: String,
}

impl Pace {
    /// So many clients, at 2 ms between two requests of each.
    pub fn of(clients: usize) -> Pace {
        Pace {
            clients,
            rest: Duration::from_millis(2),
            path: "/".to_owned(),
        }
    }

    /// Another rest between two requests.
    #[must_use]
    pub fn rest(self, rest: Duration) -> Pace {
        Pace { rest, ..self }
    }

    /// Another path, of the form `/path?query`.
    #[must_use]
    pub fn path(self, path: impl Into<String>) -> Pace {
        Pace {
            path: path.into(),
            ..self
        }
    }
}

/// A load that runs. Dropping it ends it at once.
pub struct Load {
    shared: Arc<Shared>,
    clients: JoinSet<()>,
}

/// What all clients of a load see.
struct Shared {
    count: Count,
    enough: AtomicBool,
    withdrawn: AtomicBool,
}

impl Shared {
    /// Whether a client is to go on.
    fn goes_on(&self) -> bool {
        !self.enough.load(Ordering::Relaxed)
    }

    /// Whether a client may open a connection.
    fn may_connect(&self) -> bool {
        !self.withdrawn.load(Ordering::Relaxed)
    }
}

impl Load {
    /// Starts clients of that kind, in the phase `before`. Must be called within a tokio runtime.
    pub fn start(kind: Kind, address: SocketAddr, pace: Pace) -> Load {
        let shared = Arc::new(Shared {
            count: Count::new(kind),
            enough: AtomicBool::new(false),
            withdrawn: AtomicBool::new(false),
        });
        let mut clients = JoinSet::new();
        for _ in 0..pace.clients {
            clients.spawn(Client::new(kind, address, &pace).run(shared.clone()));
        }
        Load { shared, clients }
    }

    /// Requests sent from now on are counted under this name.
    pub fn enter(&self, phase: &'static str) {
        self.shared.count.enter(phase);
    }

    /// How many requests were answered well so far.
    pub fn answered(&self) -> u64 {
        self.shared.count.answered()
    }

    /// What a load balancer does with an address that left: no new connections. Kept ones are used until the server
    /// says that it closes them.
    pub fn withdraw(&self) {
        self.shared.withdrawn.store(true, Ordering::Relaxed);
    }

    /// Lets each client finish its request, and gives the account of all. Takes as long as the slowest answer.
    pub async fn finish(mut self) -> Tally {
        self.shared.enough.store(true, Ordering::Relaxed);
        while let Some(ended) = self.clients.join_next().await {
            if let Err(error) = ended {
                self.shared.count.failed(0, format!("a client panicked: {error}"));
            }
        }
        self.shared.count.tally()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// Answers one request on each connection but every third, which it takes and closes.
    async fn closes_every_third() -> (SocketAddr, Arc<std::sync::atomic::AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let closed = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let count = closed.clone();
        tokio::spawn(async move {
            for number in 0_u32.. {
                let (mut stream, _) = listener.accept().await.unwrap();
                if number % 3 == 2 {
                    count.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
                let mut request = [0; 1024];
                let _ = stream.read(&mut request).await;
                let _ = stream
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                    .await;
            }
        });
        (address, closed)
    }

    #[tokio::test]
    async fn a_new_connection_that_is_closed_without_an_answer_is_a_request_that_failed() {
        for kind in [Kind::Http1Fresh, Kind::Http1Kept] {
            let (address, closed) = closes_every_third().await;
            let load = Load::start(kind, address, Pace::of(1));
            while closed.load(Ordering::Relaxed) < 5 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            let tally = load.finish().await;
            // A connection that closes after its answer is no failure of a client that keeps it.
            assert_eq!(tally.failed.len(), closed.load(Ordering::Relaxed), "{tally}");
            assert!(tally.ok >= 10, "{tally}");
        }
    }

    #[tokio::test]
    async fn a_first_request_over_http_2_without_goaway_is_a_request_that_failed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let closing = tokio::spawn(async move {
            for _ in 0..3 {
                drop(listener.accept().await.unwrap());
            }
        });
        let load = Load::start(Kind::Http2, address, Pace::of(1));
        closing.await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        let tally = load.finish().await;
        // One request per connection, none moved on to the next. Those after them were refused.
        let closed = tally
            .failed
            .iter()
            .filter(|failed| !failed.reason.starts_with("connect:"));
        assert_eq!(closed.count(), 3, "{tally}");
    }
}
