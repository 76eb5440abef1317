//! A peer between the client and a real server: it passes everything on, but answers a login or a statement by its script
//! where no server of ours can be made to say so.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What is answered in place of the server, once, with the end of the connection.
#[derive(Clone, Debug)]
struct Line {
    cue: Cue,
    state: &'static str,
    severity: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Cue {
    Login,
    /// A statement that contains the text.
    Statement(&'static str),
}

pub(crate) struct Peer {
    address: SocketAddr,
    script: Arc<Mutex<VecDeque<Line>>>,
    task: JoinHandle<()>,
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Peer {
    pub(crate) async fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let script = Arc::new(Mutex::new(VecDeque::new()));
        let lines = script.clone();
        let task = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(client, server, lines.clone()));
            }
        });
        Self {
            address,
            script,
            task,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next login is answered by `state`.
    pub(crate) fn refuse_login(&self, state: &'static str) {
        self.push(Cue::Login, state, "FATAL");
    }

    /// The next statement with `cue` is answered by `state` and the end of the connection.
    pub(crate) fn end_session(&self, cue: &'static str, state: &'static str) {
        self.push(Cue::Statement(cue), state, "FATAL");
    }

    /// The same, but `state` comes as a warning, as of a server that crashes.
    pub(crate) fn warn_and_end_session(&self, cue: &'static str, state: &'static str) {
        self.push(Cue::Statement(cue), state, "WARNING");
    }

    /// Whether all that was to be said was said.
    pub(crate) fn is_done(&self) -> bool {
        self.script.lock().unwrap().is_empty()
    }

    fn push(&self, cue: Cue, state: &'static str, severity: &'static str) {
        self.script
            .lock()
            .unwrap()
            .push_back(Line { cue, state, severity });
    }
}

/// A request for TLS, which no server of ours has.
const TLS: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

async fn serve(mut client: TcpStream, server: SocketAddr, script: Arc<Mutex<VecDeque<Line>>>) {
    let Ok(mut server) = TcpStream::connect(server).await else {
        return;
    };
    let (mut requests, mut began) = (Vec::new(), false);
    let (mut up, mut down) = (vec![0; 16 * 1024], vec![0; 16 * 1024]);
    loop {
        tokio::select! {
            read = client.read(&mut up) => {
                let Ok(bytes @ 1..) = read else { return };
                requests.extend_from_slice(&up[..bytes]);
                if !began && requests.starts_with(&TLS) {
                    requests.drain(..TLS.len());
                    let _gone = client.write_all(b"N").await;
                }
                while let Some(message) = message(&mut requests, began) {
                    if let Some(line) = cued(&script, &message, began) {
                        // Both connections are dropped: the server rolls back.
                        let _gone = client.write_all(&answer(&line)).await;
                        let _gone = client.shutdown().await;
                        return;
                    }
                    began = true;
                    if server.write_all(&message).await.is_err() {
                        return;
                    }
                }
            }
            read = server.read(&mut down) => {
                let Ok(bytes @ 1..) = read else { return };
                if client.write_all(&down[..bytes]).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// The next whole message; the first of a connection has no letter before its length.
fn message(requests: &mut Vec<u8>, began: bool) -> Option<Vec<u8>> {
    let letter = usize::from(began);
    let length: [u8; 4] = requests.get(letter..letter + 4)?.try_into().unwrap();
    let length = letter + u32::from_be_bytes(length) as usize;
    (requests.len() >= length).then(|| requests.drain(..length).collect())
}

/// The line that `message` is the cue of; it is said once.
fn cued(script: &Mutex<VecDeque<Line>>, message: &[u8], began: bool) -> Option<Line> {
    let mut script = script.lock().unwrap();
    let is_cue = match &script.front()?.cue {
        Cue::Login => !began,
        Cue::Statement(text) => {
            let text = text.as_bytes();
            began
                && matches!(message[0], b'P' | b'Q')
                && message.windows(text.len()).any(|window| window == text)
        }
    };
    if is_cue { script.pop_front() } else { None }
}

fn answer(line: &Line) -> Vec<u8> {
    let mut fields = Vec::new();
    let texts = [
        (b'S', line.severity),
        (b'V', line.severity),
        (b'C', line.state),
        (b'M', "by the script"),
    ];
    for (field, text) in texts {
        fields.push(field);
        fields.extend_from_slice(text.as_bytes());
        fields.push(0);
    }
    fields.push(0);
    let mut answer = vec![if line.severity == "WARNING" { b'N' } else { b'E' }];
    answer.extend_from_slice(&(fields.len() as u32 + 4).to_be_bytes());
    answer.extend_from_slice(&fields);
    answer
}
