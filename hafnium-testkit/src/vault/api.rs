//! Requests of a test to the server itself, past the client under test.

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Error;

const LIMIT: Duration = Duration::from_secs(10);

/// What the server answered.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body, null when it was empty or no JSON.
    pub body: Value,
}

/// One request in HTTP/1.0, whose answer ends with the connection.
pub(super) async fn call(
    port: u16,
    method: &str,
    path: &str,
    token: Option<&str>,
    body: Option<&Value>,
) -> Result<Answer, Error> {
    let doing = format!("{method} {path}");
    let exchange = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        let body = body.map(Value::to_string).unwrap_or_default();
        let token = token
            .map(|token| format!("X-Vault-Token: {token}\r\n"))
            .unwrap_or_default();
        let length = body.len();
        let request = format!(
            "{method} /v1/{path} HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\n{token}Content-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    let answer = tokio::time::timeout(LIMIT, exchange)
        .await
        .map_err(|_| Error::refused(&doing, format!("silence for {LIMIT:?}")))?
        .map_err(Error::io(&doing))?;
    parse(&answer).ok_or_else(|| Error::refused(doing, "something that is not HTTP"))
}

fn parse(answer: &[u8]) -> Option<Answer> {
    let text = std::str::from_utf8(answer).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let body = serde_json::from_str(body).unwrap_or_default();
    Some(Answer { status, body })
}
