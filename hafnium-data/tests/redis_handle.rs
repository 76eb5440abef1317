//! The Redis handle on one real server, reached directly or through a network that goes silent or loses replies.

#![cfg(feature = "redis")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may end where it stands, its helpers too"
)]

use std::net::SocketAddr;
use std::time::Duration;

use hafnium_core::config::Duration as Limit;
use hafnium_core::{Classify, Component, Context, Deadline, Outcome, StartError, Stopped};
use hafnium_data::redis::{Redis, RedisSettings, classify};
use hafnium_testkit::Proxy;
use hafnium_testkit::redis::RedisServer;
use redis::{AsyncCommands, RedisError};
use tokio::time::Instant;

async fn direct() -> (RedisServer, Redis) {
    let server = RedisServer::start().await.unwrap();
    let redis = Redis::connect(RedisSettings::new(server.url()), &Context::standalone())
        .await
        .unwrap();
    (server, redis)
}

async fn behind_proxy(timeout: Duration) -> (RedisServer, Proxy, Redis) {
    let server = RedisServer::start().await.unwrap();
    let address: SocketAddr = server.address().parse().unwrap();
    let proxy = Proxy::start(address).unwrap();
    let url = server
        .url()
        .replace(&server.address(), &proxy.address().to_string());
    let mut settings = RedisSettings::new(url);
    settings.timeout = Limit::from_millis(timeout.as_millis() as u64);
    let redis = Redis::connect(settings, &Context::standalone()).await.unwrap();
    (server, proxy, redis)
}

#[tokio::test]
async fn commands_of_redis_rs_and_pipelines_work_unchanged() {
    let (server, mut redis) = direct().await;
    let () = redis.set("k", "v").await.unwrap();
    assert_eq!(redis.get::<_, String>("k").await.unwrap(), "v");
    let both: (u64, Option<String>) = redis::pipe()
        .atomic()
        .incr("n", 2)
        .get("k")
        .query_async(&mut redis)
        .await
        .unwrap();
    assert_eq!(both, (2, Some("v".into())));
    assert_eq!(redis.primary(), Some(server.address()));
}

#[tokio::test]
async fn a_refused_command_in_a_pipeline_leaves_the_others_and_passes_through() {
    let (_server, mut redis) = direct().await;
    let () = redis.set("text", "x").await.unwrap();
    let error = redis::pipe()
        .incr("before", 1)
        .incr("text", 1)
        .incr("after", 1)
        .query_async::<Vec<redis::Value>>(&mut redis)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("not an integer"), "{error}");
    let counts: (u64, u64) = redis.mget(&["before", "after"]).await.unwrap();
    assert_eq!(counts, (1, 1), "each ran once");
    let error = redis.incr::<_, _, u64>("text", 1).await.unwrap_err();
    assert_eq!(classify(&error).outcome(), Outcome::NotRun);
    assert!(!classify(&error).retryable());
}

#[tokio::test]
async fn the_deadline_of_the_request_wins_over_the_timeout_of_the_store() {
    let (_server, proxy, redis) = behind_proxy(Duration::from_secs(5)).await;
    proxy.black_hole();
    let begun = Instant::now();
    let limit = Duration::from_millis(150);
    let error = Deadline::after(limit)
        .scope(async { redis.clone().incr::<_, _, u64>("n", 1).await })
        .await
        .unwrap_err();
    let waited = begun.elapsed();
    assert!(
        waited >= limit && waited < limit + Duration::from_millis(50),
        "{waited:?}"
    );
    assert_eq!(classify(&error).outcome(), Outcome::Unknown);
    assert_eq!(classify(&error).code(), "redis.no_reply");
}

#[tokio::test]
async fn an_increment_without_a_reply_is_unknown_and_never_repeated() {
    let (_server, proxy, mut redis) = behind_proxy(Duration::from_secs(5)).await;
    proxy.swallow_reply_to("INCR");
    let error = redis.incr::<_, _, u64>("n", 1).await.unwrap_err();
    assert_eq!(classify(&error).outcome(), Outcome::Unknown, "{error}");
    assert!(!classify(&error).retryable());
    assert_eq!(
        redis.get::<_, u64>("n").await.unwrap(),
        1,
        "it did take effect, once"
    );
}

#[tokio::test]
async fn a_read_without_a_reply_is_repeated_within_its_time() {
    let (_server, proxy, mut redis) = behind_proxy(Duration::from_secs(5)).await;
    let () = redis.set("needle", 7).await.unwrap();
    proxy.swallow_reply_to("needle");
    assert_eq!(redis.get::<_, u64>("needle").await.unwrap(), 7);
    assert_eq!(proxy.counters().resets, 1, "the reply was lost indeed");
}

