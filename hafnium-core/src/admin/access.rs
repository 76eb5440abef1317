//! Who may see what is sensitive, and change anything: a process on the same host, or the holder of the token.
//!
//! A caller is taken for local only if nothing suggests that it speaks for someone else: not when a proxy's headers are
//! there (they never make a caller local, they only make it remote), and not when a browser was led here under
//! another name than this host's own (DNS rebinding).

use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::header::{AUTHORIZATION, FORWARDED, HOST, HeaderMap, HeaderValue, VIA, WWW_AUTHENTICATE};
use http::{StatusCode, Uri};
use sha2::{Digest, Sha256};

use super::answer::answer;
use crate::secret::Secret;

/// What may go by loopback, or by the token where one is configured.
#[derive(Clone, Default)]
pub(super) struct Access {
    token: Option<Secret>,
}

/// Why a caller is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    /// A token would let it in.
    TokenNeeded,
    /// The token is not the right one.
    TokenWrong,
    /// There is no token, and it is not local.
    NotLocal,
}

impl Access {
    pub(super) fn new(token: Option<Secret>) -> Self {
        Self { token }
    }

    fn admit(&self, peer: Option<IpAddr>, uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
        if let Some(given) = headers.get(AUTHORIZATION) {
            let given = given.as_bytes();
            let token = match given.split_at_checked(7) {
                Some((scheme, token)) if scheme.eq_ignore_ascii_case(b"bearer ") => token,
                _ => b"",
            };
            return match self.is_token(token) {
                true => Ok(()),
                false => Err(Refusal::TokenWrong),
            };
        }
        let local = peer.is_some_and(|peer| peer.to_canonical().is_loopback());
        if local && !speaks_for_another(headers) && names_this_host(uri, headers) {
            return Ok(());
        }
        match &self.token {
            Some(_) => Err(Refusal::TokenNeeded),
            None => Err(Refusal::NotLocal),
        }
    }

    /// In a time that says nothing of the token: digests are compared, all of their bytes. An empty token lets nobody
    /// in.
    fn is_token(&self, given: &[u8]) -> bool {
        let Some(token) = &self.token else { return false };
        let token = token.current();
        let (ours, theirs) = (Sha256::digest(token.expose()), Sha256::digest(given));
        let differing = ours.iter().zip(&theirs).fold(0, |all, (a, b)| all | (a ^ b));
        std::hint::black_box(differing) == 0 && !token.expose().is_empty()
    }
}

/// A proxy passed the request on: its own address says nothing of the caller.
fn speaks_for_another(headers: &HeaderMap) -> bool {
    let telling = ["x-forwarded-", "x-envoy-", "x-original-forwarded-"];
    headers.contains_key(FORWARDED)
        || headers.contains_key(VIA)
        || headers.contains_key("x-real-ip")
        || headers.contains_key("true-client-ip")
        || headers
            .keys()
            .any(|name| telling.iter().any(|prefix| name.as_str().starts_with(prefix)))
}

/// The request is for `localhost` or an address. A page of another site that makes its own name resolve to this host
/// can't send anything else than that name.
fn names_this_host(uri: &Uri, headers: &HeaderMap) -> bool {
    let host = match headers.get(HOST) {
        Some(host) => host.to_str().ok().and_then(|host| host.parse().ok()),
        None => uri.authority().cloned(),
    };
    let host: Option<http::uri::Authority> = host;
    // No browser leaves it out.
    let Some(host) = host else {
        return !headers.contains_key(HOST);
    };
    let host = host.host().trim_matches(['[', ']']);
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok()
}

/// Lets only those through who may.
pub(super) async fn guard(State(access): State<Access>, request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let peer = peer.map(|peer| peer.0.ip());
    match access.admit(peer, request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => {
            tracing::warn!(
                ?peer,
                path = request.uri().path(),
                ?refusal,
                "refused on the operator listener"
            );
            refusal.answer()
        }
    }
}

