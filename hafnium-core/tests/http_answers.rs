//! What is said to whom: encodings, addresses behind proxies, both families of addresses, settings that change.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "test code")]

mod http_client;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use axum::extract::ConnectInfo;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Extension, Router};
use hafnium_core::Context;
use hafnium_core::config::{Live, Loader, Reloaded, Sources};
use hafnium_core::http::{Caller, HttpSettings, Server, envelope};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, ETAG};
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use http_client::http1;
use hyper::body::{Bytes, Incoming};
use tokio::time::{Instant, sleep};

fn text() -> String {
    "All the world is a stage. ".repeat(400)
}

async fn who(Extension(caller): Extension<Caller>, ConnectInfo(peer): ConnectInfo<SocketAddr>) -> String {
    let host = caller.host.unwrap_or_default();
    format!(
        "{} {} {host} over {}",
        caller.address,
        caller.scheme.as_str(),
        peer.ip()
    )
}

fn routes() -> Router {
    Router::new()
        .route("/", get(|| async { "hello" }))
        .route("/text", get(|| async { ([(ETAG, "\"v1\"")], text()) }))
        .route(
            "/events",
            get(|| async { ([(CONTENT_TYPE, "text/event-stream")], text()) }),
        )
        .route(
            "/encoded",
            get(|| async {
                ([(CONTENT_ENCODING, "zstd"), (CONTENT_TYPE, "text/plain")], text()).into_response()
            }),
        )
        .route("/who", get(who))
        .route(
            "/slow",
            get(|| async {
                sleep(Duration::from_secs(1)).await;
                "done"
            }),
        )
}

fn settings() -> HttpSettings {
    let mut settings = HttpSettings::default();
    settings.address = Ipv4Addr::LOCALHOST.into();
    settings.port = 0;
    settings
}

fn serve(settings: &HttpSettings, cx: &Context) -> (Server, SocketAddr) {
    let router = envelope(routes(), settings, cx);
    let server = settings.serve(settings.bind().unwrap(), router, cx).unwrap();
    let address = server.local_addr();
    (server, address)
}

async fn ask(
    method: Method,
    address: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
) -> Response<Incoming> {
    let mut request = Request::builder()
        .method(method)
        .uri(format!("http://{address}{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::<Bytes>::default()).unwrap();
    http1().request(request).await.unwrap()
}

fn header<'a>(response: &'a Response<Incoming>, name: &str) -> &'a str {
    response
        .headers()
        .get(name)
        .map_or("", |value| value.to_str().unwrap())
}

async fn body(response: Response<Incoming>) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// What gzip, or brotli, makes of `bytes` when it is asked to undo itself.
async fn length(response: Response<Incoming>) -> (Vec<u8>, usize) {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (bytes[..2].to_vec(), bytes.len())
}

#[tokio::test]
async fn text_is_compressed_for_who_accepts_it_and_nothing_else_is() {
    let (_server, address) = serve(&settings(), &Context::standalone());
    let whole = text().len();
    for (accepts, encoding) in [("gzip", "gzip"), ("br", "br"), ("gzip, deflate, br", "br")] {
        let answer = ask(Method::GET, address, "/text", &[("accept-encoding", accepts)]).await;
        assert_eq!(header(&answer, "content-encoding"), encoding, "{accepts}");
        assert_eq!(header(&answer, "vary"), "accept-encoding");
        assert_eq!(header(&answer, "etag"), "W/\"v1\"");
        assert_eq!(header(&answer, "x-request-id").len(), 32);
        let (begin, length) = length(answer).await;
        assert!(length * 5 < whole, "{length} of {whole}");
        if encoding == "gzip" {
            assert_eq!(begin, [0x1f, 0x8b]);
        }
    }
    let plain = ask(Method::GET, address, "/text", &[]).await;
    assert_eq!(
        (header(&plain, "content-encoding"), header(&plain, "vary")),
        ("", "accept-encoding")
    );
    assert_eq!(body(plain).await.len(), whole);
    for path in ["/", "/events", "/encoded", "/nowhere"] {
        let answer = ask(Method::GET, address, path, &[("accept-encoding", "gzip, br")]).await;
        let expected = if path == "/encoded" { "zstd" } else { "" };
        assert_eq!(header(&answer, "content-encoding"), expected, "{path}");
        assert_eq!(header(&answer, "vary"), "", "{path}");
    }
    let refused = ask(
        Method::GET,
        address,
        "/text",
        &[("accept-encoding", "identity;q=0")],
    )
    .await;
    assert_eq!(refused.status().as_u16(), 200, "an answer is better than none");
    let head = ask(Method::HEAD, address, "/text", &[("accept-encoding", "gzip")]).await;
    assert_eq!(header(&head, "content-length"), whole.to_string());
}