#[tokio::test]
async fn a_black_holed_flow_is_given_up_and_replaced_once_a_new_one_passes() {
    let (_server, proxy, mut redis) = behind_proxy(Duration::from_millis(300)).await;
    let () = redis.set("k", 1).await.unwrap();
    proxy.black_hole();
    let died = Instant::now();
    while redis.primary().is_some() {
        assert!(died.elapsed() < Duration::from_secs(3));
        let _unknown: Result<u64, RedisError> = redis.incr("n", 1).await;
    }
    println!("| given up after the flow died | {:?} |", died.elapsed());
    let error = redis.incr::<_, _, u64>("n", 1).await.unwrap_err();
    assert_eq!(
        classify(&error).outcome(),
        Outcome::NotRun,
        "nothing is sent to a silent node: {error}"
    );

    proxy.heal();
    let healed = Instant::now();
    while redis.get::<_, u64>("k").await.is_err() {
        assert!(healed.elapsed() < Duration::from_secs(3));
    }
    println!("| first reply after the path healed | {:?} |", healed.elapsed());
    assert!(
        healed.elapsed() < Duration::from_secs(2),
        "{:?}",
        healed.elapsed()
    );
}

#[tokio::test]
async fn a_pause_of_the_node_cuts_nothing() {
    let (server, mut redis) = direct().await;
    let frozen = server.freeze().await.unwrap();
    let mut waiting = redis.clone();
    let command = tokio::spawn(async move { waiting.incr::<_, _, u64>("n", 1).await });
    tokio::time::sleep(Duration::from_millis(650)).await;
    server.thaw().await.unwrap();
    println!("{frozen}");
    assert_eq!(command.await.unwrap().unwrap(), 1);
    assert_eq!(redis.incr::<_, _, u64>("n", 1).await.unwrap(), 2);
}

#[tokio::test]
async fn a_dropped_command_harms_no_other() {
    let (_server, redis) = direct().await;
    for n in 0..200_u64 {
        let mut one = redis.clone();
        let _dropped =
            tokio::time::timeout(Duration::from_micros(n), one.incr::<_, _, u64>("dropped", 1)).await;
        let mut two = redis.clone();
        assert_eq!(two.incr::<_, _, u64>("kept", 1).await.unwrap(), n + 1);
    }
}

#[tokio::test]
async fn a_wrong_password_is_a_configuration_error_at_once_and_never_shown() {
    let server = RedisServer::start().await.unwrap();
    let url = format!("redis://:canary@{}/0", server.address());
    let begun = Instant::now();
    let Err(error) = Redis::connect(RedisSettings::new(url), &Context::standalone()).await else {
        panic!("a wrong password was accepted");
    };
    assert!(matches!(error, StartError::Configuration { .. }), "{error}");
    assert!(error.to_string().contains("WRONGPASS"), "{error}");
    assert!(!format!("{error} {error:?}").contains("canary"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_stopped_store_refuses_at_once_and_starting_twice_is_fine() {
    let (_server, mut redis) = direct().await;
    let cx = Context::standalone();
    redis.start(&cx).await.unwrap();
    let () = redis.set("k", 1).await.unwrap();
    let stopped = redis.stop(Deadline::after(Duration::from_secs(1))).await;
    assert_eq!(stopped, Stopped::Clean);
    let begun = Instant::now();
    let error = redis.get::<_, u64>("k").await.unwrap_err();
    assert_eq!(classify(&error).code(), "redis.stopped");
    assert!(begun.elapsed() < Duration::from_millis(50));
    assert!(redis.start(&cx).await.is_err());

    let url = "redis://127.0.0.1:1";
    let mut never_started = Redis::new("idle", RedisSettings::new(url), &cx).unwrap();
    let stopped = never_started.stop(Deadline::after(Duration::from_secs(1))).await;
    assert_eq!(stopped, Stopped::Clean);
    let error = never_started.get::<_, u64>("k").await.unwrap_err();
    assert_eq!(classify(&error).code(), "redis.stopped");
}

#[tokio::test]
async fn the_last_handle_takes_the_connection_and_the_health_check_with_it() {
    let server = RedisServer::start().await.unwrap();
    let cx = Context::standalone();
    cx.health().run(cx.tasks(), cx.metrics());
    let redis = Redis::connect(RedisSettings::new(server.url()), &cx)
        .await
        .unwrap();
    assert_eq!(cx.health().report().checks[0].name, "redis.default");
    let mut other = server.connect().await.unwrap();
    let mut clients = async || {
        let list: String = redis::cmd("CLIENT")
            .arg("LIST")
            .query_async(&mut other)
            .await
            .unwrap();
        list.lines().count()
    };
    assert_eq!(clients().await, 2);
    drop(redis);
    assert!(cx.health().report().checks.is_empty());
    let begun = Instant::now();
    while clients().await > 1 {
        assert!(begun.elapsed() < Duration::from_secs(1));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
