//! A scripted peer: a small HTTP server that plays given answers, for what a real server can't be made to do.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// One request, as the peer saw it.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: String,
    /// What follows `/v1/`.
    pub(crate) path: String,
    pub(crate) token: Option<String>,
    pub(crate) namespace: Option<String>,
    pub(crate) body: Value,
}

/// What the peer does with a request.
#[derive(Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: String,
    after: Duration,
    end: End,
}

#[derive(Clone, Copy, PartialEq)]
enum End {
    Whole,
    /// The connection ends in the middle of the body.
    Cut,
    /// Nothing is ever said.
    Silent,
}

impl Reply {
    pub(crate) fn new(status: u16, body: impl ToString) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.to_string(),
            after: Duration::ZERO,
            end: End::Whole,
        }
    }

    pub(crate) fn errors(status: u16, error: &str) -> Self {
        Self::new(status, json!({ "errors": [error] }))
    }

    pub(crate) fn invalid_token() -> Self {
        Self::errors(
            403,
            "2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n",
        )
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl ToString) -> Self {
        self.headers.push((name, value.to_string()));
        self
    }

    pub(crate) fn after(self, after: Duration) -> Self {
        Self { after, ..self }
    }

    pub(crate) fn cut(self) -> Self {
        Self {
            end: End::Cut,
            ..self
        }
    }

    pub(crate) fn silent() -> Self {
        Self {
            end: End::Silent,
            ..Self::new(200, "")
        }
    }
}

/// A token that a login gives.
pub(crate) fn login(token: &str, ttl: u64) -> Reply {
    let auth =
        json!({ "client_token": token, "lease_duration": ttl, "renewable": true, "token_type": "service" });
    Reply::new(200, json!({ "data": null, "auth": auth, "warnings": null }))
}

pub(crate) fn document(version: u64, value: &str) -> Reply {
    let metadata = json!({ "version": version, "created_time": "2026-01-02T03:04:05.6Z", "deletion_time": "", "destroyed": false });
    Reply::new(
        200,
        json!({ "lease_id": "", "data": { "data": { "k": value }, "metadata": metadata } }),
    )
}

pub(crate) fn lent(number: usize, ttl: u64) -> Reply {
    let data = json!({ "username": format!("v-{number}"), "password": format!("canary-{number}") });
    let lease = format!("database/creds/app/{number}");
    Reply::new(
        200,
        json!({ "lease_id": lease, "lease_duration": ttl, "renewable": true, "data": data }),
    )
}

pub(crate) fn renewed(lease: &Value, ttl: u64) -> Reply {
    Reply::new(
        200,
        json!({ "lease_id": lease, "lease_duration": ttl, "renewable": true, "data": null }),
    )
}

/// The running peer. Dropping it closes everything.
pub(crate) struct Peer {
    pub(crate) address: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Peer {
    /// `script` gets the request and how many of the same method and path came before it.
    pub(crate) async fn start(script: impl Fn(&Asked, usize) -> Reply + Send + Sync + 'static) -> Self {
        Self::serve(None, script).await
    }

    /// The same behind TLS, at `https://localhost:port`.
    pub(crate) async fn start_tls(
        tls: TlsAcceptor,
        script: impl Fn(&Asked, usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::serve(Some(tls), script).await
    }

    async fn serve(
        tls: Option<TlsAcceptor>,
        script: impl Fn(&Asked, usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let address = match tls {
            Some(_) => format!("https://localhost:{port}"),
            None => format!("http://127.0.0.1:{port}"),
        };
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let (log, script) = (asked.clone(), Arc::new(script));
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (log, script, tls) = (log.clone(), script.clone(), tls.clone());
                connections.spawn(async move {
                    let answer = |asked: Asked| {
                        let mut log = log.lock().unwrap();
                        let same = |one: &&Asked| one.method == asked.method && one.path == asked.path;
                        let before = log.iter().filter(same).count();
                        log.push(asked.clone());
                        drop(log);
                        script(&asked, before)
                    };
                    let _closed = match tls {
                        None => serve(stream, answer).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => serve(stream, answer).await,
                            Err(error) => Err(error),
                        },
                    };
                });
            }
        });
        Self { address, asked, task }
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// How often a path was asked for, by its end.
    pub(crate) fn count(&self, path: &str) -> usize {
        self.asked()
            .iter()
            .filter(|asked| asked.path.ends_with(path))
            .count()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    answer: impl Fn(Asked) -> Reply,
) -> std::io::Result<()> {
    let mut read = Vec::new();
    let head = loop {
        if let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(&mut read).await? == 0 {
            return Ok(());
        }
    };
    let text = String::from_utf8_lossy(&read[..head]).into_owned();
    let header = |name: &str| {
        text.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    };
    let length: usize = header("content-length").map_or(0, |length| length.parse().unwrap());
    while read.len() < head + 4 + length {
        stream.read_buf(&mut read).await?;
    }
    let mut line = text.lines().next().unwrap_or_default().split(' ');
    let (method, path) = (line.next().unwrap_or_default(), line.next().unwrap_or_default());
    let reply = answer(Asked {
        method: method.to_owned(),
        path: path.trim_start_matches("/v1/").to_owned(),
        token: header("x-vault-token"),
        namespace: header("x-vault-namespace"),
        body: serde_json::from_slice(&read[head + 4..]).unwrap_or_default(),
    });
    tokio::time::sleep(reply.after).await;
    if reply.end == End::Silent {
        std::future::pending::<()>().await;
    }
    let headers: String = reply
        .headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    let length = reply.body.len();
    let head = format!(
        "HTTP/1.1 {} X\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n",
        reply.status
    );
    stream.write_all(head.as_bytes()).await?;
    let sent = if reply.end == End::Cut { length / 2 } else { length };
    stream.write_all(&reply.body.as_bytes()[..sent]).await?;
    stream.shutdown().await
}
