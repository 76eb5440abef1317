//! What the tests of this crate look through: a collector on a thread of its own, and a place for log lines.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use hafnium_telemetry::{LogFormat, TelemetrySettings};

/// Settings with JSON lines and exports to `endpoint`.
pub fn settings(endpoint: Option<&str>) -> TelemetrySettings {
    let mut settings = TelemetrySettings::default();
    settings.log_format = LogFormat::Json;
    settings.otlp_endpoint = endpoint.map(str::to_owned);
    // Whatever arrives was flushed, and did not come with a timer.
    settings.span_interval = hafnium_core::config::Duration::from_secs(3600);
    settings.metric_interval = hafnium_core::config::Duration::from_secs(3600);
    settings
}

/// Log lines in memory.
#[derive(Clone, Default)]
pub struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    /// Every line, read as JSON.
    pub fn json(&self) -> Vec<serde_json::Value> {
        let text = self.text();
        text.lines()
            .map(|line| serde_json::from_str(line).expect(line))
            .collect()
    }

    /// The one line with that message.
    pub fn with_message(&self, message: &str) -> serde_json::Value {
        let mut found = self.json();
        found.retain(|line| line["message"] == message);
        assert_eq!(found.len(), 1, "lines with {message:?} in {}", self.text());
        found.remove(0)
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One export: the path it was posted to, and its protobuf bytes.
pub type Export = (String, Vec<u8>);

/// A collector that accepts connections on a free port of the loopback.
pub struct Collector {
    pub endpoint: String,
    exports: Arc<Mutex<Vec<Export>>>,
}

impl Collector {
    /// One that answers every export with 200.
    pub fn healthy() -> Self {
        Self::start(|exports, stream| {
            // The client closing its connection ends it.
            let _ = serve(&exports, stream);
        })
    }

    /// One that reads and never answers.
    pub fn silent() -> Self {
        Self::start(|_, mut stream| {
            let _ = io::copy(&mut stream, &mut io::sink());
        })
    }

    fn start(handle: fn(Arc<Mutex<Vec<Export>>>, TcpStream)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let exports: Arc<Mutex<Vec<Export>>> = Arc::default();
        let of_thread = exports.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let exports = of_thread.clone();
                thread::spawn(move || handle(exports, stream));
            }
        });
        Self { endpoint, exports }
    }

    /// The bytes posted to `path` so far.
    pub fn posted(&self, path: &str) -> Vec<Vec<u8>> {
        let exports = self.exports.lock().unwrap();
        let of_path = exports.iter().filter(|(to, _)| to == path);
        of_path.map(|(_, body)| body.clone()).collect()
    }

    /// Whether any body posted to `path` holds `needle`. Protobuf keeps strings and ids as they are.
    pub fn received(&self, path: &str, needle: &[u8]) -> bool {
        let holds = |body: &Vec<u8>| body.windows(needle.len()).any(|window| window == needle);
        self.posted(path).iter().any(holds)
    }
}

fn serve(exports: &Mutex<Vec<Export>>, mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = Vec::new();
    loop {
        let head = loop {
            if let Some(at) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            read_more(&mut stream, &mut buffer)?;
        };
        let text = String::from_utf8_lossy(&buffer[..head]).to_lowercase();
        let path = text.split(' ').nth(1).unwrap_or_default().to_owned();
        let length = text
            .lines()
            .find_map(|line| line.strip_prefix("content-length:"))
            .map_or(0, |length| length.trim().parse().unwrap());
        while buffer.len() < head + length {
            read_more(&mut stream, &mut buffer)?;
        }
        let body = buffer[head..head + length].to_vec();
        buffer.drain(..head + length);
        exports.lock().unwrap().push((path, body));
        stream.write_all(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n",
        )?;
    }
}

fn read_more(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<()> {
    let mut chunk = [0; 8192];
    match stream.read(&mut chunk)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        count => {
            buffer.extend_from_slice(&chunk[..count]);
            Ok(())
        }
    }
}
