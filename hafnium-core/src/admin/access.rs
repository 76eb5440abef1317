//! Who may see what is sensitive, and change anything: a process on the same host, or the holder of the token.
//!
//! A caller is taken for local only if nothing suggests that it speaks for someone else: not when the headers of a proxy
//! or of a mesh's sidecar are there (they never make a caller local, they only make it remote), and not when it asks for
//! anything but this host's own loopback: a browser that was led here under another name (DNS rebinding), or a sidecar
//! that hands on over loopback what was sent to the pod's address or the service's name.
//!
//! A proxy that leaves no mark and rewrites the host can't be told from a local caller. Where there is one, loopback is
//! to count for nothing: `admin.require_token`.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::header::{AUTHORIZATION, FORWARDED, HOST, HeaderMap, HeaderValue, VIA, WWW_AUTHENTICATE};
use http::uri::Authority;
use http::{StatusCode, Uri};
use sha2::{Digest, Sha256};

use super::answer::answer;
use super::settings::AdminSettings;
use crate::secret::Secret;

/// What may go by loopback, or by the token where one is configured.
#[derive(Clone, Default)]
pub(super) struct Access {
    token: Option<Secret>,
    /// Being local is not enough.
    token_only: bool,
}

/// Why a caller is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    /// A token would let it in.
    TokenNeeded,
    /// Only a token would, wherever it comes from.
    OnlyToken,
    /// The token is not the right one.
    TokenWrong,
    /// There is no token, and it is not local.
    NotLocal,
}

impl Access {
    pub(super) fn new(settings: &AdminSettings) -> Self {
        Self {
            token: settings.token.clone(),
            token_only: settings.require_token,
        }
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
        if self.token_only {
            return Err(Refusal::OnlyToken);
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

/// What begins the headers of proxies: Envoy (Istio), Linkerd, load balancers of Amazon, Azure and Cloudflare, nginx.
const TELLING_PREFIXES: [&str; 7] = [
    "x-forwarded-",
    "x-original-",
    "x-envoy-",
    "l5d-",
    "x-amzn-",
    "x-azure-",
    "cf-",
];

/// Headers that proxies alone set, besides.
const TELLING: [&str; 6] = [
    "x-real-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "true-client-ip",
    "fastly-client-ip",
    "cdn-loop",
];

/// A proxy passed the request on: its own address says nothing of the caller.
fn speaks_for_another(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| {
        let text = name.as_str();
        name == FORWARDED
            || name == VIA
            || TELLING.contains(&text)
            || TELLING_PREFIXES.iter().any(|prefix| text.starts_with(prefix))
    })
}

/// The request is for `localhost` or an address of loopback, wherever it says so. A page of another site that makes its
/// own name resolve to this host can't send anything else than that name, and what a sidecar took on the pod's address is
/// for that address. No browser and no mesh leaves it out.
fn names_this_host(uri: &Uri, headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(HOST).iter().map(|host| {
        let host = host.to_str().ok();
        host.and_then(|host| host.parse::<Authority>().ok())
    });
    hosts.all(|host| host.as_ref().is_some_and(is_loopback)) && uri.authority().is_none_or(is_loopback)
}

fn is_loopback(host: &Authority) -> bool {
    let host = host.host().trim_matches(['[', ']']);
    let address = host.parse::<IpAddr>().map(|address| address.to_canonical());
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
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
            Self::OnlyToken => (
                StatusCode::UNAUTHORIZED,
                "only with the header \"Authorization: Bearer <admin.token>\", wherever a caller is (admin.require_token)\n",
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
        let access = access(token, false);
        let peer = peer.parse().ok();
        access.admit(peer, &Uri::from_static("/config"), &headers(pairs))
    }

    fn access(token: Option<&str>, require_token: bool) -> Access {
        Access::new(&AdminSettings {
            token: token.map(Secret::new),
            require_token,
            ..AdminSettings::default()
        })
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
            ("x-client-ip", "127.0.0.1"),
            ("cf-connecting-ip", "127.0.0.1"),
            ("x-amzn-trace-id", "Root=1-67891233-abcdef012345678912345678"),
            ("cdn-loop", "edge"),
            // What Linkerd's sidecar adds.
            ("l5d-dst-canonical", "risk-engine.default.svc.cluster.local:8080"),
            (
                "l5d-client-id",
                "default.default.serviceaccount.identity.linkerd.cluster.local",
            ),
        ] {
            for peer in ["10.0.0.7", "127.0.0.1"] {
                let result = admit(None, peer, &[HERE, (name, value)]);
                assert_eq!(result, Err(Refusal::NotLocal), "{name} from {peer}");
            }
        }
    }

    #[test]
    fn what_is_sent_to_another_name_or_address_than_loopback_is_not_local() {
        for host in [
            "rebound.example",
            "localhost.rebound.example:8080",
            "service:8080",
            // A pod's own, which a sidecar hands on over loopback.
            "10.0.0.7",
            "10.0.0.7:8080",
            "[fd00::7]:8080",
            "0.0.0.0:8080",
            "",
            "a b",
        ] {
            let result = admit(None, "127.0.0.1", &[("host", host)]);
            assert_eq!(result, Err(Refusal::NotLocal), "{host:?}");
        }
        for host in [
            "LOCALHOST",
            "127.0.0.1:8080",
            "127.8.0.1",
            "[::1]:8080",
            "[::ffff:127.0.0.1]",
        ] {
            assert_eq!(admit(None, "127.0.0.1", &[("host", host)]), Ok(()), "{host}");
        }
        assert_eq!(admit(None, "127.0.0.1", &[]), Ok(()));
        // HTTP/2 has it in the request's target.
        let elsewhere = Uri::from_static("http://rebound.example/config");
        for given in [&[] as &[_], &[HERE]] {
            let result = Access::default().admit("127.0.0.1".parse().ok(), &elsewhere, &headers(given));
            assert_eq!(result, Err(Refusal::NotLocal));
        }
        let here = Uri::from_static("http://localhost:8080/config");
        let result = Access::default().admit("127.0.0.1".parse().ok(), &here, &HeaderMap::new());
        assert_eq!(result, Ok(()));
    }

    #[test]
    fn where_a_token_is_required_loopback_alone_is_not_enough() {
        let here = |access: Access, pairs: &[(&'static str, &str)]| {
            let peer = "127.0.0.1".parse().ok();
            access.admit(peer, &Uri::from_static("/config"), &headers(pairs))
        };
        let right = ("authorization", "Bearer t0ken");
        assert_eq!(
            here(access(Some("t0ken"), true), &[HERE]),
            Err(Refusal::OnlyToken)
        );
        assert_eq!(here(access(Some("t0ken"), true), &[HERE, right]), Ok(()));
        assert_eq!(here(access(None, true), &[HERE]), Err(Refusal::OnlyToken));
        assert_eq!(here(access(None, true), &[HERE, right]), Err(Refusal::TokenWrong));
    }
}
