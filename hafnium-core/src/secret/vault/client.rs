//! One request to Vault and its answer: bounded in time and size, redirects followed, an outage asked again where
//! asking twice does no harm.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, LOCATION, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use secrecy::zeroize::Zeroize;
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::answer::{self, Envelope, Failure};
use super::life::Jitter;
use super::settings::{VaultError, VaultSettings};
use super::transport::{connector, explain};
use crate::deadline::Deadline;
use crate::tls::client::Connector;

/// Far above any document that Vault stores (1 MiB by default at the server), far below what would hurt.
const ANSWER_LIMIT: usize = 2 << 20;
/// From a standby to the active node is one; a load balancer and a move of the leader on the way are two more.
const REDIRECTS: usize = 4;
/// How often a request that may be repeated is sent at most.
const ATTEMPTS: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// A connection pool to one Vault. Cheap to clone.
#[derive(Clone)]
pub(super) struct Client {
    http: legacy::Client<Connector, Full<Bytes>>,
    base: Url,
    namespace: Option<HeaderValue>,
    timeout: Duration,
}

/// A request.
pub(super) struct Ask<'a> {
    method: Method,
    path: Vec<&'a str>,
    token: Option<&'a SecretString>,
    body: Option<serde_json::Value>,
    repeatable: bool,
}

impl<'a> Ask<'a> {
    /// Reads what lies at `path`, whose parts are taken as they are. May be repeated.
    pub(super) fn get(path: impl IntoIterator<Item = &'a str>) -> Self {
        Self {
            method: Method::GET,
            path: path.into_iter().collect(),
            token: None,
            body: None,
            repeatable: true,
        }
    }

    /// Reads what makes something new each time: sent once.
    pub(super) fn get_new(path: impl IntoIterator<Item = &'a str>) -> Self {
        Self {
            repeatable: false,
            ..Self::get(path)
        }
    }

    /// Sends `body`, once.
    pub(super) fn post(path: impl IntoIterator<Item = &'a str>, body: serde_json::Value) -> Self {
        Self {
            method: Method::POST,
            body: Some(body),
            repeatable: false,
            ..Self::get(path)
        }
    }

    /// The same request, which does no harm when it is sent again.
    pub(super) fn repeatable(self) -> Self {
        Self {
            repeatable: true,
            ..self
        }
    }

    pub(super) fn token(self, token: &'a SecretString) -> Self {
        Self {
            token: Some(token),
            ..self
        }
    }
}

/// Why one attempt gave no answer of Vault's.
enum Broken {
    /// Nothing was sent.
    NotSent(String),
    /// It may have been done.
    Lost(String),
}

impl Client {
    /// Where the server is.
    pub(super) fn base(settings: &VaultSettings) -> Result<Url, VaultError> {
        let address = settings.address.as_deref().unwrap_or_default();
        let wrong = |reason: &str| VaultError::new("vault.address", reason);
        let base = Url::parse(address)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .ok_or_else(|| wrong("expected a URL such as https://vault.example:8200"))?;
        if !base.username().is_empty() || base.password().is_some() {
            return Err(wrong(
                "a login in the URL is not Vault's way: set token, approle or kubernetes",
            ));
        }
        if base.query().is_some() || base.fragment().is_some() {
            return Err(wrong("nothing may follow the path"));
        }
        Ok(base)
    }

    pub(super) fn new(settings: &VaultSettings) -> Result<Self, VaultError> {
        let base = Self::base(settings)?;
        let namespace = settings.namespace.as_deref().map(HeaderValue::from_str);
        Ok(Self {
            http: legacy::Client::builder(TokioExecutor::new())
                .pool_timer(TokioTimer::new())
                // A leader that stepped down must not be asked through an old connection for long.
                .pool_idle_timeout(Duration::from_secs(60))
                .pool_max_idle_per_host(4)
                .build(connector(settings)?),
            base,
            namespace: namespace
                .transpose()
                .map_err(|_| VaultError::new("vault.namespace", "holds a character that a header can't"))?,
            timeout: settings.timeout.get(),
        })
    }

    /// Asks, within the timeout of the settings or by `deadline`, whichever is nearer.
    ///
    /// Cancel-safety: a dropped call may have been answered.
    pub(super) async fn ask(&self, ask: Ask<'_>, deadline: Deadline) -> Result<Envelope, Failure> {
        let deadline = deadline.min(Deadline::after(self.timeout));
        let mut attempt = 0;
        loop {
            attempt += 1;
            let failure = match deadline.bound("Vault's answer", self.attempt(&ask)).await {
                Err(late) => return Err(Failure::Unavailable(late.to_string())),
                Ok(Ok(envelope)) => return Ok(envelope),
                Ok(Err(failed)) => failed,
            };
            let again = attempt < ATTEMPTS && failure.again(&ask);
            let failure = failure.into();
            let pause = pause(attempt, &failure);
            if !again || pause >= deadline.remaining() {
                return Err(failure);
            }
            tokio::time::sleep(pause).await;
        }
    }

