//! All addresses of a name: spread, ejection, return, change.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use hafnium_core::topology::NodeState;
use hafnium_core::upstream::Upstream;
use hafnium_core::{Classify, Context, Outcome};

use crate::server::{Server, nobody, status, text};
use crate::{Names, eventually, is, settings, upstream_by, upstream_of};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_address_gets_its_share_and_a_busy_one_less() {
    let slow = Server::start(|_| async {
        tokio::time::sleep(Duration::from_millis(40)).await;
        text("slow")
    })
    .await;
    let quick = [
        Server::at("127.0.0.2:0".parse().unwrap(), |_| async { text("quick") }).await,
        Server::hello().await,
    ];
    let upstream = upstream_of(&[slow.address, quick[0].address, quick[1].address], &settings());
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let upstream = upstream.clone();
            tokio::spawn(async move {
                for _ in 0..50 {
                    upstream.get("/").await.unwrap();
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
    let hits = [slow.hits(), quick[0].hits(), quick[1].hits()];
    println!(
        "| power of two choices | slow {} | quick {} and {} |",
        hits[0], hits[1], hits[2]
    );
    assert_eq!(hits.iter().sum::<usize>(), 400);
    assert!(
        hits[1] > 60 && hits[2] > 60 && hits[0] * 2 < hits[1].min(hits[2]),
        "{hits:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_fails_is_ejected_and_returns_after_one_good_trial() {
    let broken = Arc::new(AtomicBool::new(true));
    let sick = broken.clone();
    let failing = Server::start(move |_| {
        let sick = sick.load(Ordering::SeqCst);
        async move { if sick { status(500) } else { text("well") } }
    })
    .await;
    let healthy = Server::hello().await;
    let mut settings = settings();
    settings.ejection.time = Duration::from_secs(3).into();
    let cx = Context::standalone();
    let names = Names::of(&[failing.address, healthy.address]);
    let upstream = upstream_by(names, &settings, &cx);
    let mut seen = 0;
    for _ in 0..100 {
        seen += usize::from(upstream.get("/").await.is_err());
    }
    println!("| 500s from one of two addresses | {seen} of 100 calls failed, then it was ejected |");
    // Five in a row, and not one more than a trial each 3 s.
    assert!((5..=6).contains(&seen), "{seen}");
    let before = failing.hits();
    for _ in 0..20 {
        upstream.get("/").await.unwrap();
    }
    assert!(failing.hits() <= before + 1, "it gets nothing but a trial");
    let state = |cx: &Context| {
        let view = cx.topology().report().remove(0).view;
        let address = failing.address.to_string();
        view.nodes
            .into_iter()
            .find(|node| node.address == address)
            .unwrap()
            .state
    };
    assert_eq!(state(&cx), NodeState::Down);
    broken.store(false, Ordering::SeqCst);
    for _ in 0..150 {
        if failing.hits() > before + 5 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        upstream.get("/").await.unwrap();
    }
    assert!(failing.hits() > before + 5, "it is back");
    assert_eq!(state(&cx), NodeState::Up);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn never_more_than_half_are_ejected() {
    let failing: Vec<Server> =
        futures_util::future::join_all((0..4).map(|_| Server::start(|_| async { status(500) }))).await;
    let addresses: Vec<_> = failing.iter().map(|server| server.address).collect();
    let cx = Context::standalone();
    let upstream = upstream_by(Names::of(&addresses), &settings(), &cx);
    for _ in 0..200 {
        let _ = upstream.get("/").await;
    }
    let view = cx.topology().report().remove(0).view;
    let down = view
        .nodes
        .iter()
        .filter(|node| node.state == NodeState::Down)
        .count();
    assert_eq!(down, 2, "{view:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_addresses_is_followed_and_what_runs_on_a_lost_one_ends_as_it_would_have() {
    let old = Server::start(|seen| async move {
        if seen.path == "/slow" {
            tokio::time::sleep(Duration::from_secs(3)).await;
        }
        text("old")
    })
    .await;
    let new = Server::named("new").await;
    let names = Names::of(&[old.address]);
    let upstream = upstream_by(names.clone(), &settings(), &Context::standalone());
    let slow = tokio::spawn(upstream.get("/slow").send());
    eventually("the slow one is there", || old.hits() == 1).await;
    names.set(&[new.address]);
    eventually("the change is seen", || upstream.addresses() == [new.address]).await;
    let before = old.hits();
    for _ in 0..20 {
        assert_eq!(upstream.get("/").await.unwrap().text().unwrap(), "new");
    }
    assert_eq!(old.hits(), before);
    assert_eq!(slow.await.unwrap().unwrap().text().unwrap(), "old");
    // An answer without addresses changes nothing: the last ones are better than none.
    names.set(&[]);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(upstream.addresses(), [new.address]);
    assert!(upstream.get("/").await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_connection_has_the_name_looked_up_at_once() {
    let (gone, server) = (nobody().await, Server::hello().await);
    let names = Names::of(&[gone]);
    let mut settings = settings();
    settings.resolve_interval = Duration::from_secs(3600).into();
    let upstream = upstream_by(names.clone(), &settings, &Context::standalone());
    let result = upstream.get("/").await;
    is(&result, Outcome::NotRun, "upstream.connect");
    names.set(&[server.address]);
    eventually("the lookup", || upstream.addresses() == [server.address]).await;
    assert!(upstream.get("/").await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_without_addresses_is_certainly_not_run_and_says_which_name() {
    let names = Names::default();
    let cx = Context::standalone();
    let upstream = upstream_by(names, &settings(), &cx);
    let result = upstream.get("/").await;
    is(&result, Outcome::NotRun, "upstream.resolve");
    let error = result.unwrap_err();
    assert!(
        error.retryable() && error.to_string().contains("scoring.test"),
        "{error}"
    );
    assert!(cx.topology().report()[0].view.trouble.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lookups_of_the_systems_resolver_and_addresses_in_the_url_both_work() {
    let server = Server::hello().await;
    for host in ["localhost", "127.0.0.1"] {
        let mut settings = settings();
        settings.url = format!("http://{host}:{}", server.address.port());
        let upstream = Upstream::connect("scoring", &settings, &Context::standalone()).unwrap();
        assert_eq!(
            upstream.get("/").await.unwrap().text().unwrap(),
            "hello",
            "{host}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_the_last_handle_ends_the_lookups() {
    struct Counting(Arc<AtomicU32>);
    impl hafnium_core::upstream::Resolve for Counting {
        fn resolve<'a>(
            &'a self,
            _: &'a str,
            _: u16,
        ) -> hafnium_core::BoxFuture<'a, std::io::Result<Vec<std::net::SocketAddr>>> {
            self.0.fetch_add(1, Ordering::SeqCst);
            Box::pin(async { Err(std::io::ErrorKind::NotFound.into()) })
        }
    }
    let lookups = Arc::new(AtomicU32::new(0));
    let held = lookups.clone();
    let upstream =
        Upstream::with_resolver("scoring", &settings(), &Context::standalone(), Counting(held)).unwrap();
    upstream.open();
    eventually("a lookup", || lookups.load(Ordering::SeqCst) > 0).await;
    drop(upstream);
    eventually("the resolver is dropped", || Arc::strong_count(&lookups) == 1).await;
}