#[tokio::test]
async fn a_proxys_word_on_the_client_is_taken_only_where_it_is_trusted() {
    let forged = [
        ("x-forwarded-for", "6.6.6.6, 192.0.2.1"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "shop.example"),
    ];
    let (_server, address) = serve(&settings(), &Context::standalone());
    let direct = body(ask(Method::GET, address, "/who", &forged).await).await;
    assert_eq!(direct, "127.0.0.1 http  over 127.0.0.1", "never by default");
    let mut trusting = settings();
    trusting.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    let (_server, address) = serve(&trusting, &Context::standalone());
    let through = body(ask(Method::GET, address, "/who", &forged).await).await;
    assert_eq!(
        through, "192.0.2.1 https  over 127.0.0.1",
        "the host may be the client's own"
    );
    trusting.forwarded_host = true;
    let (_server, address) = serve(&trusting, &Context::standalone());
    let through = body(ask(Method::GET, address, "/who", &forged).await).await;
    assert_eq!(through, "192.0.2.1 https shop.example over 127.0.0.1");
}

#[tokio::test]
async fn one_socket_serves_ipv6_and_ipv4_and_tells_the_addresses_apart() {
    let mut settings = settings();
    settings.address = Ipv6Addr::UNSPECIFIED.into();
    let (_server, address) = serve(&settings, &Context::standalone());
    for (target, seen) in [
        (
            IpAddr::from(Ipv4Addr::LOCALHOST),
            "127.0.0.1 http  over 127.0.0.1",
        ),
        (IpAddr::from(Ipv6Addr::LOCALHOST), "::1 http  over ::1"),
    ] {
        let target = SocketAddr::new(target, address.port());
        assert_eq!(body(ask(Method::GET, target, "/who", &[]).await).await, seen);
    }
}

/// A listener whose settings lie in a file.
struct Reloading {
    directory: tempfile::TempDir,
    loader: Loader,
    cx: Context,
    address: SocketAddr,
    _server: Server,
}

impl Reloading {
    fn serve(text: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        write(&directory, text);
        let sources = Sources::none()
            .directory(directory.path())
            .variable("ENVIRONMENT", "dev");
        let loader = Loader::new("reloading")
            .sources(sources)
            .section::<HttpSettings>();
        let config = loader.load().unwrap();
        let settings = config.get::<HttpSettings>().unwrap();
        let cx = Context::standalone().with_config(Live::new(config));
        let (server, address) = serve(&settings, &cx);
        Self {
            directory,
            loader,
            cx,
            address,
            _server: server,
        }
    }

    /// The keys that are taken over.
    fn reload(&self, text: &str) -> Vec<String> {
        write(&self.directory, text);
        match self.cx.config().reload(&self.loader) {
            Reloaded::Changed { adopted, .. } => adopted,
            other => panic!("not taken over: {other:?}"),
        }
    }
}

fn write(directory: &tempfile::TempDir, http: &str) {
    let text = format!("[http]\nport = 0\naddress = \"127.0.0.1\"\n{http}");
    std::fs::write(directory.path().join("hafnium.toml"), text).unwrap();
}

#[tokio::test]
async fn the_request_timeout_and_the_concurrency_change_while_the_listener_serves() {
    let rig = Reloading::serve("");
    let address = rig.address;
    let slow = move || async move { ask(Method::GET, address, "/slow", &[]).await.status().as_u16() };
    assert_eq!(slow().await, 200);
    assert_eq!(
        rig.reload("request_timeout = \"100ms\"\n"),
        ["http.request_timeout"]
    );
    let begun = Instant::now();
    while slow().await != 504 {
        assert!(begun.elapsed() < Duration::from_secs(10));
    }
    let adopted = rig.reload("max_concurrent_requests = 1\nqueue_timeout = \"10ms\"\n");
    assert!(
        adopted.contains(&"http.max_concurrent_requests".to_owned()),
        "{adopted:?}"
    );
    let begun = Instant::now();
    loop {
        let (one, other) = tokio::join!(slow(), slow());
        let mut both = [one, other];
        both.sort_unstable();
        if both == [200, 503] {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "{both:?}");
    }
}

#[tokio::test]
async fn trust_and_compression_change_while_the_listener_serves() {
    let rig = Reloading::serve("");
    let address = rig.address;
    let who = || async move {
        let line = [("x-forwarded-for", "192.0.2.1"), ("accept-encoding", "gzip")];
        let seen = body(ask(Method::GET, address, "/who", &line).await).await;
        let text = ask(Method::GET, address, "/text", &line).await;
        (seen, header(&text, "content-encoding").to_owned())
    };
    assert_eq!(
        who().await,
        ("127.0.0.1 http  over 127.0.0.1".to_owned(), "gzip".to_owned())
    );
    let adopted = rig.reload("trusted_proxies = [\"127.0.0.1\"]\ncompression = false\n");
    assert!(
        adopted.iter().any(|key| key.contains("trusted_proxies")),
        "{adopted:?}"
    );
    let begun = Instant::now();
    let expected = ("192.0.2.1 http  over 127.0.0.1".to_owned(), String::new());
    while who().await != expected {
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", who().await);
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_proxy_that_is_no_network_is_refused_with_its_key() {
    let sources = Sources::none()
        .variable("ENVIRONMENT", "dev")
        .variable("HAFNIUM__HTTP__TRUSTED_PROXIES", "[\"10.0.0.0/33\"]");
    let loader = Loader::new("refused").sources(sources).section::<HttpSettings>();
    let refused = loader.load().and_then(|config| config.get::<HttpSettings>());
    let text = refused.unwrap_err().to_string();
    assert!(text.contains("http.trusted_proxies"), "{text}");
    assert!(text.contains("accepted: a network such as"), "{text}");
}
