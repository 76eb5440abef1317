//! An authority of its own, what it signs, and a client that trusts it.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::net::SocketAddr;
use std::sync::Arc;

use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    SanType,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Signs certificates.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its key, as PEM.
#[derive(Clone)]
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// When a certificate ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ends {
    Later,
    /// It did already.
    Ended,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "authority of a test");
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self { issuer }
    }

    pub(crate) fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// For `localhost`.
    pub(crate) fn server(&self, ends: Ends) -> Pair {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        if ends == Ends::Ended {
            params.not_before = rcgen::date_time_ymd(2001, 1, 1);
            params.not_after = rcgen::date_time_ymd(2002, 1, 1);
        }
        self.sign(params)
    }

    /// For a client of that name, with a host name and a SPIFFE id.
    pub(crate) fn client(&self, name: &str) -> Pair {
        let mut params = CertificateParams::new(vec![format!("{name}.bank.example")]).unwrap();
        let id = format!("spiffe://bank.example/ns/payments/sa/{name}");
        params
            .subject_alt_names
            .push(SanType::URI(Ia5String::try_from(id).unwrap()));
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params)
    }

    fn sign(&self, params: CertificateParams) -> Pair {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Pair {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }
}

pub(crate) fn der(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

/// A client that trusts one authority.
#[derive(Clone)]
pub(crate) struct Client {
    config: Arc<ClientConfig>,
}

impl Client {
    pub(crate) fn new(
        authority: &Authority,
        own: Option<&Pair>,
        alpn: &[&str],
        versions: &[&'static SupportedProtocolVersion],
    ) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(der(&authority.pem())).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match own {
            None => builder.with_no_client_auth(),
            Some(own) => {
                let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).unwrap();
                builder
                    .with_client_auth_cert(vec![der(&own.certificate)], key)
                    .unwrap()
            }
        };
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        config.resumption = rustls::client::Resumption::disabled();
        Self {
            config: Arc::new(config),
        }
    }

    /// HTTP/1.1, TLS 1.3 or 1.2.
    pub(crate) fn plain(authority: &Authority) -> Self {
        Self::new(authority, None, &["http/1.1"], rustls::ALL_VERSIONS)
    }

    pub(crate) fn with(authority: &Authority, own: &Pair) -> Self {
        Self::new(authority, Some(own), &["http/1.1"], rustls::ALL_VERSIONS)
    }

    pub(crate) async fn connect(&self, address: SocketAddr) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(address).await?;
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(self.config.clone())
            .connect(name, stream)
            .await
    }

    /// One GET over a connection of its own.
    pub(crate) async fn get(&self, address: SocketAddr, path: &str) -> Result<(StatusCode, String), String> {
        let stream = self.connect(address).await.map_err(|error| error.to_string())?;
        let multiplexed = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let io = TokioIo::new(stream);
        let request = |uri: String| {
            Request::get(uri)
                .header("host", "localhost")
                .body(Empty::<Bytes>::new())
                .unwrap()
        };
        let response = if multiplexed {
            let (mut sender, driver) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
                .await
                .map_err(|error| format!("{error:?}"))?;
            tokio::spawn(driver);
            sender
                .send_request(request(format!("https://localhost{path}")))
                .await
        } else {
            let (mut sender, driver) = hyper::client::conn::http1::handshake(io)
                .await
                .map_err(|error| format!("{error:?}"))?;
            tokio::spawn(driver);
            sender.send_request(request(path.to_owned())).await
        };
        let response = response.map_err(|error| format!("{error:?}"))?;
        let status = response.status();
        let body = response
            .into_body()
            .collect()
            .await
            .map_err(|error| format!("{error:?}"))?;
        Ok((status, String::from_utf8(body.to_bytes().to_vec()).unwrap()))
    }

    /// The certificate that the server shows.
    pub(crate) async fn shown(&self, address: SocketAddr) -> Result<CertificateDer<'static>, String> {
        let stream = self.connect(address).await.map_err(|error| error.to_string())?;
        let chain = stream.get_ref().1.peer_certificates().unwrap();
        Ok(chain[0].clone().into_owned())
    }
}
