//! What a connection answers its requests with: the router, and around it what the listener itself has to say.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::routing::future::RouteFuture;
use http::header::{CONNECTION, HeaderValue};
use http::{Extensions, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use pin_project_lite::pin_project;
use tower::Service;

use super::connection::{Connection, Peer};
use super::exchange::Underway;
use super::server::Shared;
use super::tracked::Tracked;
use crate::lifecycle::State;

/// The service of one connection.
pub(super) struct Answers {
    /// This connection's own, so that no request counts a reference that all connections share.
    router: RefCell<Router>,
    connection: Arc<Connection>,
    shared: Arc<Shared>,
    peer: Peer,
    /// What every request finds in its extensions.
    extensions: Extensions,
}

impl Answers {
    pub(super) fn new(peer: Peer, router: Router, connection: Arc<Connection>, shared: Arc<Shared>) -> Self {
        let mut extensions = roomy();
        extensions.insert(ConnectInfo(peer.address));
        #[cfg(feature = "tls")]
        if let Some(identity) = &peer.identity {
            extensions.insert(identity.clone());
        }
        Self {
            router: RefCell::new(router),
            connection,
            shared,
            peer,
            extensions,
        }
    }

    fn begin(&self, request: &Request<Incoming>) -> (Underway, Last) {
        let multiplexed = request.version() == Version::HTTP_2;
        let mut known = self.connection.known();
        let begun = known.activity.request(multiplexed);
        let id = known.exchanges.begin(request.method().clone(), begun);
        let last = match multiplexed {
            true => Last::Never,
            false if known.activity.is_of_age(begun) => Last::Always,
            false => Last::WhenDraining,
        };
        (Underway::new(self.connection.clone(), id), last)
    }
}

/// Extensions whose copies have room for what is added to them on the way of a request; else each request's are moved
/// while it is on its way.
fn roomy() -> Extensions {
    #[derive(Clone)]
    struct Room<const PLACE: usize>;

    let mut extensions = Extensions::new();
    extensions.insert(Room::<0>);
    extensions.insert(Room::<1>);
    extensions.insert(Room::<2>);
    extensions.insert(Room::<3>);
    extensions.clear();
    extensions
}

/// When an answer says that it is the last of its connection: a client that keeps it would send its next request into a
/// listener that is about to close.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Last {
    /// Over HTTP/2 there is GOAWAY.
    Never,
    WhenDraining,
    /// The connection has its age.
    Always,
}

impl hyper::service::Service<Request<Incoming>> for Answers {
    type Response = Response<Tracked>;
    type Error = Infallible;
    type Future = Answer;

    fn call(&self, mut request: Request<Incoming>) -> Answer {
        let (underway, last) = self.begin(&request);
        let caller = self.shared.caller(&self.peer, request.headers());
        let extensions = request.extensions_mut();
        extensions.extend(self.extensions.clone());
        extensions.insert(caller);
        extensions.insert(underway.exchange());
        Answer {
            route: self.router.borrow_mut().call(request.map(Body::new)),
            underway: Some(underway),
            last,
        }
    }
}

pin_project! {
    /// One answer.
    pub(super) struct Answer {
        #[pin]
        route: RouteFuture<Infallible>,
        underway: Option<Underway>,
        last: Last,
    }
}

impl Future for Answer {
    type Output = Result<Response<Tracked>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = ready!(this.route.poll(cx))?;
        let Some(underway) = this.underway.take() else {
            return Poll::Pending;
        };
        let last = match this.last {
            Last::Never => false,
            Last::WhenDraining => underway.connection.lifecycle.state() >= State::Draining,
            Last::Always => true,
        };
        if last && response.status() != StatusCode::SWITCHING_PROTOCOLS {
            response
                .headers_mut()
                .insert(CONNECTION, HeaderValue::from_static("close"));
        }
        let multiplexed = *this.last == Last::Never;
        Poll::Ready(Ok(response.map(|body| Tracked::new(body, underway, multiplexed))))
    }
}
