//! Load on an HTTP server from a process of its own: neither its work nor its waits are the server's.
//!
//! The program starts itself again as the load; [`Load::serve_as_child`] is the first thing in its `main`. The clients
//! are lean: they send the same bytes again and again over kept connections, and read as many as the first answer had.

use std::env;
use std::io::{self, Error};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Kept HTTP/1.1 connections, each with one request at a time.
pub const CONNECTIONS: usize = 64;

const CHILD: &str = "--load";
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: bench\r\n\r\n";
const END: &[u8] = b"\r\n\r\nhello\n";

/// What a window of load showed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Load {
    /// How many came.
    pub answers: u64,
    /// Answers per second.
    pub rate: f64,
    /// Half of the answers came within so many microseconds.
    pub p50: f64,
    /// All but one of a hundred came within so many microseconds.
    pub p99: f64,
}

impl Load {
    /// Loads `address` with `GET /` for as long as `window` from another process. Every answer must be `hello`, each with
    /// as many bytes as the first.
    ///
    /// # Errors
    /// When the process can't be started, fails, or says nothing that can be read.
    pub fn on(address: SocketAddr, window: Duration) -> io::Result<Self> {
        let child = Command::new(env::current_exe()?)
            .args([CHILD, &address.to_string(), &window.as_millis().to_string()])
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()?;
        let said = String::from_utf8_lossy(&child.stdout);
        if !child.status.success() {
            return Err(Error::other(format!("the load ended with {}", child.status)));
        }
        said.parse()
    }

    /// Is the load, where this process was started as such; returns at once where it was not.
    ///
    /// # Errors
    /// What went wrong with a server under load.
    pub fn serve_as_child() -> io::Result<Option<Self>> {
        let arguments: Vec<String> = env::args().collect();
        let [_, child, address, window] = arguments.as_slice() else {
            return Ok(None);
        };
        if child != CHILD {
            return Ok(None);
        }
        let address = address.parse().map_err(Error::other)?;
        let window = Duration::from_millis(window.parse().map_err(Error::other)?);
        let clients = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        clients.block_on(Self::of(address, window)).map(Some)
    }

    /// The load itself.
    async fn of(address: SocketAddr, window: Duration) -> io::Result<Self> {
        let seen = Arc::new(Seen::new()?);
        let mut connections = Vec::with_capacity(CONNECTIONS);
        for _ in 0..CONNECTIONS {
            connections.push(Connection::open(address).await?);
        }
        let begun = Instant::now();
        let clients: Vec<_> = connections
            .into_iter()
            .map(|connection| tokio::spawn(connection.load(seen.clone())))
            .collect();
        tokio::time::sleep(window).await;
        seen.stop.store(true, Ordering::Relaxed);
        for client in clients {
            client.await.map_err(Error::other)??;
        }
        let took = begun.elapsed();
        let latencies = seen.latencies.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Self {
            answers: latencies.len(),
            rate: latencies.len() as f64 / took.as_secs_f64(),
            p50: latencies.value_at_quantile(0.5) as f64 / 1000.0,
            p99: latencies.value_at_quantile(0.99) as f64 / 1000.0,
        })
    }

    /// The line that a child says to its parent.
    pub fn line(&self) -> String {
        let Self {
            answers,
            rate,
            p50,
            p99,
        } = self;
        format!("{answers} {rate} {p50} {p99}")
    }
}

impl FromStr for Load {
    type Err = Error;

    fn from_str(line: &str) -> io::Result<Self> {
        let refused = || Error::other(format!("the load said {line:?}"));
        let mut words = line.split_whitespace();
        let answers = words
            .next()
            .and_then(|word| word.parse().ok())
            .ok_or_else(refused)?;
        let mut number = || {
            words
                .next()
                .and_then(|word| word.parse().ok())
                .ok_or_else(refused)
        };
        let load = Self {
            answers,
            rate: number()?,
            p50: number()?,
            p99: number()?,
        };
        if load.answers == 0 {
            return Err(Error::other("nothing was answered"));
        }
        Ok(load)
    }
}

/// What all connections share; one thread serves them, so that nobody waits for the lock.
struct Seen {
    stop: AtomicBool,
    /// Nanoseconds.
    latencies: Mutex<Histogram<u64>>,
}

impl Seen {
    fn new() -> io::Result<Self> {
        let latencies = Histogram::new_with_max(60_000_000_000, 3).map_err(Error::other)?;
        Ok(Self {
            stop: AtomicBool::new(false),
            latencies: Mutex::new(latencies),
        })
    }

    fn note(&self, took: Duration) {
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let mut latencies = self.latencies.lock().unwrap_or_else(PoisonError::into_inner);
        latencies.saturating_record(nanoseconds);
    }
}

struct Connection {
    stream: TcpStream,
    /// Bytes of an answer.
    length: usize,
}

impl Connection {
    /// The first answer shows how long all are.
    async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let mut connection = Self { stream, length: 0 };
        connection.stream.write_all(REQUEST).await?;
        let mut answer = Vec::new();
        while !answer.ends_with(END) {
            if connection.stream.read_buf(&mut answer).await? == 0 {
                let so_far = String::from_utf8_lossy(&answer);
                return Err(Error::other(format!("{address} closed after {so_far:?}")));
            }
        }
        if !answer.starts_with(b"HTTP/1.1 200 ") {
            return Err(Error::other(format!("{:?}", String::from_utf8_lossy(&answer))));
        }
        connection.length = answer.len();
        Ok(connection)
    }

    async fn load(mut self, seen: Arc<Seen>) -> io::Result<()> {
        let mut answer = vec![0; self.length];
        while !seen.stop.load(Ordering::Relaxed) {
            let begun = Instant::now();
            self.stream.write_all(REQUEST).await?;
            self.stream.read_exact(&mut answer).await?;
            if !answer.ends_with(END) {
                return Err(Error::other("answers differ in length"));
            }
            seen.note(begun.elapsed());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_child_says_reads_back_and_no_answer_is_no_measurement() {
        let load = Load {
            answers: 17,
            rate: 8.5,
            p50: 120.25,
            p99: 900.5,
        };
        assert_eq!(load.line().parse::<Load>().unwrap(), load);
        assert!("0 0 0 0".parse::<Load>().is_err());
        assert!("17 8.5".parse::<Load>().is_err());
        assert!("".parse::<Load>().is_err());
    }
}
