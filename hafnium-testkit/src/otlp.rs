//! A collector of telemetry, as far as it takes to see what arrives.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Takes OTLP over http/protobuf on loopback, traces, metrics and logs alike, and keeps what it got.
#[derive(Debug)]
pub struct Collector {
    port: u16,
    taken: Arc<Mutex<Vec<u8>>>,
    _accepting: JoinSet<()>,
}

impl Collector {
    /// Listens from now on, until it is dropped.
    ///
    /// # Errors
    /// When no port of loopback can be listened on.
    pub async fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let taken = Arc::new(Mutex::new(Vec::new()));
        let (mut accepting, keep) = (JoinSet::new(), taken.clone());
        accepting.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, keep.clone()));
            }
        });
        Ok(Self {
            port,
            taken,
            _accepting: accepting,
        })
    }

    /// Where to send to, for `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Whether those bytes were in anything that arrived: protobuf holds text and ids as they are.
    pub fn holds(&self, bytes: &[u8]) -> bool {
        let taken = self.taken();
        taken.windows(bytes.len().max(1)).any(|window| window == bytes)
    }

    /// Everything that arrived so far: the requests as they came, heads and bodies, one after the other.
    pub fn taken(&self) -> Vec<u8> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Requests of one connection, one after the other; each is answered with an empty success.
async fn serve(mut stream: TcpStream, taken: Arc<Mutex<Vec<u8>>>) {
    let (mut received, mut part) = (Vec::new(), vec![0; 16 * 1024]);
    loop {
        while let Some(length) = whole(&received) {
            let request: Vec<u8> = received.drain(..length).collect();
            taken
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .extend_from_slice(&request);
            let answer =
                b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n";
            if stream.write_all(answer).await.is_err() {
                return;
            }
        }
        match stream.read(&mut part).await {
            Ok(0) | Err(_) => return,
            Ok(read) => received.extend_from_slice(&part[..read]),
        }
    }
}

/// The length of the first request, if all of it is there.
fn whole(received: &[u8]) -> Option<usize> {
    let head = received.windows(4).position(|window| window == b"\r\n\r\n")?;
    let text = String::from_utf8_lossy(&received[..head]).to_ascii_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length: usize = length.and_then(|length| length.trim().parse().ok()).unwrap_or(0);
    let end = head + 4 + length;
    (received.len() >= end).then_some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_whole_with_its_body() {
        let request = b"POST /v1/traces HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcPOST";
        assert_eq!(whole(&request[..request.len() - 5]), None);
        assert_eq!(whole(request), Some(request.len() - 4));
        assert_eq!(whole(b"POST / HTTP/1.1\r\n"), None);
    }
}
