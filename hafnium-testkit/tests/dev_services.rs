//! Dev services: each rung provides what answers in its own protocol, says why, and leaves nothing behind.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]
#![cfg(all(
    feature = "dev-services",
    feature = "postgres",
    feature = "redis",
    feature = "kafka"
))]

use std::time::Duration;

use hafnium_testkit::dev::{DevError, DevServices, Keep, Rung};
use hafnium_testkit::process::wait_until;
use rdkafka::ClientConfig;
use rdkafka::producer::{FutureProducer, FutureRecord};
use testcontainers::core::client::docker_client_instance;

fn services(pins: fn(&str) -> Option<String>) -> DevServices {
    DevServices::new("dev-services-test").unwrap().pins_from(pins)
}

fn docker(_: &str) -> Option<String> {
    Some("docker".into())
}

fn local(_: &str) -> Option<String> {
    Some("local".into())
}

async fn ping(url: &str) -> Result<(), String> {
    let client = redis::Client::open(url).map_err(|error| error.to_string())?;
    let mut connection = client
        .get_multiplexed_async_connection()
        .await
        .map_err(|error| error.to_string())?;
    redis::cmd("PING")
        .exec_async(&mut connection)
        .await
        .map_err(|error| error.to_string())
}

async fn sql(url: &str, statement: &str) -> Result<(), tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await?;
    let connection = tokio::spawn(connection);
    let answer = client.batch_execute(statement).await;
    connection.abort();
    answer
}

async fn produce(servers: &str) -> Result<(), String> {
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", servers)
        .set("message.timeout.ms", "30000")
        .set("log_level", "0")
        .create()
        .map_err(|error| error.to_string())?;
    let record = FutureRecord::<str, str>::to("payments").payload("7");
    producer
        .send(record, Duration::from_secs(5))
        .await
        .map(drop)
        .map_err(|(error, _)| error.to_string())
}

