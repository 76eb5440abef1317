//! TLS: trust, client certificates, protocols, rotation.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use hafnium_core::config::{Loader, Sources};
use hafnium_core::secret::{Secret, Secrets, SecretsSettings};
use hafnium_core::upstream::{Protocol, Upstream, UpstreamSettings};
use hafnium_core::{Classify, Context, Deadline, Outcome};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio::net::TcpListener;

use crate::server::{serve, text};
use crate::{Names, is, row, settings, upstream_by};

/// An authority, and what it signs.
struct Authority(CertifiedIssuer<'static, KeyPair>);

struct Signed {
    certificate: String,
    key: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, "an authority of the test");
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    fn sign(&self, name: &str) -> Signed {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Signed {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }
}

impl Signed {
    fn chain(&self) -> Vec<CertificateDer<'static>> {
        vec![CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap()]
    }

    fn private(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap()
    }
}

/// A TLS server; with `clients` it asks for a certificate of that authority. Answers with the serial number of the
/// client's certificate, or `hello`.
async fn server(own: &Signed, clients: Option<&Authority>, alpn: &[&[u8]]) -> (SocketAddr, Arc<AtomicUsize>) {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots
                .add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap())
                .unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider)
                .build()
                .unwrap();
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_single_cert(own.chain(), own.private()).unwrap();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let hits = Arc::new(AtomicUsize::new(0));
    let counted = hits.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (acceptor, counted) = (acceptor.clone(), counted.clone());
            tokio::spawn(async move {
                let stream = acceptor.accept(stream).await?;
                let shown = stream
                    .get_ref()
                    .1
                    .peer_certificates()
                    .map_or("hello".to_owned(), |chain| {
                        format!(
                            "{:x}",
                            chain[0]
                                .iter()
                                .fold(0u64, |sum, byte| sum.wrapping_mul(31) + u64::from(*byte))
                        )
                    });
                let handler = move |_| {
                    let shown = shown.clone();
                    async move { text(shown) }
                };
                serve(stream, handler, counted).await;
                io::Result::Ok(())
            });
        }
    });
    (address, hits)
}

fn secured(ca: Option<&Authority>, client: Option<&Signed>) -> UpstreamSettings {
    let mut settings = settings();
    settings.url = "https://scoring.test".to_owned();
    settings.tls.ca = ca.map(|ca| Secret::new(ca.pem()));
    settings.tls.certificate = client.map(|client| Secret::new(&client.certificate));
    settings.tls.key = client.map(|client| Secret::new(&client.key));
    settings
}

fn upstream(address: SocketAddr, settings: &UpstreamSettings) -> Upstream {
    upstream_by(Names::of(&[address]), settings, &Context::standalone())
}

