//! A client that counts what it gets, honours `Connection: close` and trusts nothing it is not told.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::net::SocketAddr;

use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

pub(crate) type Http = Client<HttpConnector, Full<Bytes>>;

pub(crate) fn http1() -> Http {
    Client::builder(TokioExecutor::new()).build_http()
}

pub(crate) fn http2() -> Http {
    Client::builder(TokioExecutor::new())
        .http2_only(true)
        .build_http()
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// The body, which must be a problem of that status.
    pub(crate) fn problem(&self, status: u16) -> serde_json::Value {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        assert_eq!(self.header("content-type"), "application/problem+json");
        let body = self.json();
        assert_eq!(body["status"], status);
        body
    }
}

pub(crate) async fn send(client: &Http, request: Request<Full<Bytes>>) -> Result<Answer, String> {
    let response = client
        .request(request)
        .await
        .map_err(|error| format!("{error:?}"))?;
    let (parts, body) = response.into_parts();
    let body = body
        .collect()
        .await
        .map_err(|error| format!("{error:?}"))?
        .to_bytes();
    Ok(Answer {
        status: parts.status,
        headers: parts.headers,
        body: String::from_utf8(body.to_vec()).unwrap(),
    })
}

pub(crate) async fn get(client: &Http, address: SocketAddr, path: &str) -> Result<Answer, String> {
    get_as(client, address, path, "*/*").await
}

pub(crate) async fn get_as(
    client: &Http,
    address: SocketAddr,
    path: &str,
    accept: &str,
) -> Result<Answer, String> {
    let request = Request::builder()
        .uri(format!("http://{address}{path}"))
        .header("accept", accept)
        .body(Full::default())
        .unwrap();
    send(client, request).await
}

pub(crate) async fn post(
    client: &Http,
    address: SocketAddr,
    path: &str,
    content_type: &str,
    body: impl Into<Bytes>,
) -> Answer {
    let request = Request::builder()
        .method(Method::POST)
        .uri(format!("http://{address}{path}"))
        .header("content-type", content_type)
        .body(Full::new(body.into()))
        .unwrap();
    send(client, request).await.unwrap()
}
