//! One container per server through testcontainers: the images of the tests start and do their work.
//!
//! Needs a Docker daemon and the images: `scripts/with-docker cargo test …` sees to both. Without them these tests fail.
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

use std::future::Future;
use std::time::{Duration, Instant};

use hafnium_testkit::dev::Image;
use hafnium_testkit::process::{free_ports, wait_until};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{FutureProducer, FutureRecord};
use testcontainers::core::IntoContainerPort;
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, ContainerRequest, GenericImage, ImageExt};

const START: Duration = Duration::from_secs(60);

fn image(server: &str) -> GenericImage {
    let image = Image::of(server).expect("a pinned image");
    GenericImage::new(image.name, image.tag)
}

async fn start(request: ContainerRequest<GenericImage>) -> ContainerAsync<GenericImage> {
    match request.start().await {
        Ok(container) => container,
        Err(error) => panic!("no container, run this through scripts/with-docker: {error}"),
    }
}

async fn ready<F, Fut>(container: &ContainerAsync<GenericImage>, what: &str, probe: F)
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<(), String>>,
{
    if let Err(error) = wait_until(what, START, probe).await {
        let output = container.stdout_to_vec().await.unwrap_or_default();
        panic!("{error}\nits output:\n{}", String::from_utf8_lossy(&output));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_in_a_container_takes_a_write() {
    let request = image("postgres")
        .with_exposed_port(5432.tcp())
        .with_env_var("POSTGRES_PASSWORD", "secret");
    let container = start(request).await;
    let port = container.get_host_port_ipv4(5432).await.unwrap();
    let url = format!("postgres://postgres:secret@127.0.0.1:{port}/postgres");
    ready(&container, "postgres to take a write", || async {
        let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls)
            .await
            .map_err(|error| error.to_string())?;
        let connection = tokio::spawn(connection);
        let write = "create table effects (id int primary key); insert into effects values (7)";
        client
            .batch_execute(write)
            .await
            .map_err(|error| error.to_string())?;
        let rows = client
            .query("select id from effects", &[])
            .await
            .map_err(|error| error.to_string())?;
        assert_eq!(rows[0].get::<_, i32>(0), 7);
        connection.abort();
        Ok(())
    })
    .await;
    container.rm().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_in_a_container_is_silent_while_paused() {
    let container = start(image("redis").with_exposed_port(6379.tcp()).into()).await;
    let port = container.get_host_port_ipv4(6379).await.unwrap();
    let client = redis::Client::open(format!("redis://127.0.0.1:{port}")).unwrap();
    ready(&container, "redis to take a write", || async {
        let mut connection = client
            .get_multiplexed_async_connection()
            .await
            .map_err(|error| error.to_string())?;
        let write = redis::cmd("SET")
            .arg("id")
            .arg(7)
            .exec_async(&mut connection)
            .await;
        write.map_err(|error| error.to_string())
    })
    .await;

    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    container.pause().await.unwrap();
    let paused = Instant::now();
    let silent = redis::cmd("GET")
        .arg("id")
        .query_async::<i32>(&mut connection)
        .await;
    assert!(silent.is_err(), "a paused container answered");
    assert!(
        paused.elapsed() >= Duration::from_millis(400),
        "the answer was an error at once, not silence"
    );
    container.unpause().await.unwrap();
    ready(&container, "redis to answer again", || async {
        let mut connection = client
            .get_multiplexed_async_connection()
            .await
            .map_err(|error| error.to_string())?;
        match redis::cmd("GET")
            .arg("id")
            .query_async::<i32>(&mut connection)
            .await
        {
            Ok(7) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    container.rm().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_in_a_container_delivers_what_it_acknowledged() {
    let port = free_ports(1).unwrap()[0];
    let servers = format!("127.0.0.1:{port}");
    let request = image("kafka")
        .with_mapped_port(port, 9092.tcp())
        .with_env_var("KAFKA_NODE_ID", "1")
        .with_env_var("KAFKA_PROCESS_ROLES", "broker,controller")
        .with_env_var("KAFKA_CONTROLLER_QUORUM_VOTERS", "1@localhost:9093")
        .with_env_var("KAFKA_LISTENERS", "PLAINTEXT://:9092,CONTROLLER://:9093")
        .with_env_var("KAFKA_ADVERTISED_LISTENERS", format!("PLAINTEXT://{servers}"))
        .with_env_var("KAFKA_CONTROLLER_LISTENER_NAMES", "CONTROLLER")
        .with_env_var(
            "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP",
            "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        )
        .with_env_var("KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR", "1");
    let container = start(request).await;
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", &servers)
        .set("log_level", "0")
        .create()
        .unwrap();
    ready(&container, "kafka to acknowledge a record", || async {
        let record = FutureRecord::<str, str>::to("effects").payload("7");
        let acknowledged = producer.send(record, Duration::from_secs(1)).await;
        acknowledged.map(drop).map_err(|(error, _)| error.to_string())
    })
    .await;

    let read = tokio::task::spawn_blocking(move || {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &servers)
            .set("group.id", "containers")
            .set("auto.offset.reset", "earliest")
            .set("log_level", "0")
            .create()
            .unwrap();
        consumer.subscribe(&["effects"]).unwrap();
        let deadline = Instant::now() + START;
        loop {
            match consumer.poll(Duration::from_millis(200)) {
                Some(Ok(record)) => return record.payload().map(<[u8]>::to_vec),
                // Until the group has its coordinator the broker answers with errors that pass.
                Some(Err(_)) | None if Instant::now() < deadline => {}
                other => panic!("no record within {START:?}, last: {other:?}"),
            }
        }
    });
    assert_eq!(read.await.unwrap().as_deref(), Some(b"7".as_slice()));
    container.rm().await.unwrap();
}