const BOTH: &[&[u8]] = &[b"h2", b"http/1.1"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_protocols_are_negotiated_and_the_setting_limits_them() {
    let authority = Authority::new();
    let own = authority.sign("scoring.test");
    for (alpn, protocol, version) in [
        (BOTH, Protocol::Auto, http::Version::HTTP_2),
        (BOTH, Protocol::Http1, http::Version::HTTP_11),
        (BOTH, Protocol::Http2, http::Version::HTTP_2),
        (&BOTH[1..], Protocol::Auto, http::Version::HTTP_11),
    ] {
        let (address, _) = server(&own, None, alpn).await;
        let mut settings = secured(Some(&authority), None);
        settings.protocol = protocol;
        let answer = upstream(address, &settings).get("/").await.unwrap();
        assert_eq!((answer.version(), answer.text().unwrap()), (version, "hello"));
    }
    let plain = crate::server::Server::hello().await;
    let mut settings = settings();
    settings.protocol = Protocol::Http2;
    let answer = upstream(plain.address, &settings).get("/").await.unwrap();
    assert_eq!(answer.version(), http::Version::HTTP_2, "without asking");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_untrusted_certificate_is_certainly_not_run_and_says_what_to_look_at() {
    let (authority, other) = (Authority::new(), Authority::new());
    let (address, hits) = server(&authority.sign("scoring.test"), None, BOTH).await;
    let result = upstream(address, &secured(Some(&other), None)).post("/").await;
    row("certificate of another authority", "POST", &result);
    is(&result, Outcome::NotRun, "upstream.tls");
    let error = result.unwrap_err();
    assert!(
        !error.retryable() && error.to_string().contains("look at `tls.ca`"),
        "{error}"
    );

    let (address, _) = server(&authority.sign("other.test"), None, BOTH).await;
    let result = upstream(address, &secured(Some(&authority), None))
        .post("/")
        .await;
    row("certificate for another name", "POST", &result);
    is(&result, Outcome::NotRun, "upstream.tls");
    assert!(result.unwrap_err().to_string().contains("tls.server_name"));
    let mut named = secured(Some(&authority), None);
    named.tls.server_name = Some("other.test".to_owned());
    assert!(upstream(address, &named).get("/").await.is_ok());

    let plain = crate::server::Server::hello().await;
    let result = upstream(plain.address, &secured(Some(&authority), None))
        .post("/")
        .await;
    row("a port that does not speak TLS", "POST", &result);
    is(&result, Outcome::NotRun, "upstream.tls");
    assert_eq!(hits.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mutual_tls_shows_our_certificate_and_a_refusal_is_certainly_not_run() {
    let (authority, other) = (Authority::new(), Authority::new());
    let (address, hits) = server(&authority.sign("scoring.test"), Some(&authority), BOTH).await;
    let good = secured(Some(&authority), Some(&authority.sign("caller")));
    let answer = upstream(address, &good).get("/").await.unwrap();
    assert_ne!(answer.text().unwrap(), "hello");
    let before = hits.load(Ordering::SeqCst);
    for (fault, client, hint) in [
        ("no certificate of ours", None, "asks for a certificate"),
        (
            "a certificate that it does not trust",
            Some(other.sign("caller")),
            "refuses our certificate",
        ),
    ] {
        let result = upstream(address, &secured(Some(&authority), client.as_ref()))
            .post("/")
            .body("x")
            .await;
        row(fault, "POST", &result);
        is(&result, Outcome::NotRun, "upstream.tls");
        let error = result.unwrap_err();
        assert!(!error.retryable() && error.to_string().contains(hint), "{error}");
    }
    assert_eq!(hits.load(Ordering::SeqCst), before);
}

#[test]
fn what_can_not_be_used_is_refused_at_the_start_without_its_value() {
    let authority = Authority::new();
    let (one, other) = (authority.sign("one"), authority.sign("other"));
    let refused = |change: &dyn Fn(&mut UpstreamSettings)| {
        let mut settings = secured(Some(&authority), Some(&one));
        change(&mut settings);
        Upstream::new("scoring", &settings, &Context::standalone())
            .unwrap_err()
            .to_string()
    };
    for (key, error) in [
        (
            "tls.ca",
            refused(&|settings| settings.tls.ca = Some(Secret::new("canary"))),
        ),
        (
            "tls.certificate",
            refused(&|settings| settings.tls.certificate = Some(Secret::new("canary"))),
        ),
        (
            "tls.key",
            refused(&|settings| settings.tls.key = Some(Secret::new("canary"))),
        ),
        ("tls.key", refused(&|settings| settings.tls.key = None)),
        (
            "tls.certificate",
            refused(&|settings| settings.tls.certificate = None),
        ),
        (
            "does not belong",
            refused(&|settings| settings.tls.key = Some(Secret::new(&other.key))),
        ),
        (
            "tls.server_name",
            refused(&|settings| settings.tls.server_name = Some("can ary".to_owned())),
        ),
        (
            "tls: is set",
            refused(&|settings| settings.url = "http://scoring.test".to_owned()),
        ),
        (
            "url: neither",
            refused(&|settings| settings.url = "ftp://scoring.test".to_owned()),
        ),
    ] {
        assert!(error.contains(key) && !error.contains("canary"), "{key}: {error}");
    }
}

fn write(directory: &Path, client: &Signed) {
    for (name, text) in [("tls.crt", &client.certificate), ("tls.key", &client.key)] {
        let next = directory.join(format!("{name}.next"));
        std::fs::write(&next, text).unwrap();
        std::fs::rename(&next, directory.join(name)).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotated_certificate_is_used_by_new_connections_and_fails_no_request_under_load() {
    let authority = Authority::new();
    // HTTP/1.1 and HTTP/2 differ in how a connection is shared.
    for alpn in [&BOTH[1..], BOTH] {
        let (address, _) = server(&authority.sign("scoring.test"), Some(&authority), alpn).await;
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), &authority.sign("first"));
        let file = |name: &str| format!("file:{}", directory.path().join(name).display());
        let sources = Sources::none()
            .variable("HAFNIUM__ENVIRONMENT", "dev")
            .variable("HAFNIUM__UPSTREAM__SCORING__URL", "https://scoring.test")
            .variable("HAFNIUM__UPSTREAM__SCORING__TLS__CA", authority.pem())
            .variable("HAFNIUM__UPSTREAM__SCORING__TLS__CERTIFICATE", file("tls.crt"))
            .variable("HAFNIUM__UPSTREAM__SCORING__TLS__KEY", file("tls.key"));
        let loader = Loader::new("caller")
            .section::<SecretsSettings>()
            .named::<UpstreamSettings>("scoring")
            .sources(sources);
        let config = loader.load().unwrap();
        let cx = Context::standalone();
        let secrets = Secrets::new(config.get::<SecretsSettings>().unwrap(), Vec::new());
        secrets
            .open(&config, Deadline::after(Duration::from_secs(30)))
            .await
            .unwrap();
        secrets.follow(&cx);
        let settings = config.named::<UpstreamSettings>("scoring").unwrap();
        // The first reading arms the watches.
        settings
            .tls
            .certificate
            .as_ref()
            .unwrap()
            .refresh(Deadline::after(Duration::from_secs(30)))
            .await
            .unwrap();
        let upstream = upstream_by(Names::of(&[address]), &settings, &cx);

        let stop = Arc::new(AtomicBool::new(false));
        let callers: Vec<_> = (0..8)
            .map(|_| {
                let (upstream, stop) = (upstream.clone(), stop.clone());
                tokio::spawn(async move {
                    let (mut answered, mut failed) = (0u32, Vec::new());
                    let mut shown = std::collections::BTreeSet::new();
                    while !stop.load(Ordering::SeqCst) {
                        match upstream.post("/").body("x").await {
                            Ok(answer) => {
                                answered += 1;
                                shown.insert(answer.text().unwrap().to_owned());
                            }
                            Err(error) => failed.push(error.to_string()),
                        }
                    }
                    (answered, failed, shown)
                })
            })
            .collect();
        let shown =
            |upstream: Upstream| async move { upstream.get("/").await.unwrap().text().unwrap().to_owned() };
        let mut last = shown(upstream.clone()).await;
        for name in ["second", "third"] {
            tokio::time::sleep(Duration::from_millis(200)).await;
            write(directory.path(), &authority.sign(name));
            let begun = std::time::Instant::now();
            loop {
                let now = shown(upstream.clone()).await;
                if now != last {
                    last = now;
                    break;
                }
                assert!(
                    begun.elapsed() < Duration::from_secs(20),
                    "the {name} one is not used"
                );
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        stop.store(true, Ordering::SeqCst);
        let (mut answered, mut failed, mut all) = (0, Vec::new(), std::collections::BTreeSet::new());
        for caller in callers {
            let (count, errors, shown) = caller.await.unwrap();
            answered += count;
            failed.extend(errors);
            all.extend(shown);
        }
        cx.tasks().cancelled().cancel();
        println!(
            "| certificate rotated twice under load | POST | {} failed of {answered} | {} certificates seen |",
            failed.len(),
            all.len()
        );
        assert_eq!(failed, Vec::<String>::new());
        assert_eq!(all.len(), 3);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_does_not_go_with_its_key_leaves_the_last_good_pair_in_use() {
    let authority = Authority::new();
    let (address, _) = server(&authority.sign("scoring.test"), Some(&authority), BOTH).await;
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), &authority.sign("first"));
    let file = |name: &str| format!("file:{}", directory.path().join(name).display());
    let sources = Sources::none()
        .variable("HAFNIUM__UPSTREAM__SCORING__URL", "https://scoring.test")
        .variable("HAFNIUM__UPSTREAM__SCORING__TLS__CA", authority.pem())
        .variable("HAFNIUM__UPSTREAM__SCORING__TLS__CERTIFICATE", file("tls.crt"))
        .variable("HAFNIUM__UPSTREAM__SCORING__TLS__KEY", file("tls.key"));
    let loader = Loader::new("caller")
        .section::<SecretsSettings>()
        .named::<UpstreamSettings>("scoring")
        .sources(sources);
    let config = loader.load().unwrap();
    let cx = Context::standalone();
    let secrets = Secrets::new(config.get::<SecretsSettings>().unwrap(), Vec::new());
    secrets
        .open(&config, Deadline::after(Duration::from_secs(30)))
        .await
        .unwrap();
    secrets.follow(&cx);
    let settings = config.named::<UpstreamSettings>("scoring").unwrap();
    let certificate = settings.tls.certificate.clone().unwrap();
    let upstream = upstream_by(Names::of(&[address]), &settings, &cx);
    let first = upstream.get("/").await.unwrap().text().unwrap().to_owned();
    let before = certificate.current();
    std::fs::write(
        directory.path().join("tls.crt"),
        &authority.sign("second").certificate,
    )
    .unwrap();
    let begun = std::time::Instant::now();
    while certificate.current().version() == before.version() {
        let _ = certificate.refresh(Deadline::after(Duration::from_secs(5))).await;
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "the new text is not read"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for _ in 0..10 {
        assert_eq!(upstream.get("/").await.unwrap().text().unwrap(), first);
    }
    let tls = hafnium_core::tls::client::TlsClient::new(&settings.tls);
    assert!(tls.unwrap_err().to_string().contains("does not belong"));
    cx.tasks().cancelled().cancel();
}