/// Dropping blocks until the servers are gone.
async fn stop(services: DevServices) {
    tokio::task::spawn_blocking(move || drop(services)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn docker_provides_all_three_at_once_and_removes_them() {
    let services = services(docker);
    let (ledger, velocity, events) = tokio::join!(
        services.postgres("ledger"),
        services.redis("velocity"),
        services.kafka("events")
    );
    let (ledger, velocity, events) = (ledger.unwrap(), velocity.unwrap(), events.unwrap());
    assert_eq!(ledger.rung, Rung::Docker);
    sql(&ledger.url, "create table t (id int); insert into t values (1)")
        .await
        .unwrap();
    ping(&velocity.url).await.unwrap();
    produce(&events.url).await.unwrap();

    stop(services).await;
    assert!(
        sql(&ledger.url, "select 1").await.is_err(),
        "postgres outlived its dev services"
    );
    assert!(
        ping(&velocity.url).await.is_err(),
        "redis outlived its dev services"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn installed_servers_provide_all_three_and_stop() {
    let services = services(local);
    let (ledger, velocity, events) = tokio::join!(
        services.postgres("ledger"),
        services.redis("velocity"),
        services.kafka("events")
    );
    let (ledger, velocity, events) = (ledger.unwrap(), velocity.unwrap(), events.unwrap());
    assert_eq!(
        (ledger.rung, velocity.rung, events.rung),
        (Rung::Local, Rung::Local, Rung::Local)
    );
    sql(&ledger.url, "create table t (id int); insert into t values (1)")
        .await
        .unwrap();
    ping(&velocity.url).await.unwrap();
    produce(&events.url).await.unwrap();

    drop(services);
    assert!(
        sql(&ledger.url, "select 1").await.is_err(),
        "postgres outlived its dev services"
    );
    assert!(
        ping(&velocity.url).await.is_err(),
        "redis outlived its dev services"
    );
}

/// The last rung, which needs nothing at all. On a runtime of one thread, as some tests and tools have.
#[tokio::test]
async fn the_mock_takes_records() {
    let services = services(|_| Some("mock".into()));
    let events = services.kafka("events").await.unwrap();
    assert_eq!(events.rung, Rung::Mock);
    produce(&events.url).await.unwrap();
}

#[tokio::test]
async fn a_named_server_is_taken_as_it_is_and_off_is_off() {
    let services = services(|variable| match variable {
        "HAFNIUM_DEV_LEDGER" => Some("postgres://app:secret@db.example/ledger".into()),
        _ => Some("off".into()),
    });
    let ledger = services.postgres("ledger").await.unwrap();
    assert_eq!(
        (ledger.url.as_str(), ledger.rung),
        ("postgres://app:secret@db.example/ledger", Rung::Url)
    );
    assert!(!format!("{ledger:?}").contains("secret"));
    let off = services.redis("velocity").await.unwrap_err();
    assert!(matches!(off, DevError::Off { .. }), "{off}");
    assert_eq!(
        off.to_string(),
        "\"velocity\" is not configured, and HAFNIUM_DEV_VELOCITY=off"
    );
}

#[tokio::test]
async fn a_misspelled_rung_is_an_error_that_names_the_right_ones() {
    let error = services(|_| Some("dokcer".into()))
        .kafka("events")
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "HAFNIUM_DEV_EVENTS=\"dokcer\" is not one of docker, local, mock, off, or an address"
    );
}

/// The run that kept it is over; another one finds it, with its data.
#[tokio::test(flavor = "multi_thread")]
async fn a_kept_container_is_found_by_the_next_run() {
    let run = || {
        DevServices::new("kept-by-test")
            .unwrap()
            .pins_from(docker)
            .keep(Keep::ForNextRun)
    };
    let first = run();
    let before = first.redis("velocity").await.unwrap();
    stop(first).await;
    ping(&before.url).await.expect("a kept container was stopped");

    let second = run();
    let after = second.redis("velocity").await.unwrap();
    assert_eq!(before.url, after.url);
    stop(second).await;

    remove("hafnium-dev-kept-by-test-velocity").await;
}

/// What a killed run leaves is in its lock file; here written by hand, since this process must live on.
#[tokio::test(flavor = "multi_thread")]
async fn the_containers_of_a_killed_run_are_removed_by_the_next() {
    let kept = DevServices::new("killed-by-test")
        .unwrap()
        .pins_from(docker)
        .keep(Keep::ForNextRun);
    let left_behind = kept.redis("velocity").await.unwrap();
    let home = std::env::var("XDG_STATE_HOME")
        .map(std::path::PathBuf::from)
        .unwrap_or_else(|_| {
            std::path::Path::new(&std::env::var("HOME").expect("a home directory")).join(".local/state")
        });
    let locks = home.join("hafnium/dev");
    std::fs::create_dir_all(&locks).unwrap();
    let lock = locks.join("killed-by-test-1-00000000.json");
    let container = "hafnium-dev-killed-by-test-velocity";
    let content = format!(r#"{{"pid":1,"started":0,"boot":"an earlier one","containers":["{container}"]}}"#);
    std::fs::write(&lock, content).unwrap();

    let next = services(docker);
    next.redis("velocity").await.unwrap();
    assert!(!lock.exists(), "the lock file of the killed run is still there");
    let gone = wait_until("the container to be gone", Duration::from_secs(5), || async {
        match ping(&left_behind.url).await {
            Ok(()) => Err("it answers".into()),
            Err(_) => Ok(()),
        }
    });
    gone.await.unwrap();
    stop(next).await;
}

async fn remove(container: &str) {
    use testcontainers::bollard::query_parameters::RemoveContainerOptionsBuilder;
    let options = RemoveContainerOptionsBuilder::new().force(true).build();
    let client = docker_client_instance().await.unwrap();
    client.remove_container(container, Some(options)).await.unwrap();
}
