//! The application listener over TLS: who may come in, who they are, and who only takes up room.
#![cfg(feature = "tls")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "test code")]

mod tls_support;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use axum::routing::get;
use axum::{Extension, Router};
use hafnium_core::component::Stopped;
use hafnium_core::config::Duration as Limit;
use hafnium_core::http::{Caller, ClientCertificate, HttpSettings, Server, TlsVersion, envelope};
use hafnium_core::secret::Secret;
use hafnium_core::tls::PeerIdentity;
use hafnium_core::{Context, Deadline, StartError};
use sha2::{Digest, Sha256};
use tls_support::{Authority, Client, Ends, Pair, der};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

async fn who(Extension(caller): Extension<Caller>, peer: Option<Extension<PeerIdentity>>) -> String {
    let scheme = caller.scheme.as_str();
    match peer {
        None => format!("nobody over {scheme}"),
        Some(Extension(peer)) => format!(
            "{} {} {} {}",
            peer.subject(),
            peer.dns().join(","),
            peer.uris().join(","),
            peer.fingerprint()
        ),
    }
}

fn settings(pair: &Pair) -> HttpSettings {
    let mut settings = HttpSettings::default();
    settings.address = Ipv4Addr::LOCALHOST.into();
    settings.port = 0;
    settings.tls.certificate = Some(Secret::new(pair.certificate.clone()));
    settings.tls.key = Some(Secret::new(pair.key.clone()));
    settings
}

fn serve(settings: &HttpSettings) -> (Server, SocketAddr) {
    let cx = Context::standalone();
    let slow = || async {
        sleep(Duration::from_millis(500)).await;
        "done"
    };
    let router = Router::new().route("/", get(who)).route("/slow", get(slow));
    let router = envelope(router, settings, &cx);
    let server = settings.serve(settings.bind().unwrap(), router, &cx).unwrap();
    let address = server.local_addr();
    (server, address)
}

#[tokio::test]
async fn http1_and_http2_are_agreed_on_in_the_handshake_of_tls_1_2_and_1_3() {
    let authority = Authority::new();
    let (_server, address) = serve(&settings(&authority.server(Ends::Later)));
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        for (offered, agreed) in [
            (&["h2", "http/1.1"][..], Some(&b"h2"[..])),
            (&["http/1.1"], Some(b"http/1.1")),
            (&[], None),
        ] {
            let client = Client::new(&authority, None, offered, &[version]);
            let stream = client.connect(address).await.unwrap();
            assert_eq!(stream.get_ref().1.alpn_protocol(), agreed);
            let (status, body) = client.get(address, "/").await.unwrap();
            assert_eq!((status.as_u16(), body.as_str()), (200, "nobody over https"));
        }
    }
    let plain = TcpStream::connect(address).await.unwrap();
    let (mut reading, mut writing) = plain.into_split();
    writing
        .write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    let _ = reading.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP/"), "nothing is served in plain text");
}

#[tokio::test]
async fn tls_1_2_is_refused_where_1_3_is_the_minimum() {
    let authority = Authority::new();
    let mut settings = settings(&authority.server(Ends::Later));
    settings.tls.minimum_version = TlsVersion::V1_3;
    let (_server, address) = serve(&settings);
    let old = Client::new(&authority, None, &["http/1.1"], &[&rustls::version::TLS12]);
    old.get(address, "/").await.unwrap_err();
    Client::plain(&authority).get(address, "/").await.unwrap();
}

#[tokio::test]
async fn a_client_proves_who_it_is_and_the_handler_sees_it() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let mut settings = settings(&authority.server(Ends::Later));
    settings.tls.client_ca = Some(Secret::new(authority.pem()));
    let (_server, address) = serve(&settings);
    let own = authority.client("payments");
    let mut fingerprint = String::new();
    for byte in Sha256::digest(der(&own.certificate)) {
        fingerprint.push_str(&format!("{byte:02x}"));
    }
    let (_, body) = Client::with(&authority, &own).get(address, "/").await.unwrap();
    assert_eq!(
        body,
        format!(
            "CN=payments payments.bank.example spiffe://bank.example/ns/payments/sa/payments {fingerprint}"
        )
    );
    let over_http2 = Client::new(&authority, Some(&own), &["h2"], rustls::ALL_VERSIONS);
    assert_eq!(over_http2.get(address, "/").await.unwrap().1, body);
    Client::plain(&authority).get(address, "/").await.unwrap_err();
    let forged = stranger.client("payments");
    Client::with(&authority, &forged)
        .get(address, "/")
        .await
        .unwrap_err();
}

