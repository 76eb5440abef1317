//! A relay that catches one request, gives its client up, and decides later whether the server gets it.
#![allow(clippy::expect_used, reason = "test code")]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What becomes of a caught request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The server gets it, long after its client is gone.
    Delivered,
    /// The server gets the end of the connection instead.
    Lost,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Armed,
    Caught,
    Decided(Fate),
}

/// What is to be caught, and who is told.
type Trap = Option<(Vec<u8>, watch::Sender<State>)>;

/// Forwards connections; ends with the test that started it.
pub(crate) struct Relay {
    address: SocketAddr,
    trap: Arc<Mutex<Trap>>,
    _serving: JoinSet<()>,
}

/// One request to be caught.
pub(crate) struct Held(watch::Sender<State>);

impl Relay {
    pub(crate) async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let trap = Arc::new(Mutex::new(None));
        let theirs = trap.clone();
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(target).await.unwrap();
                connections.spawn(carry(client, server, theirs.clone()));
            }
        });
        Self {
            address,
            trap,
            _serving: serving,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Catches the next request with `needle` in it, which short requests on loopback hold in one piece.
    pub(crate) fn hold(&self, needle: &str) -> Held {
        let state = watch::Sender::new(State::Armed);
        *self.trap.lock().unwrap() = Some((needle.as_bytes().to_vec(), state.clone()));
        Held(state)
    }
}

impl Held {
    /// Returns when the request was caught and its client cut off.
    pub(crate) async fn caught(&self) {
        let caught = async {
            let mut state = self.0.subscribe();
            state.wait_for(|state| *state != State::Armed).await.map(drop)
        };
        let limit = Duration::from_secs(5);
        tokio::time::timeout(limit, caught)
            .await
            .expect("the request comes")
            .unwrap();
    }

    pub(crate) fn decide(&self, fate: Fate) {
        let caught = self.0.send_replace(State::Decided(fate));
        assert_eq!(
            caught,
            State::Caught,
            "nothing was caught, so that nothing was tested"
        );
    }
}

async fn carry(client: TcpStream, server: TcpStream, trap: Arc<Mutex<Trap>>) {
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let (mut requests, mut to_client) = client.into_split();
    let (mut replies, mut to_server) = server.into_split();
    let mut back = JoinSet::new();
    back.spawn(async move {
        let _ended = tokio::io::copy(&mut replies, &mut to_client).await;
    });
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = tokio::select! {
            read = requests.read(&mut buffer) => read.unwrap_or(0),
            _ = back.join_next() => 0,
        };
        if read == 0 {
            return;
        }
        let request = &buffer[..read];
        let caught = {
            let mut trap = trap.lock().unwrap();
            let hit =
                |(needle, _): &mut (Vec<u8>, _)| request.windows(needle.len()).any(|part| part == needle);
            trap.take_if(hit)
        };
        match caught {
            Some((_, state)) => {
                back.shutdown().await;
                drop(requests);
                return keep(request, to_server, &state).await;
            }
            None if to_server.write_all(request).await.is_err() => return,
            None => {}
        }
    }
}

/// Holds the request and the server's end of the connection until it is decided.
async fn keep(request: &[u8], mut to_server: OwnedWriteHalf, state: &watch::Sender<State>) {
    state.send_replace(State::Caught);
    let mut decided = state.subscribe();
    let decided = decided.wait_for(|state| matches!(state, State::Decided(_)));
    let decided = decided
        .await
        .is_ok_and(|state| *state == State::Decided(Fate::Delivered));
    if decided {
        to_server.write_all(request).await.unwrap();
        // Its end would reach the server too; the reply goes nowhere.
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
}
