//! One connection through the proxy: two pumps, and who may end it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::watch;

use super::Shared;
use super::pump::{End, pump};
use super::rule::{Direction, Now, Path};

/// What the parts of a connection tell each other.
#[derive(Default)]
pub(crate) struct Marks {
    /// Bytes, or an end of file, are missing in what the server gets: nothing more may follow.
    hole_to_server: AtomicBool,
    /// The same in what the client gets.
    hole_to_client: AtomicBool,
    /// The reply that comes next is to be swallowed.
    pub(crate) swallow_next_reply: AtomicBool,
}

impl Marks {
    pub(crate) fn hole(&self, direction: Direction) -> &AtomicBool {
        match direction {
            Direction::ToServer => &self.hole_to_server,
            Direction::ToClient => &self.hole_to_client,
        }
    }

    fn incomplete(&self) -> bool {
        self.hole_to_server.load(Ordering::Relaxed) || self.hole_to_client.load(Ordering::Relaxed)
    }
}

/// Serves one accepted connection to its end.
pub(crate) async fn serve(client: TcpStream, shared: Arc<Shared>) {
    shared.tally.accepted();
    let born = shared.rules.now();
    let mut news = shared.rules.news();
    let marks = Marks::default();
    let over = ended_by_rule(&mut news, &born, &marks);
    let end = tokio::select! {
        end = carry(&client, &shared, &marks) => end,
        () = over => End::Reset,
    };
    if matches!(end, End::Reset) {
        shared.tally.reset();
        // Zero linger: the drop sends a reset instead of an orderly end.
        let _gone = client.set_zero_linger();
    }
}

async fn carry(client: &TcpStream, shared: &Shared, marks: &Marks) -> End {
    if shared.rules.now().path == Path::BlackHole {
        // Its packets reach nobody, the target never learns of it.
        marks.hole(Direction::ToServer).store(true, Ordering::Relaxed);
        return sink(client, shared).await;
    }
    let connecting = tokio::time::timeout(Duration::from_secs(10), TcpStream::connect(shared.target()));
    let Ok(Ok(server)) = connecting.await else {
        return End::Reset;
    };
    let _best_effort = (client.set_nodelay(true), server.set_nodelay(true));
    let end = tokio::select! {
        end = pump(client, &server, Direction::ToServer, shared, marks) => end,
        end = pump(&server, client, Direction::ToClient, shared, marks) => end,
    };
    if matches!(end, End::Reset) {
        let _gone = server.set_zero_linger();
    }
    end
}

/// Reads and forgets until a rule ends the connection; not even the client's end of file is answered.
async fn sink(client: &TcpStream, shared: &Shared) -> End {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(bytes) = super::pump::next(client, &mut buffer).await {
        if bytes == 0 {
            break;
        }
        shared.tally.swallowed(Direction::ToServer, bytes);
    }
    std::future::pending().await
}

/// Returns when everything is to be reset, or when the path is healed and this connection has lost bytes.
async fn ended_by_rule(news: &mut watch::Receiver<Now>, born: &Now, marks: &Marks) {
    loop {
        if news.changed().await.is_err() {
            return std::future::pending().await;
        }
        let now = news.borrow_and_update().clone();
        if now.generation != born.generation {
            return;
        }
        if now.epoch != born.epoch && marks.incomplete() {
            return;
        }
    }
}