#[tokio::test]
async fn where_certificates_are_optional_none_is_nobody_and_a_bad_one_is_still_refused() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let mut settings = settings(&authority.server(Ends::Later));
    settings.tls.client_ca = Some(Secret::new(authority.pem()));
    settings.tls.client_certificate = ClientCertificate::Optional;
    let (_server, address) = serve(&settings);
    assert_eq!(
        Client::plain(&authority).get(address, "/").await.unwrap().1,
        "nobody over https"
    );
    let own = authority.client("ledger");
    let (_, body) = Client::with(&authority, &own).get(address, "/").await.unwrap();
    assert!(body.starts_with("CN=ledger"), "{body}");
    let forged = stranger.client("ledger");
    Client::with(&authority, &forged)
        .get(address, "/")
        .await
        .unwrap_err();
}

#[tokio::test]
async fn a_handshake_that_does_not_come_or_drips_is_cut_and_gives_its_place_back() {
    let authority = Authority::new();
    let mut settings = settings(&authority.server(Ends::Later));
    settings.tls.handshake_timeout = Limit::from_millis(400);
    settings.max_connections = 2;
    let (_server, address) = serve(&settings);
    let mut silent = TcpStream::connect(address).await.unwrap();
    let (mut reading, mut writing) = TcpStream::connect(address).await.unwrap().into_split();
    let dripping = tokio::spawn(async move {
        // The head of a handshake that announces more than it sends.
        for byte in [0x16, 3, 1, 1, 0, 1]
            .into_iter()
            .chain(std::iter::repeat_n(0, 400))
        {
            if writing.write_all(&[byte]).await.is_err() {
                break;
            }
            sleep(Duration::from_millis(20)).await;
        }
    });
    let begun = Instant::now();
    let (mut first, mut second) = (Vec::new(), Vec::new());
    let cut = async { tokio::join!(silent.read_to_end(&mut first), reading.read_to_end(&mut second)) };
    let _ = timeout(Duration::from_secs(5), cut).await.expect("never cut");
    assert!(
        (350..3000).contains(&begun.elapsed().as_millis()),
        "{:?}",
        begun.elapsed()
    );
    Client::plain(&authority).get(address, "/").await.unwrap();
    dripping.await.unwrap();
}

#[tokio::test]
async fn a_drain_waits_for_requests_over_tls_and_not_for_handshakes() {
    let authority = Authority::new();
    let (server, address) = serve(&settings(&authority.server(Ends::Later)));
    let client = Client::plain(&authority);
    let under_way = tokio::spawn(async move { client.get(address, "/slow").await });
    let _silent = TcpStream::connect(address).await.unwrap();
    sleep(Duration::from_millis(250)).await;
    let begun = Instant::now();
    let stopped = server.drain(Deadline::after(Duration::from_secs(8))).await;
    assert_eq!(stopped, Stopped::Clean);
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    assert_eq!(under_way.await.unwrap().unwrap().1, "done");
}

#[tokio::test]
async fn what_can_not_work_ends_the_start_with_the_keys_name_and_shows_nothing() {
    let authority = Authority::new();
    let (pair, other) = (authority.server(Ends::Later), authority.server(Ends::Later));
    let refused = |change: &dyn Fn(&mut HttpSettings)| {
        let mut settings = settings(&pair);
        change(&mut settings);
        let bound = settings.bind().unwrap();
        let error = settings
            .serve(bound, Router::new(), &Context::standalone())
            .err()
            .unwrap();
        assert!(matches!(error, StartError::Configuration { .. }), "{error}");
        let text = error.to_string();
        assert!(!text.contains("BEGIN") && !text.contains("MII"), "{text}");
        text
    };
    let text = |text: &str| Some(Secret::new(text));
    for (change, said) in [
        (
            &(|settings: &mut HttpSettings| settings.tls.key = None) as &dyn Fn(&mut HttpSettings),
            "tls.key: missing beside tls.certificate",
        ),
        (
            &|settings| settings.tls.certificate = None,
            "tls.certificate: missing",
        ),
        (
            &|settings| settings.tls.key = text(&other.key),
            "tls.key: does not belong to tls.certificate",
        ),
        (
            &|settings| settings.tls.key = text("secret"),
            "tls.key: there is no private key in PEM form",
        ),
        (
            &|settings| settings.tls.certificate = text("nothing"),
            "tls.certificate: there is no certificate in PEM form",
        ),
        (
            &|settings| settings.tls.client_ca = text("nothing"),
            "tls.client_ca: there is no certificate in PEM form",
        ),
    ] {
        let text = refused(change);
        assert!(text.contains(said), "{said}: {text}");
    }
}
