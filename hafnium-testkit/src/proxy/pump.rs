//! One direction of one connection.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Shared;
use super::connection::Marks;
use super::rule::Direction;

/// How a connection ends.
pub(crate) enum End {
    /// Orderly, because a side closed it.
    Closed,
    /// By a reset.
    Reset,
}

struct Chunk {
    bytes: Bytes,
    due: Instant,
}

/// Carries bytes until either side ends the connection (a half-open one is not kept). Reading and writing overlap, so a latency delays but does not throttle.
pub(crate) async fn pump(
    from: &TcpStream,
    to: &TcpStream,
    direction: Direction,
    shared: &Shared,
    marks: &Marks,
) -> End {
    let (queue, chunks) = mpsc::channel(256);
    tokio::select! {
        end = read(from, direction, shared, marks, queue) => end,
        end = write(to, direction, shared, marks, chunks) => end,
    }
}

async fn read(
    from: &TcpStream,
    direction: Direction,
    shared: &Shared,
    marks: &Marks,
    queue: mpsc::Sender<Chunk>,
) -> End {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let bytes = match next(from, &mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(bytes) => bytes,
        };
        if direction == Direction::ToServer && shared.rules.takes_needle(&buffer[..bytes]) {
            marks.swallow_next_reply.store(true, Ordering::Relaxed);
        }
        let due = Instant::now() + shared.rules.now().latency;
        if queue
            .send(Chunk {
                bytes: Bytes::copy_from_slice(&buffer[..bytes]),
                due,
            })
            .await
            .is_err()
        {
            return End::Closed;
        }
    }
    // Nobody hears of an end through a black hole, nor after bytes that were swallowed.
    let hole = marks.hole(direction);
    if shared.rules.now().swallows(direction) || hole.load(Ordering::Relaxed) {
        hole.store(true, Ordering::Relaxed);
        return std::future::pending().await;
    }
    // What was read before the end is still to be delivered: the writer ends the connection.
    drop(queue);
    std::future::pending().await
}

async fn write(
    to: &TcpStream,
    direction: Direction,
    shared: &Shared,
    marks: &Marks,
    mut chunks: mpsc::Receiver<Chunk>,
) -> End {
    while let Some(Chunk { bytes, due }) = chunks.recv().await {
        tokio::time::sleep_until(due).await;
        let now = shared.rules.now();
        // A stream with a hole is never continued, whatever the rules are by now.
        let hole = marks.hole(direction);
        if now.swallows(direction) || hole.load(Ordering::Relaxed) {
            hole.store(true, Ordering::Relaxed);
            shared.tally.swallowed(direction, bytes.len());
            continue;
        }
        if direction == Direction::ToClient && marks.swallow_next_reply.load(Ordering::Relaxed) {
            shared.tally.swallowed(direction, bytes.len());
            return End::Reset;
        }
        let allowed = shared.rules.spend(direction, bytes.len());
        let piece = match now.pieces.filter(|_| direction == Direction::ToClient) {
            Some(most) => most.get(),
            None => allowed.max(1),
        };
        for piece in bytes[..allowed].chunks(piece) {
            if send(to, piece).await.is_err() {
                return End::Closed;
            }
            if now.pieces.is_some() {
                // The reader gets its turn before the next piece. Timers are too coarse for this.
                std::thread::sleep(Duration::from_micros(50));
            }
        }
        shared.tally.forwarded(direction, allowed);
        if allowed < bytes.len() {
            return End::Reset;
        }
        if let Some(rate) = now.bandwidth {
            tokio::time::sleep(Duration::from_secs_f64(
                bytes.len() as f64 / f64::from(rate.get()),
            ))
            .await;
        }
    }
    End::Closed
}

pub(crate) async fn next(from: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        from.readable().await?;
        match from.try_read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            other => return other,
        }
    }
}

async fn send(to: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        to.writable().await?;
        match to.try_write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