    async fn attempt(&self, ask: &Ask<'_>) -> Result<Envelope, Attempt> {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push("v1").extend(&ask.path);
        }
        let mut method = ask.method.clone();
        for _ in 0..=REDIRECTS {
            let response = self.send(&url, &method, ask).await.map_err(Attempt::Broken)?;
            match target(&url, &method, &response) {
                Some(Ok(next)) => {
                    if response.status() == StatusCode::SEE_OTHER {
                        method = Method::GET;
                    }
                    url = next;
                }
                Some(Err(reason)) => return Err(Attempt::Answered(Failure::Unavailable(reason))),
                None => return read(response).await,
            }
        }
        let reason = format!("it redirected more than {REDIRECTS} times");
        Err(Attempt::Answered(Failure::Unavailable(reason)))
    }

    async fn send(&self, url: &Url, method: &Method, ask: &Ask<'_>) -> Result<Response<Incoming>, Broken> {
        let request = self
            .request(url, method, ask)
            .map_err(|_| Broken::NotSent("the request can't be written as HTTP".to_owned()))?;
        self.http.request(request).await.map_err(|error| {
            let said = explain(&error);
            if error.is_connect() {
                Broken::NotSent(format!("no connection: {said}"))
            } else {
                Broken::Lost(format!("the connection was lost: {said}"))
            }
        })
    }

    fn request(
        &self,
        url: &Url,
        method: &Method,
        ask: &Ask<'_>,
    ) -> Result<Request<Full<Bytes>>, http::Error> {
        const TOKEN: HeaderName = HeaderName::from_static("x-vault-token");
        const NAMESPACE: HeaderName = HeaderName::from_static("x-vault-namespace");
        // An agent in front of Vault may insist on it, as a guard against requests made by a browser.
        const OURS: HeaderName = HeaderName::from_static("x-vault-request");
        let mut request = Request::builder()
            .method(method)
            .uri(url.as_str())
            .header(OURS, "true");
        if let Some(namespace) = &self.namespace {
            request = request.header(NAMESPACE, namespace);
        }
        if let Some(token) = ask.token {
            let mut token = HeaderValue::from_str(token.expose_secret())?;
            token.set_sensitive(true);
            request = request.header(TOKEN, token);
        }
        match &ask.body {
            Some(body) if method != Method::GET => request
                .header(CONTENT_TYPE, "application/json")
                .body(Full::new(Bytes::from(body.to_string()))),
            _ => request.body(Full::default()),
        }
    }
}

/// Where the answer sends us. Never from TLS to plain text: the token goes along.
fn target(url: &Url, method: &Method, response: &Response<Incoming>) -> Option<Result<Url, String>> {
    let follows = match response.status().as_u16() {
        307 | 308 => true,
        301..=303 => method == Method::GET,
        _ => false,
    };
    if !follows {
        return None;
    }
    let location = response.headers().get(LOCATION);
    let next = location
        .and_then(|location| location.to_str().ok())
        .and_then(|location| url.join(location).ok())
        .filter(|next| matches!(next.scheme(), "http" | "https") && next.has_host());
    Some(match next {
        None => Err("it redirected to nowhere".to_owned()),
        Some(next) if url.scheme() == "https" && next.scheme() == "http" => {
            Err("it redirected from https to http, where the token would be readable".to_owned())
        }
        Some(next) => Ok(next),
    })
}

async fn read(response: Response<Incoming>) -> Result<Envelope, Attempt> {
    let (parts, body) = response.into_parts();
    let mut text = collect(body).await?;
    let answer = match parts.status {
        StatusCode::OK | StatusCode::NO_CONTENT => answer::envelope(&text),
        status => Err(answer::failure(status, retry_after(&parts.headers), &text)),
    };
    text.zeroize();
    answer.map_err(Attempt::Answered)
}

/// The whole body, in a buffer that is wiped by the caller.
async fn collect(mut body: Incoming) -> Result<Vec<u8>, Attempt> {
    let mut text = Vec::with_capacity(4096);
    while let Some(frame) = body.frame().await {
        let cut = |error| Attempt::Broken(Broken::Lost(format!("its answer was cut: {}", explain(&error))));
        let Ok(data) = frame.map_err(cut)?.into_data() else {
            continue;
        };
        if text.len() + data.len() > ANSWER_LIMIT {
            text.zeroize();
            let reason = format!("its answer is longer than {} MiB", ANSWER_LIMIT >> 20);
            return Err(Attempt::Answered(Failure::Unavailable(reason)));
        }
        if text.capacity() - text.len() < data.len() {
            // Grown by hand: a buffer that grows by itself leaves copies of the secret behind.
            let mut larger = Vec::with_capacity((text.capacity() * 2).max(text.len() + data.len()));
            larger.extend_from_slice(&text);
            text.zeroize();
            text = larger;
        }
        text.extend_from_slice(&data);
    }
    Ok(text)
}

/// Seconds only: what Vault and its load balancers write.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?;
    text.trim().parse().ok().map(Duration::from_secs)
}

enum Attempt {
    Broken(Broken),
    Answered(Failure),
}

impl Attempt {
    /// Whether the request may be sent again. What makes something new is sent again only when it certainly was not
    /// done: Vault answers a quota and a seal before it does anything.
    fn again(&self, ask: &Ask<'_>) -> bool {
        match self {
            Self::Broken(Broken::NotSent(_)) => true,
            Self::Broken(Broken::Lost(_)) => ask.repeatable,
            Self::Answered(failure) => failure.is_outage() && ask.repeatable,
        }
    }
}

impl From<Attempt> for Failure {
    fn from(attempt: Attempt) -> Self {
        match attempt {
            Attempt::Answered(failure) => failure,
            Attempt::Broken(Broken::NotSent(reason) | Broken::Lost(reason)) => Self::Unavailable(reason),
        }
    }
}

fn pause(attempt: u32, failure: &Failure) -> Duration {
    let own = Jitter::random().pause(FIRST_PAUSE * 2u32.pow(attempt.min(8)));
    own.max(failure.pause().unwrap_or_default())
}
