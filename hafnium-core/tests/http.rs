//! The application listener, seen by real clients over loopback.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "test code")]

mod http_client;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use axum::Router;
use axum::extract::Path;
use axum::routing::{get, post};
use hafnium_core::config::ByteSize;
use hafnium_core::http::{HttpSettings, RequestId, Server, envelope};
use hafnium_core::problem::{Json, Problem};
use hafnium_core::{Context, Deadline, StartError};
use http::{Request, StatusCode};
use http_body_util::Full;
use http_client::{http1, http2, post as send_body};
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

#[derive(Deserialize)]
struct Payment {
    account: String,
    amount: u32,
}

async fn accept(Json(payment): Json<Payment>) -> String {
    format!("{} from {}", payment.amount, payment.account)
}

async fn panics() -> &'static str {
    panic!("as the test asks")
}

fn routes() -> Router {
    Router::new()
        .route("/", get(|| async { "hello" }))
        .route("/payments", post(accept))
        .route("/raw", post(|body: String| async move { body.len().to_string() }))
        .route("/panic", get(panics))
        .route(
            "/slow/{id}",
            get(|Path(millis): Path<u64>| async move {
                sleep(Duration::from_millis(millis)).await;
                "done"
            }),
        )
        .route(
            "/deadline",
            get(|| async {
                Deadline::current()
                    .map_or(0, |deadline| deadline.remaining().as_millis())
                    .to_string()
            }),
        )
        .route(
            "/id",
            get(|axum::Extension(id): axum::Extension<RequestId>| async move { id.as_str().to_owned() }),
        )
        .route("/bare", get(|| async { StatusCode::CONFLICT }))
        .route(
            "/own",
            get(|| async { Problem::not_found("no such score").code("score") }),
        )
}

fn settings() -> HttpSettings {
    let mut settings = HttpSettings::default();
    settings.address = Ipv4Addr::LOCALHOST.into();
    settings.port = 0;
    settings
}

fn serve(settings: &HttpSettings) -> (Server, SocketAddr) {
    let cx = Context::standalone();
    let router = envelope(routes(), settings, &cx);
    let server = settings.serve(settings.bind().unwrap(), router, &cx).unwrap();
    let address = server.local_addr();
    (server, address)
}

async fn ask(address: SocketAddr, path: &str) -> http_client::Answer {
    http_client::get(&http1(), address, path).await.unwrap()
}

#[tokio::test]
async fn http1_and_h2c_are_served_on_one_port() {
    let (_server, address) = serve(&settings());
    for client in [http1(), http2()] {
        let answer = http_client::get(&client, address, "/").await.unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (StatusCode::OK, "hello"));
    }
}

#[tokio::test]
async fn an_oversized_body_is_413_announced_or_not_and_harms_nothing_else() {
    let mut settings = settings();
    settings.body_limit = ByteSize::from_bytes(1000);
    let (_server, address) = serve(&settings);
    let client = http1();
    let large = format!("{{\"account\":\"{}\",\"amount\":1}}", "x".repeat(3_000_000));
    let refused = send_body(&client, address, "/payments", "application/json", large.clone())
        .await
        .problem(413);
    assert_eq!(refused["code"], "body_too_large");
    assert_eq!(refused["detail"], "the body is larger than 1000B");

    // Chunked, it can only be found out while it is read.
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = "POST /payments HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
                transfer-encoding: chunked\r\nconnection: close\r\n\r\n";
    let body = format!("{:x}\r\n{}\r\n0\r\n\r\n", 2000, &large[..2000]);
    stream
        .write_all(format!("{head}{body}").as_bytes())
        .await
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 413") && answer.contains("application/problem+json"),
        "{answer}"
    );

    let exact = send_body(&client, address, "/raw", "text/plain", "y".repeat(1000)).await;
    assert_eq!((exact.status, exact.body.as_str()), (StatusCode::OK, "1000"));
}

#[tokio::test]
async fn a_client_that_writes_all_before_it_reads_gets_the_413_and_no_reset() {
    let (_server, address) = serve(&settings());
    let mut stream = TcpStream::connect(address).await.unwrap();
    let length = 12 << 20;
    let head = format!("POST /raw HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    for _ in 0..12 {
        stream.write_all(&vec![b'y'; 1 << 20]).await.unwrap();
        sleep(Duration::from_millis(10)).await;
    }
    let mut buffer = [0; 1024];
    let read = stream.read(&mut buffer).await.unwrap();
    assert!(buffer[..read].starts_with(b"HTTP/1.1 413"));
}

#[tokio::test]
async fn a_limit_above_axums_own_default_holds() {
    let mut settings = settings();
    settings.body_limit = ByteSize::from_mebibytes(4);
    let (_server, address) = serve(&settings);
    let answer = send_body(&http1(), address, "/raw", "text/plain", "y".repeat(3 << 20)).await;
    assert_eq!(answer.body, (3 << 20).to_string());
}

