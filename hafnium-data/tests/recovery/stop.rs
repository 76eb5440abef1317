//! A stop leaves nobody behind.

use std::time::Duration;

use hafnium_core::{Classify, Component, Context, Deadline, Outcome, Stopped};
use hafnium_data::postgres::{Detail, classify, detail};
use tokio::time::Instant;

use super::{LONG, connect, settings, trio, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_a_primary_is_told_when_the_client_stops() {
    let (cluster, url) = trio().await;
    let postgres = connect(settings(url), &Context::standalone()).await;
    let token = postgres.transaction(async |tx| -> Result<_, sqlx::Error> { Ok(tx.token()) });
    let token = token.await.unwrap().get().unwrap();
    for node in [1, 2, 0] {
        println!("{}", cluster.kill9(node).await.unwrap());
    }
    until("the loss of all nodes", || {
        postgres.nodes().iter().all(|node| node.state == "down")
    })
    .await;
    let views = [
        postgres.within(LONG),
        postgres.reader(),
        postgres.reader_after(token),
    ];
    let waiting: Vec<_> = views
        .into_iter()
        .map(|view| tokio::spawn(async move { sqlx::query("SELECT 1").execute(&view).await.map(drop) }))
        .collect();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(waiting.iter().all(|waiting| !waiting.is_finished()));

    let begun = Instant::now();
    let stopped = postgres.stop(Deadline::after(Duration::from_secs(10))).await;
    assert_eq!(stopped, Stopped::Clean);
    for waiting in waiting {
        let error = waiting.await.unwrap().unwrap_err();
        assert!(matches!(detail(&error), Some(Detail::Closed)), "{error}");
        assert_eq!(classify(&error).outcome(), Outcome::NotRun);
    }
    assert!(begun.elapsed() < LONG / 2, "{:?}", begun.elapsed());
}
