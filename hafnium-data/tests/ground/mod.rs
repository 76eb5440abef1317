//! A pool whose every future is dropped at each of its polls, and what must hold of it afterwards.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::pin::pin;
use std::sync::atomic::{AtomicI32, Ordering};
use std::task::Poll;
use std::time::Duration;

use hafnium_core::Context;
use hafnium_core::secret::Secret;
use hafnium_data::postgres::{Postgres, PostgresSettings, Tx};
use hafnium_testkit::Proxy;
use hafnium_testkit::postgres::{PostgresCluster, Session};
use sqlx::Executor;
use tokio::sync::{Barrier, OnceCell};
use tokio::time::Instant;

static CLUSTER: OnceCell<PostgresCluster> = OnceCell::const_new();

/// Connections of each pool.
const SIZE: usize = 2;
/// More polls than any of the futures here takes.
const MOST: usize = 5000;
/// Completions in a row, each with one poll more, after which there is nothing left to drop.
const ENOUGH: usize = 4;

pub(crate) struct Ground {
    proxy: Proxy,
    pub(crate) postgres: Postgres,
    /// Past the client under test.
    session: Session,
    pub(crate) next: AtomicI32,
    /// Bytes of a reply that arrive at once.
    piece: NonZeroUsize,
    /// From one poll that is the last to the next.
    pub(crate) stride: usize,
}

/// Polls `future` at most `most` times, then drops it.
async fn until_poll<T>(most: usize, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    let mut polls = 0;
    poll_fn(|cx| {
        polls += 1;
        match future.as_mut().poll(cx) {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            Poll::Pending if polls >= most => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

impl Ground {
    pub(crate) async fn new(database: &str) -> Self {
        Self::with(database, |_| {}).await
    }

    pub(crate) async fn with(database: &str, change: impl FnOnce(&mut PostgresSettings)) -> Self {
        let cluster = CLUSTER
            .get_or_init(|| async { PostgresCluster::single().await.expect("a server starts") })
            .await;
        let url = cluster.create_database(database).await.unwrap();
        let server = SocketAddr::from(([127, 0, 0, 1], cluster.port(0)));
        let proxy = Proxy::start(server).unwrap();
        let url = url.replace(&server.to_string(), &proxy.address().to_string());
        let mut settings = PostgresSettings::new(Secret::new(url));
        (settings.max, settings.warm) = (SIZE as u32, 0);
        settings.timeout = Duration::from_secs(30).into();
        change(&mut settings);
        let postgres = Postgres::connect(settings, &Context::standalone()).await.unwrap();
        let tables = "CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE pairs (id int PRIMARY KEY)";
        postgres.execute(sqlx::raw_sql(tables)).await.unwrap();
        let session = cluster.connect(0, database).await.unwrap();
        Self {
            proxy,
            postgres,
            session,
            next: AtomicI32::new(0),
            piece: NonZeroUsize::new(4).unwrap(),
            stride: 1,
        }
    }

    /// Drops what `operation` returns at each poll until it completes. It is given a number of its own each time, and
    /// what it acknowledges is in the tables afterwards if `writes`.
    pub(crate) async fn exhaust(
        &self,
        name: &str,
        writes: bool,
        operation: impl AsyncFn(&Postgres, i32) -> Result<(), sqlx::Error>,
    ) {
        let begun = Instant::now();
        self.whole().await;
        let (mut dropped, mut completed) = (0, 0);
        for most in (1 + fastrand::usize(0..self.stride)..MOST).step_by(self.stride) {
            let id = self.next.fetch_add(1, Ordering::Relaxed);
            self.proxy.pieces(self.piece);
            let ended = until_poll(most, operation(&self.postgres, id)).await;
            self.proxy.heal();
            self.whole().await;
            let Some(result) = ended else {
                (dropped, completed) = (dropped + 1, 0);
                continue;
            };
            result.unwrap();
            assert!(
                !writes || self.has("t", id).await,
                "{name}: {id} was acknowledged and is lost"
            );
            // How often it is polled differs from run to run: one that completes early is no end.
            completed += 1;
            if completed == ENOUGH {
                assert!(dropped > 0, "{name}: there is nothing to drop");
                println!(
                    "{name}: dropped {dropped} times, the last at poll {}, in {:?}",
                    most - ENOUGH * self.stride,
                    begun.elapsed()
                );
                return;
            }
        }
        panic!("{name}: no end after {MOST} polls");
    }

    /// As many connections at once as the pool may hold, and each answers what it is asked.
    pub(crate) async fn whole(&self) {
        let all = Barrier::new(SIZE);
        let asking = (0..SIZE).map(|_| {
            let all = &all;
            self.postgres.transaction(move |mut tx: Tx| async move {
                all.wait().await;
                for _ in 0..2 {
                    let nonce = nonce_of_its_own();
                    let answer: i64 = sqlx::query_scalar("SELECT $1::bigint")
                        .bind(nonce)
                        .fetch_one(&mut *tx)
                        .await?;
                    assert_eq!(answer, nonce, "an answer to another question");
                }
                Ok::<_, sqlx::Error>(())
            })
        });
        let asked = futures_util::future::join_all(asking);
        let answers = tokio::time::timeout(Duration::from_secs(20), asked).await;
        for answer in answers.unwrap_or_else(|_| panic!("a permit is missing: {:?}", self.postgres.nodes())) {
            answer.unwrap();
        }
        // A dedicated connection is cleaned behind the caller's back.
        let end = Instant::now() + Duration::from_secs(5);
        loop {
            let node = &self.postgres.nodes()[0];
            if (node.in_use, node.waiting) == (0, 0) {
                assert_eq!(node.max, SIZE);
                return;
            }
            assert!(Instant::now() < end, "{node:?}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    pub(crate) async fn has(&self, table: &str, id: i32) -> bool {
        let count = format!("SELECT count(*) FROM {table} WHERE id = $1");
        self.session
            .query_one(&count, &[&id])
            .await
            .unwrap()
            .get::<_, i64>(0)
            == 1
    }

    /// No transaction took effect by half.
    pub(crate) async fn no_halves(&self) {
        let halves =
            "SELECT count(*) FROM t FULL JOIN pairs USING (id) WHERE t.id IS NULL OR pairs.id IS NULL";
        // What was dropped last may be on its way still.
        tokio::time::sleep(Duration::from_millis(100)).await;
        let halves: i64 = self.session.query_one(halves, &[]).await.unwrap().get(0);
        assert_eq!(halves, 0);
    }
}

fn nonce_of_its_own() -> i64 {
    static NEXT: std::sync::atomic::AtomicI64 = std::sync::atomic::AtomicI64::new(1 << 40);
    NEXT.fetch_add(7, Ordering::Relaxed)
}
