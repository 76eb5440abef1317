//! Carries bytes between two sockets for as long as both ends are open.
//!
//! Invariant: a client that has closed its end holds neither a task nor a socket, whatever the server does. A frozen one
//! takes no more bytes once its buffers are full, and the write that waits for it would keep the end of the client from
//! being seen.

use std::pin::pin;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::{TcpStream, UnixStream, tcp, unix};

/// Large enough for what TLS sends at once.
const BUFFER: usize = 16 * 1024 + 64;

/// While the server takes nothing: how often to look whether the client is there.
const LOOK: Duration = Duration::from_millis(250);

/// Which end of a direction was closed or lost first.
#[derive(Debug, PartialEq, Eq)]
enum Ended {
    Sender,
    Receiver,
}

/// Returns when either side is closed, and closes both, without a word to a silent server.
pub(crate) async fn between(client: UnixStream, server: TcpStream) {
    // Only a matter of speed.
    let _ = server.set_nodelay(true);
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let mut answers = pin!(answers(from_server, to_client));
    tokio::select! {
        _ = &mut answers => {}
        ended = requests(from_client, to_server) => if ended == Ended::Receiver {
            // A server that is gone: what it said last, such as why it refuses TLS, is still to be read.
            answers.await;
        }
    }
}

async fn requests(mut client: unix::OwnedReadHalf, mut server: tcp::OwnedWriteHalf) -> Ended {
    let mut buffer = vec![0; BUFFER];
    loop {
        let bytes = match client.read(&mut buffer).await {
            Ok(0) | Err(_) => return Ended::Sender,
            Ok(bytes) => bytes,
        };
        let sent = tokio::select! {
            biased;
            sent = server.write_all(&buffer[..bytes]) => sent,
            () = hang_up(&client) => return Ended::Sender,
        };
        if sent.is_err() {
            return Ended::Receiver;
        }
    }
}

async fn answers(mut server: tcp::OwnedReadHalf, mut client: unix::OwnedWriteHalf) -> Ended {
    let mut buffer = vec![0; BUFFER];
    loop {
        match server.read(&mut buffer).await {
            Ok(0) | Err(_) => return Ended::Sender,
            Ok(bytes) => {
                if client.write_all(&buffer[..bytes]).await.is_err() {
                    return Ended::Receiver;
                }
            }
        }
    }
}

/// Returns when the client has closed its end, also while there is something of it to be read: the end of what it sent is
/// seen by reading all of it only.
async fn hang_up(client: &unix::OwnedReadHalf) {
    loop {
        match client.ready(Interest::READABLE).await {
            Ok(ready) if !ready.is_read_closed() => tokio::time::sleep(LOOK).await,
            _ => return,
        }
    }
}