impl Refusal {
    fn answer(self) -> Response {
        let (status, text) = match self {
            Self::TokenNeeded => (
                StatusCode::UNAUTHORIZED,
                "only for callers on the same host, or with the header \"Authorization: Bearer <admin.token>\"\n",
            ),
            Self::TokenWrong => (
                StatusCode::UNAUTHORIZED,
                "this is not the token of this service (admin.token)\n",
            ),
            Self::NotLocal => (
                StatusCode::FORBIDDEN,
                "only for callers on the same host; set admin.token to let others in with \"Authorization: Bearer <token>\"\n",
            ),
        };
        let mut response = answer(status, "text/plain; charset=utf-8", text.to_owned());
        if status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Bearer realm=\"admin\"");
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pairs = pairs.iter();
        pairs
            .map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap()))
            .collect()
    }

    fn admit(token: Option<&str>, peer: &str, pairs: &[(&'static str, &str)]) -> Result<(), Refusal> {
        let access = Access::new(token.map(Secret::new));
        let peer = peer.parse().ok();
        access.admit(peer, &Uri::from_static("/config"), &headers(pairs))
    }

    const HERE: (&str, &str) = ("host", "localhost:8080");

    #[test]
    fn a_local_caller_is_let_in_and_a_remote_one_only_with_the_token() {
        for local in ["127.0.0.1", "127.8.0.1", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(admit(None, local, &[HERE]), Ok(()), "{local}");
            assert_eq!(admit(Some("t0ken"), local, &[HERE]), Ok(()), "{local}");
        }
        for remote in ["10.0.0.7", "::ffff:10.0.0.7", "fe80::1", "not known"] {
            assert_eq!(admit(None, remote, &[HERE]), Err(Refusal::NotLocal), "{remote}");
            assert_eq!(admit(Some("t0ken"), remote, &[HERE]), Err(Refusal::TokenNeeded));
            for right in ["Bearer t0ken", "bearer t0ken"] {
                assert_eq!(admit(Some("t0ken"), remote, &[("authorization", right)]), Ok(()));
            }
        }
    }

    #[test]
    fn a_wrong_token_is_refused_also_from_loopback_and_an_empty_one_is_no_token() {
        for wrong in [
            "Bearer other",
            "Bearer t0ken ",
            "Bearer ",
            "Bearer",
            "t0ken",
            "Basic t0ken",
        ] {
            let given = [("authorization", wrong), HERE];
            assert_eq!(
                admit(Some("t0ken"), "127.0.0.1", &given),
                Err(Refusal::TokenWrong),
                "{wrong:?}"
            );
        }
        assert_eq!(
            admit(Some(""), "10.0.0.7", &[("authorization", "Bearer ")]),
            Err(Refusal::TokenWrong)
        );
        assert_eq!(
            admit(None, "10.0.0.7", &[("authorization", "Bearer ")]),
            Err(Refusal::TokenWrong)
        );
    }

    #[test]
    fn no_header_makes_a_caller_local_and_those_of_a_proxy_make_it_remote() {
        for (name, value) in [
            ("x-forwarded-for", "127.0.0.1"),
            ("forwarded", "for=127.0.0.1"),
            ("x-real-ip", "127.0.0.1"),
            ("via", "1.1 proxy"),
            ("x-forwarded-proto", "http"),
            ("x-envoy-external-address", "127.0.0.1"),
            ("true-client-ip", "127.0.0.1"),
        ] {
            for peer in ["10.0.0.7", "127.0.0.1"] {
                let result = admit(None, peer, &[HERE, (name, value)]);
                assert_eq!(result, Err(Refusal::NotLocal), "{name} from {peer}");
            }
        }
    }

    #[test]
    fn a_browser_that_another_name_led_here_is_not_let_in() {
        for host in [
            "rebound.example",
            "localhost.rebound.example:8080",
            "service:8080",
            "",
            "a b",
        ] {
            let result = admit(None, "127.0.0.1", &[("host", host)]);
            assert_eq!(result, Err(Refusal::NotLocal), "{host:?}");
        }
        for host in ["LOCALHOST", "127.0.0.1:8080", "[::1]:8080", "10.0.0.7"] {
            assert_eq!(admit(None, "127.0.0.1", &[("host", host)]), Ok(()), "{host}");
        }
        assert_eq!(admit(None, "127.0.0.1", &[]), Ok(()));
        // HTTP/2 has it in the request's target.
        let elsewhere = Uri::from_static("http://rebound.example/config");
        let result = Access::default().admit("127.0.0.1".parse().ok(), &elsewhere, &HeaderMap::new());
        assert_eq!(result, Err(Refusal::NotLocal));
    }
}
