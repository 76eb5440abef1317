//! A name server on loopback whose records a test changes while clients ask.
//!
//! It answers over UDP and TCP on one free port, runs on a thread and runtime of its own, and writes down every answer
//! it gave, which is the proof that a client asked and when it could have known of a change.

mod answer;
mod zone;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use hickory_server::Server;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::oneshot;

pub use zone::Answer;
use zone::Zone;

use crate::Error;

/// Answers for the names it was told of. Dropping it stops it.
///
/// ```no_run
/// # fn test() -> Result<(), hafnium_testkit::Error> {
/// use std::time::Duration;
///
/// use hafnium_testkit::dns::NameServer;
///
/// let names = NameServer::start()?;
/// names.set("ledger.example", ["127.0.0.1".parse().unwrap()], Duration::from_secs(1));
/// // .. a client under test asks `names.address()` ..
/// names.set("ledger.example", ["127.0.0.2".parse().unwrap()], Duration::from_secs(1));
/// println!("{:?}", names.answers("ledger.example"));
/// # Ok(()) }
/// ```
pub struct NameServer {
    address: SocketAddr,
    zone: Arc<Zone>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl NameServer {
    /// Listens on a free loopback port.
    ///
    /// # Errors
    /// [`Error::Io`] without a port that is free for both protocols, or without a thread.
    pub fn start() -> Result<NameServer, Error> {
        let (udp, tcp) = sockets()?;
        let address = udp
            .local_addr()
            .map_err(Error::io("read the name server's port"))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(Error::io("build the name server's runtime"))?;
        let zone = Arc::new(Zone::default());
        let (stop, stopped) = oneshot::channel();
        let theirs = zone.clone();
        let thread = std::thread::Builder::new()
            .name("hafnium-dns".into())
            .spawn(move || runtime.block_on(serve(udp, tcp, theirs, stopped)))
            .map_err(Error::io("start the name server's thread"))?;
        Ok(NameServer {
            address,
            zone,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Where it answers, over UDP and TCP.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on `name` has these addresses (A and AAAA records), each answer to be believed for `ttl` (whole
    /// seconds). The name is taken as complete, without a search list.
    pub fn set(&self, name: &str, addresses: impl IntoIterator<Item = IpAddr>, ttl: Duration) {
        self.zone.set(name, addresses.into_iter().collect(), ttl);
    }

    /// From now on nobody has this name.
    pub fn remove(&self, name: &str) {
        self.zone.remove(name);
    }

    /// Takes questions and says nothing, as a name server behind a broken path.
    pub fn fall_silent(&self) {
        self.zone.silence(zone::Voice::Silent);
    }

    /// Answers again.
    pub fn speak(&self) {
        self.zone.silence(zone::Voice::Audible);
    }

    /// The answers given for `name`, oldest first. Questions for A and for AAAA are answered one by one.
    pub fn answers(&self, name: &str) -> Vec<Answer> {
        self.zone.answers(name)
    }

    /// Questions about `name` that were taken, also those that were met with silence.
    pub fn asked(&self, name: &str) -> u64 {
        self.zone.asked(name)
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}

impl std::fmt::Debug for NameServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NameServer")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// The kernel gives out ports per protocol, so the port that is free for one is tried for the other.
fn sockets() -> Result<(std::net::UdpSocket, std::net::TcpListener), Error> {
    const TRIES: u32 = 50;
    let mut refusal = std::io::Error::other("no port is free for UDP and TCP");
    for _ in 0..TRIES {
        let udp =
            std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(Error::io("bind the name server"))?;
        let address = udp
            .local_addr()
            .map_err(Error::io("read the name server's port"))?;
        let bound = std::net::TcpListener::bind(address);
        match bound.and_then(|tcp| {
            udp.set_nonblocking(true)?;
            tcp.set_nonblocking(true)?;
            Ok(tcp)
        }) {
            Ok(tcp) => return Ok((udp, tcp)),
            Err(error) => refusal = error,
        }
    }
    Err(Error::io("bind the name server")(refusal))
}

/// Ends when told, and the runtime with it.
async fn serve(
    udp: std::net::UdpSocket,
    tcp: std::net::TcpListener,
    zone: Arc<Zone>,
    stopped: oneshot::Receiver<()>,
) {
    const IDLE: Duration = Duration::from_secs(30);
    let (Ok(udp), Ok(tcp)) = (UdpSocket::from_std(udp), TcpListener::from_std(tcp)) else {
        return;
    };
    let mut server = Server::new(answer::Answering { zone });
    server.register_socket(udp);
    server.register_listener(tcp, IDLE, 16);
    // The sender is dropped with the NameServer; it never sends.
    let _dropped = stopped.await;
}
