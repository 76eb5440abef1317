//! HTTP/1.1 over one connection at a time, so that a test decides what is kept and what is fresh.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// No answer of a test takes longer.
const LIMIT: Duration = Duration::from_secs(15);

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    /// The value of the header of that lower-case name, or nothing.
    pub(crate) fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(header, _)| header == name);
        found.map_or("", |(_, value)| value)
    }

    /// The server will close the connection.
    pub(crate) fn closes(&self) -> bool {
        self.header("connection").eq_ignore_ascii_case("close")
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// One request.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    method: &'static str,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

pub(crate) fn get(path: impl Into<String>) -> Request {
    Request {
        method: "GET",
        path: path.into(),
        headers: Vec::new(),
        body: Vec::new(),
    }
}

/// A POST with a body of that content type.
pub(crate) fn post(path: impl Into<String>, content_type: &str, body: impl Into<Vec<u8>>) -> Request {
    let headers = vec![("content-type", content_type.to_owned())];
    Request {
        method: "POST",
        path: path.into(),
        headers,
        body: body.into(),
    }
}

impl Request {
    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Over a connection of its own, which is closed afterwards.
    pub(crate) async fn send(self, port: u16) -> io::Result<Answer> {
        let request = self.header("connection", "close");
        Connection::open(port).await?.send(&request).await
    }
}

/// A connection that is kept.
pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    pub(crate) async fn open(port: u16) -> io::Result<Self> {
        let stream = bounded(TcpStream::connect(("127.0.0.1", port))).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream: BufReader::new(stream),
        })
    }

    pub(crate) async fn send(&mut self, request: &Request) -> io::Result<Answer> {
        bounded(self.exchange(request)).await
    }

    async fn exchange(&mut self, request: &Request) -> io::Result<Answer> {
        let Request {
            method,
            path,
            headers,
            body,
        } = request;
        let mut head = format!(
            "{method} {path} HTTP/1.1\r\nhost: service\r\ncontent-length: {}\r\n",
            body.len()
        );
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        self.stream.write_all(&[head.as_bytes(), body].concat()).await?;
        let status = self.line().await?;
        let status = status.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = status.ok_or_else(|| io::Error::other("no status line"))?;
        let mut headers = Vec::new();
        while let Some((name, value)) = self.line().await?.split_once(':') {
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let mut answer = Answer {
            status,
            headers,
            body: String::new(),
        };
        // Whatever is asked for here is answered whole, so there is always a length.
        let length = answer.header("content-length").parse();
        let length = length.map_err(|_| io::Error::other(format!("no content-length: {answer:?}")))?;
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).await?;
        answer.body = String::from_utf8(body).map_err(io::Error::other)?;
        Ok(answer)
    }

    async fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line).await? == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "closed before the answer",
            ));
        }
        Ok(line.trim_end().to_owned())
    }
}

async fn bounded<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let late = || io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {LIMIT:?}"));
    tokio::time::timeout(LIMIT, work).await.map_err(|_| late())?
}
