//! Rows about TLS, which the test server has none of.

use std::sync::Arc;

use hafnium_core::secret::FetchErrorKind;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;
use tokio_rustls::TlsAcceptor;

use super::ground::{at_peer, text, vault};
use super::peer::{Asked, Peer, Reply, document, login};

/// A certificate for `name` that vouches for itself, as a server and as PEM to be trusted.
fn certificate(name: &str) -> (TlsAcceptor, String) {
    let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let config = ServerConfig::builder_with_provider(aws_lc_rs::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    (TlsAcceptor::from(Arc::new(config)), made.cert.pem())
}

fn answer(asked: &Asked, _: usize) -> Reply {
    match asked.path.as_str() {
        "auth/approle/login" => login("t", 3600),
        _ => document(1, "v"),
    }
}

fn file(pem: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), pem).unwrap();
    file
}

pub(crate) async fn a_private_ca() -> String {
    let (tls, pem) = certificate("localhost");
    let peer = Peer::start_tls(tls, answer).await;
    let ca = file(&pem);
    let mut settings = at_peer(&peer.address);
    settings.ca = Some(ca.path().to_owned());
    assert_eq!(text(&vault(&settings), "vault:kv/a#k").await.unwrap(), "v");
    let error = text(&vault(&at_peer(&peer.address)), "vault:kv/a#k")
        .await
        .unwrap_err();
    assert_eq!(error.kind, FetchErrorKind::Unavailable, "{error}");
    let unknown = error.message;
    let (tls, pem) = certificate("another.example");
    let other = Peer::start_tls(tls, answer).await;
    let ca = file(&pem);
    let mut settings = at_peer(&other.address);
    settings.ca = Some(ca.path().to_owned());
    assert!(
        text(&vault(&settings), "vault:kv/a#k").await.is_err(),
        "another name"
    );
    assert!(other.asked().is_empty());
    unknown
        .split("no TLS with")
        .last()
        .unwrap_or_default()
        .chars()
        .take(90)
        .collect()
}

pub(crate) async fn no_redirect_to_plain_text() -> String {
    let plain = Peer::start(answer).await;
    let (tls, pem) = certificate("localhost");
    let there = plain.address.clone();
    let peer = Peer::start_tls(tls, move |asked, before| match asked.path.as_str() {
        "auth/approle/login" => answer(asked, before),
        path => Reply::new(307, "").header("location", format!("{there}/v1/{path}")),
    })
    .await;
    let ca = file(&pem);
    let mut settings = at_peer(&peer.address);
    settings.ca = Some(ca.path().to_owned());
    let error = text(&vault(&settings), "vault:kv/a#k").await.unwrap_err();
    assert!(error.message.contains("from https to http"), "{error}");
    assert!(plain.asked().is_empty(), "the token stays behind TLS");
    "refused, nothing sent".to_owned()
}
