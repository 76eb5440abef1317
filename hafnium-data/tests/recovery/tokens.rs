//! Tokens come from clients, and replicas may fall silent: a read under a token costs its own caller at most.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hafnium_core::Context;
use hafnium_data::postgres::{Detail, Postgres, ReaderFallback, Token, detail};
use tokio::time::Instant;

use super::{LONG, connect, settings, suspected, trio, until};
use crate::recorded::Recorded;

async fn token_of(postgres: &Postgres) -> Token {
    let token = postgres.transaction(async |mut tx| -> Result<_, sqlx::Error> {
        let token = tx.token();
        sqlx::query("INSERT INTO t DEFAULT VALUES")
            .execute(&mut *tx)
            .await?;
        Ok(token)
    });
    token.await.unwrap().get().unwrap()
}

async fn table(postgres: &Postgres) {
    sqlx::query("CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY)")
        .execute(postgres)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn made_up_tokens_stop_nobodys_writes() {
    let (cluster, url) = trio().await;
    let recorded = Recorded::new();
    let postgres = connect(settings(url), &recorded.context()).await;
    table(&postgres).await;
    let token = token_of(&postgres).await.to_string();
    let system = token.split('-').next().unwrap();
    let forged: Token = format!("{system}-ffffffff-0").parse().unwrap();
    let ports = [0, 1, 2].map(|node| cluster.port(node));
    let before = suspected(&recorded, &ports);

    let over = AtomicBool::new(false);
    let reading = async || {
        let mut refused = 0;
        while !over.load(Ordering::Relaxed) {
            let view = postgres.within(Duration::from_millis(3)).reader_after(forged);
            let error = sqlx::query("SELECT 1").execute(&view).await.unwrap_err();
            assert!(matches!(detail(&error), Some(Detail::NoNode { .. })), "{error}");
            refused += 1;
        }
        refused
    };
    let writing = async {
        let begun = Instant::now();
        let (mut writes, mut longest) = (0, Duration::ZERO);
        while begun.elapsed() < Duration::from_secs(4) {
            let one = Instant::now();
            sqlx::query("INSERT INTO t DEFAULT VALUES")
                .execute(&postgres)
                .await
                .unwrap();
            (writes, longest) = (writes + 1, longest.max(one.elapsed()));
        }
        over.store(true, Ordering::Relaxed);
        (writes, longest)
    };
    let (refused, (writes, longest)) =
        tokio::join!(futures_util::future::join_all((0..8).map(|_| reading())), writing);
    let refused: i32 = refused.iter().sum();
    println!("{refused} made-up tokens beside {writes} writes, of which the longest took {longest:?}");
    assert!(refused > 200, "{refused} are no test");
    assert_eq!(suspected(&recorded, &ports), before, "no node is suspected");
    assert!(longest < Duration::from_secs(2), "{longest:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_only_replicas_may_be_read_a_frozen_one_is_left_for_the_other_before_the_deadline() {
    let (cluster, url) = trio().await;
    let mut settings = settings(url);
    settings.reader_fallback = ReaderFallback::None;
    let postgres = connect(settings, &Context::standalone()).await;
    table(&postgres).await;
    let token = token_of(&postgres).await;
    cluster.await_replay().await.unwrap();
    // Each replica has a connection, and no proof on it of what is written next.
    let reader = postgres.reader_after(token);
    for _ in 0..20 {
        sqlx::query("SELECT 1").execute(&reader).await.unwrap();
    }
    println!("{}", cluster.freeze(1).unwrap());
    let token = token_of(&postgres).await;
    let begun = Instant::now();
    let reader = postgres.reader_after(token);
    let reads = (0..6).map(|_| async {
        sqlx::query_scalar::<_, i32>("SELECT inet_server_port()")
            .fetch_one(&reader)
            .await
            .unwrap()
    });
    for port in futures_util::future::join_all(reads).await {
        assert_eq!(port, i32::from(cluster.port(2)));
    }
    let took = begun.elapsed();
    println!("read from the other replica {took:?} after the first one was frozen");
    assert!(took < LONG / 2, "{took:?}");
    until("the loss of the frozen replica", || {
        postgres.nodes()[1].state != "up"
    })
    .await;
    println!("{}", cluster.thaw(1).await.unwrap());
}