#[tokio::test]
async fn a_body_of_another_type_or_shape_is_refused_and_its_values_are_not_repeated() {
    let (_server, address) = serve(&settings());
    let client = http1();
    let json = "application/json";
    let good = send_body(
        &client,
        address,
        "/payments",
        "application/json; charset=utf-8",
        r#"{"account":"a","amount":5}"#,
    );
    assert_eq!(good.await.body, "5 from a");
    let typed = send_body(&client, address, "/payments", "text/plain", "{}")
        .await
        .problem(415);
    assert_eq!(typed["code"], "unsupported_media_type");
    let broken = send_body(&client, address, "/payments", json, r#"{"account": "a", "#)
        .await
        .problem(400);
    assert_eq!(broken["code"], "malformed_body");
    let missing = send_body(&client, address, "/payments", json, r#"{"account":"a"}"#)
        .await
        .problem(422);
    assert_eq!(missing["detail"], "missing field `amount` at line 1 column 15");
    let shaped = send_body(
        &client,
        address,
        "/payments",
        json,
        r#"{"account":"a","amount":"4111-1111"}"#,
    )
    .await;
    assert!(!shaped.body.contains("4111"), "{shaped:?}");
    assert_eq!(
        shaped.problem(422)["detail"],
        "a value is not of the expected shape at line 1 column 35"
    );
}

#[tokio::test]
async fn errors_without_a_body_are_problems_and_others_are_left_as_they_are() {
    let (_server, address) = serve(&settings());
    assert_eq!(ask(address, "/nowhere").await.problem(404)["title"], "Not Found");
    let method = ask(address, "/payments").await;
    assert_eq!(method.header("allow"), "POST");
    method.problem(405);
    ask(address, "/bare").await.problem(409);
    let own = ask(address, "/own").await.problem(404);
    assert_eq!(
        (own["detail"].as_str(), own["code"].as_str()),
        (Some("no such score"), Some("score"))
    );
}

#[tokio::test]
async fn a_panic_is_a_500_on_a_connection_that_goes_on_working() {
    let (_server, address) = serve(&settings());
    let client = http1();
    let panicked = http_client::get(&client, address, "/panic").await.unwrap();
    assert_eq!(panicked.problem(500)["code"], "panic");
    assert_eq!(
        http_client::get(&client, address, "/").await.unwrap().status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn a_handler_past_its_deadline_is_a_504_and_knows_its_deadline() {
    let mut settings = settings();
    settings.request_timeout = hafnium_core::config::Duration::from_millis(300);
    let (server, address) = serve(&settings);
    let begun = Instant::now();
    assert_eq!(
        ask(address, "/slow/5000").await.problem(504)["code"],
        "deadline_exceeded"
    );
    assert!(
        (300..800).contains(&begun.elapsed().as_millis()),
        "{:?}",
        begun.elapsed()
    );
    assert!(server.requests().is_empty());
    let left: u64 = ask(address, "/deadline").await.body.parse().unwrap();
    assert!((1..=300).contains(&left), "{left}");
}

#[tokio::test]
async fn every_answer_carries_the_requests_id() {
    let (_server, address) = serve(&settings());
    let made = ask(address, "/id").await;
    assert_eq!(made.header("x-request-id"), made.body);
    assert_eq!(made.body.len(), 32);
    let request = Request::builder()
        .uri(format!("http://{address}/id"))
        .header("x-request-id", "order-17")
        .body(Full::default())
        .unwrap();
    let given = http_client::send(&http1(), request).await.unwrap();
    assert_eq!(
        (given.header("x-request-id"), given.body.as_str()),
        ("order-17", "order-17")
    );
    assert_eq!(ask(address, "/nowhere").await.header("x-request-id").len(), 32);
}

/// How long it takes until the server closes `stream`.
async fn closed(stream: &mut TcpStream) -> Duration {
    let begun = Instant::now();
    let mut rest = Vec::new();
    let _ = timeout(Duration::from_secs(10), stream.read_to_end(&mut rest))
        .await
        .expect("never closed");
    begun.elapsed()
}

#[tokio::test]
async fn a_slow_or_silent_head_is_cut_after_the_header_timeout_while_others_are_served() {
    let mut settings = settings();
    settings.header_timeout = hafnium_core::config::Duration::from_millis(400);
    let (_server, address) = serve(&settings);
    let mut silent = TcpStream::connect(address).await.unwrap();
    let (mut reading, mut writing) = TcpStream::connect(address).await.unwrap().into_split();
    let dripping = tokio::spawn(async move {
        for byte in b"GET / HTTP/1.1\r\nhost: x\r\nx-long: "
            .iter()
            .chain(std::iter::repeat(&b'a'))
        {
            if writing.write_all(&[*byte]).await.is_err() {
                break;
            }
            sleep(Duration::from_millis(20)).await;
        }
    });
    let begun = Instant::now();
    let dripped = async {
        let mut rest = Vec::new();
        let _ = timeout(Duration::from_secs(10), reading.read_to_end(&mut rest))
            .await
            .expect("never closed");
        begun.elapsed()
    };
    let (silent, dripped, served) = tokio::join!(closed(&mut silent), dripped, ask(address, "/"));
    for cut in [silent, dripped] {
        assert!((380..1200).contains(&cut.as_millis()), "{cut:?}");
    }
    assert_eq!(served.body, "hello");
    dripping.await.unwrap();
}

#[tokio::test]
async fn a_kept_connection_outlives_the_header_timeout_and_ends_at_the_idle_timeout() {
    let mut settings = settings();
    settings.header_timeout = hafnium_core::config::Duration::from_millis(200);
    settings.idle_timeout = hafnium_core::config::Duration::from_millis(900);
    let (_server, address) = serve(&settings);
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";
    let mut buffer = [0; 1024];
    for _ in 0..2 {
        stream.write_all(request).await.unwrap();
        let read = stream.read(&mut buffer).await.unwrap();
        assert!(buffer[..read].starts_with(b"HTTP/1.1 200"));
        sleep(Duration::from_millis(500)).await;
    }
    let left = closed(&mut stream).await;
    assert!((250..1000).contains(&left.as_millis()), "{left:?}");
}

#[tokio::test]
async fn more_connections_than_the_cap_wait_and_are_served_when_there_is_room() {
    let mut settings = settings();
    settings.max_connections = 1;
    let (_server, address) = serve(&settings);
    let holder = TcpStream::connect(address).await.unwrap();
    sleep(Duration::from_millis(100)).await;
    let waiting = tokio::spawn(async move { ask(address, "/").await.status });
    sleep(Duration::from_millis(300)).await;
    assert!(!waiting.is_finished());
    drop(holder);
    let served = timeout(Duration::from_secs(5), waiting)
        .await
        .expect("served once there is room");
    assert_eq!(served.unwrap(), StatusCode::OK);
}

#[tokio::test]
async fn a_port_in_use_is_a_configuration_error_that_names_key_and_address() {
    let (_server, address) = serve(&settings());
    let mut taken = settings();
    taken.port = address.port();
    let error = taken.bind().unwrap_err();
    assert!(matches!(error, StartError::Configuration { .. }));
    let text = error.to_string();
    assert!(
        text.contains("http.port") && text.contains(&address.to_string()),
        "{text}"
    );
    assert!(text.contains("in use"), "{text}");
    assert_eq!(
        ask(address, "/").await.body,
        "hello",
        "who had it first is not affected"
    );

    let mut foreign = settings();
    foreign.address = "192.0.2.1".parse().unwrap();
    let text = foreign.bind().unwrap_err().to_string();
    assert!(
        text.contains("http.address: 192.0.2.1 is not an address of this machine"),
        "{text}"
    );
}

#[tokio::test]
async fn a_claimed_port_refuses_connections_until_it_is_served() {
    let settings = settings();
    let bound = settings.bind().unwrap();
    let address = bound.local_addr();
    assert_ne!(address.port(), 0);
    let refused = TcpStream::connect(address).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    let _server = settings.serve(bound, routes(), &Context::standalone()).unwrap();
    assert_eq!(ask(address, "/").await.body, "hello");
}

#[tokio::test]
async fn requests_under_way_are_named_by_route_and_age_never_by_path() {
    let (server, address) = serve(&settings());
    let request = tokio::spawn(async move { ask(address, "/slow/700").await });
    sleep(Duration::from_millis(300)).await;
    let named = server.requests();
    assert_eq!(named.len(), 1, "{named:?}");
    assert!(
        named[0].starts_with("GET /slow/{id} for 0.") && named[0].ends_with('s'),
        "{named:?}"
    );
    assert_eq!(request.await.unwrap().body, "done");
    sleep(Duration::from_millis(50)).await;
    assert!(server.requests().is_empty());
}

#[test]
#[ignore = "not a test of its own: what the process does that has few file descriptors"]
fn starved_child() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (_server, address) = serve(&settings());
        sleep(Duration::from_millis(200)).await;
        // On one thread and without an await: the server can't accept before all descriptors are gone.
        let mut held = Vec::new();
        let error = loop {
            match std::net::TcpStream::connect(address) {
                Ok(stream) => held.push(stream),
                Err(error) => break error,
            }
        };
        assert_eq!(error.raw_os_error(), Some(24), "EMFILE: {error}");
        assert!(held.len() > 3);
        sleep(Duration::from_millis(500)).await;
        drop(held);
        sleep(Duration::from_millis(700)).await;
        assert_eq!(ask(address, "/").await.body, "hello");
        #[expect(
            clippy::disallowed_methods,
            reason = "the answer of this child process to its parent"
        )]
        std::process::exit(42);
    });
}

#[test]
fn the_accept_loop_survives_running_out_of_file_descriptors() {
    let this = std::env::current_exe().unwrap();
    let command = format!(
        "ulimit -n 40; exec {} --exact starved_child --ignored --nocapture",
        this.display()
    );
    let status = std::process::Command::new("sh")
        .args(["-c", &command])
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(42));
}
