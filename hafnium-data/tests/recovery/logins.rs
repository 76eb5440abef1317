//! Logins after a switch do not fall upon the new primary all at once.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hafnium_core::Context;
use hafnium_testkit::postgres::PostgresCluster;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::{LONG, connect, settings};

const MAX: u32 = 50;
/// Logins of the pool that may be in flight, and that of the probe.
const MOST: usize = 8 + 1;
/// What each login takes besides, so that they meet.
const HOLD: Duration = Duration::from_millis(50);

/// Forwards to a server and counts the logins that are under way.
struct Gauge {
    address: SocketAddr,
    counts: Arc<Counts>,
    _serving: JoinSet<()>,
}

#[derive(Default)]
struct Counts {
    now: AtomicUsize,
    most: AtomicUsize,
    all: AtomicUsize,
}

/// One login, until the server is ready for its first statement.
struct Login<'a>(&'a Counts);

impl<'a> Login<'a> {
    fn begin(counts: &'a Counts) -> Self {
        counts.all.fetch_add(1, Ordering::Relaxed);
        let now = counts.now.fetch_add(1, Ordering::Relaxed) + 1;
        counts.most.fetch_max(now, Ordering::Relaxed);
        Self(counts)
    }
}

impl Drop for Login<'_> {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Gauge {
    async fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let counts = Arc::<Counts>::default();
        let theirs = counts.clone();
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let counts = theirs.clone();
                connections.spawn(async move {
                    let _ended = forward(client, server, &counts).await;
                });
            }
        });
        Self {
            address,
            counts,
            _serving: serving,
        }
    }
}

async fn forward(client: TcpStream, server: SocketAddr, counts: &Counts) -> std::io::Result<()> {
    let login = Login::begin(counts);
    tokio::time::sleep(HOLD).await;
    let server = TcpStream::connect(server).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut requests, mut to_client) = client.into_split();
    let (mut replies, mut to_server) = server.into_split();
    let answers = async {
        loop {
            // A message: its kind, its length and the rest.
            let mut head = [0; 5];
            replies.read_exact(&mut head).await?;
            let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
            let mut rest = vec![0; length as usize - 4];
            replies.read_exact(&mut rest).await?;
            to_client.write_all(&[&head, &rest[..]].concat()).await?;
            if head[0] == b'Z' {
                drop(login);
                return tokio::io::copy(&mut replies, &mut to_client).await;
            }
        }
    };
    tokio::select! {
        answered = answers => answered.map(drop),
        asked = tokio::io::copy(&mut requests, &mut to_server) => asked.map(drop),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_switch_no_more_than_eight_logins_to_the_new_primary_are_in_flight() {
    let cluster = PostgresCluster::builder().standbys(1).start().await.unwrap();
    cluster.create_database("ledger").await.unwrap();
    let server = |node| SocketAddr::from(([127, 0, 0, 1], cluster.port(node)));
    let (first, second) = (Gauge::before(server(0)).await, Gauge::before(server(1)).await);
    let (user, password) = (cluster.user(), cluster.password());
    let hosts = format!("{},{}", first.address, second.address);
    let url = format!("postgres://{user}:{password}@{hosts}/ledger?sslmode=disable");
    let mut settings = settings(url);
    settings.max = MAX;
    let postgres = connect(settings, &Context::standalone()).await;

    let all = async || {
        let view = postgres.within(LONG).idempotent();
        let asking =
            (0..MAX).map(|_| async { sqlx::query("SELECT pg_sleep(1)").execute(&view).await.map(drop) });
        let asked: Result<Vec<()>, _> = futures_util::future::try_join_all(asking).await;
        asked.unwrap();
    };
    all().await;
    println!("{}", cluster.kill9(0).await.unwrap());
    tokio::join!(all(), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        println!("{}", cluster.promote(1).await.unwrap());
    });
    for (name, gauge) in [("first", &first), ("second", &second)] {
        let (all, most) = (&gauge.counts.all, &gauge.counts.most);
        let (all, most) = (all.load(Ordering::Relaxed), most.load(Ordering::Relaxed));
        println!("{name} primary: {all} logins, {most} at once at most");
        assert!(all >= MAX as usize / 2, "{all} are no burst");
        assert!((2..=MOST).contains(&most), "{most} logins at once");
    }
}
