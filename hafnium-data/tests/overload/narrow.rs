//! A relay before a server that is short of processors for logins: those that are under way share one. It runs on a thread
//! and runtime of its own, so that it neither slows nor is slowed by the client under test.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// For how long one login has the processor before it is the next one's turn.
const SLICE: Duration = Duration::from_millis(10);

pub(crate) struct Narrow {
    address: SocketAddr,
    shared: Arc<Shared>,
    runtime: Option<Runtime>,
}

#[derive(Default)]
struct Shared {
    processor: Mutex<()>,
    /// What a login takes of it, in microseconds.
    work: AtomicU64,
    came: AtomicU64,
    given_up: AtomicU64,
    passed: AtomicU64,
}

/// How many logins came, and what became of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Logins {
    pub(crate) came: u64,
    /// Their client went away before.
    pub(crate) given_up: u64,
    pub(crate) passed: u64,
}

impl Narrow {
    /// Lets logins pass at once, for now.
    pub(crate) fn before(server: SocketAddr) -> Self {
        Self::at((std::net::Ipv4Addr::LOCALHOST, 0).into(), server)
    }

    /// The same at an address of the caller's choice.
    pub(crate) fn at(address: SocketAddr, server: SocketAddr) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = std::net::TcpListener::bind(address).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let theirs = shared.clone();
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(client, server, theirs.clone()));
            }
        });
        Self {
            address,
            shared,
            runtime: Some(runtime),
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on a login that is alone takes this long, and two at once twice as long.
    pub(crate) fn each_login_takes(&self, work: Duration) {
        self.shared.work.store(work.as_micros() as u64, Ordering::Relaxed);
    }

    pub(crate) fn logins(&self) -> Logins {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Logins {
            came: count(&self.shared.came),
            given_up: count(&self.shared.given_up),
            passed: count(&self.shared.passed),
        }
    }
}

impl Drop for Narrow {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn serve(mut client: TcpStream, server: SocketAddr, shared: Arc<Shared>) {
    shared.came.fetch_add(1, Ordering::Relaxed);
    let mut left = Duration::from_micros(shared.work.load(Ordering::Relaxed));
    while !left.is_zero() {
        // Fair: whoever waits for longest is next.
        let turn = shared.processor.lock().await;
        // Its first message is there, so that this returns at once.
        let gone = client.ready(Interest::READABLE).await;
        if gone.is_ok_and(|ready| ready.is_read_closed()) {
            shared.given_up.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let begun = Instant::now();
        tokio::time::sleep(SLICE.min(left)).await;
        left = left.saturating_sub(begun.elapsed());
        drop(turn);
    }
    shared.passed.fetch_add(1, Ordering::Relaxed);
    let Ok(mut server) = TcpStream::connect(server).await else {
        return;
    };
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let _ended = tokio::io::copy_bidirectional(&mut client, &mut server).await;
}
