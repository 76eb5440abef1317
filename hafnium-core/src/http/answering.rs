//! The answer to a request in its envelope: whatever the handler does, there is one, and it is whole.

use std::convert::Infallible;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::extract::{MatchedPath, Request};
use axum::response::{IntoResponse, Response};
use axum::routing::future::RouteFuture;
use futures_util::FutureExt;
use futures_util::future::CatchUnwind;
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use http::{Method, StatusCode, Version};
use http_body::Body as _;
use pin_project_lite::pin_project;
use tokio::task::futures::TaskLocalFuture;

use super::body::{Fault, Reading};
use super::compress::{Encoding, encode, prepare};
use super::envelope::Shared;
use super::exchange::Exchange;
use super::gate::Pass;
use super::request_id::{REQUEST_ID, RequestId};
use super::rules::Rules;
use crate::component::BoxFuture;
use crate::deadline::{Bounded, Deadline};
use crate::problem::Problem;

/// What is remembered of a request while the handler has it.
pub(super) struct Outline {
    id: RequestId,
    route: Option<MatchedPath>,
    /// No other request can come over its connection before it is answered.
    one_way: bool,
    /// Whether answers are compressed, and for this client how.
    encoding: Option<Option<Encoding>>,
    body_limit: u64,
}

impl Outline {
    /// Gives `request` its id, and its route to those who tell what is under way.
    pub(super) fn of(request: &mut Request, rules: &Rules) -> Self {
        let route = request.extensions().get::<MatchedPath>().cloned();
        if let (Some(exchange), Some(route)) = (request.extensions().get::<Exchange>(), &route) {
            exchange.set_route(route.clone());
        }
        let id = RequestId::of(request.headers());
        request.extensions_mut().insert(id.clone());
        Self {
            id,
            route,
            one_way: request.version() != Version::HTTP_2,
            encoding: (rules.compression && request.method() != Method::HEAD)
                .then(|| Encoding::accepted(request.headers())),
            body_limit: rules.body_limit,
        }
    }

    pub(super) fn id(&self) -> &RequestId {
        &self.id
    }

    fn route(&self) -> &str {
        self.route.as_ref().map_or("(no route)", MatchedPath::as_str)
    }

    /// The handler's answer, or why it has none that could be sent.
    fn judged(
        &self,
        handled: Handled,
        pass: &Pass<Arc<Shared>>,
        reading: Option<&Reading>,
    ) -> Result<Response, Problem> {
        let id = self.id.as_str();
        match handled {
            // What the client did wrong is said by its status, whatever the handler made of the error it got. It may have
            // worked on what came before.
            Ok(Ok(Ok(response))) if is_error(response.status()) => match reading.and_then(Reading::fault) {
                Some(Fault::Silent) => Err(silent()),
                Some(Fault::TooLarge) => Err(Problem::body_too_large(self.body_limit).unknown()),
                None => Ok(response),
            },
            Ok(Ok(Ok(response))) => Ok(response),
            Ok(Err(_)) => {
                pass.keeper().panics.add(1);
                tracing::error!(route = self.route(), request_id = id, "handler panicked");
                Err(Problem::of(StatusCode::INTERNAL_SERVER_ERROR).code("panic"))
            }
            Err(_) if reading.is_some_and(Reading::is_waiting) => Err(silent()),
            Err(exceeded) => {
                tracing::warn!(route = self.route(), request_id = id, waited = ?exceeded.waited, "request timed out");
                Err(late())
            }
        }
    }

    /// An answer that says what it has to, before it is compressed.
    fn filled(&self, judged: Result<Response, Problem>) -> Response {
        let response = match judged {
            Ok(response) => response,
            Err(problem) => {
                let mut response = problem.into_response();
                // What is left of the body on this connection is not worth reading.
                if self.one_way && response.status() == StatusCode::REQUEST_TIMEOUT {
                    response
                        .headers_mut()
                        .insert(CONNECTION, HeaderValue::from_static("close"));
                }
                response
            }
        };
        match is_bare_error(&response) {
            true => with_body(&response),
            false => response,
        }
    }

    fn named(&self, mut response: Response) -> Response {
        response.headers_mut().insert(REQUEST_ID, self.id.value());
        response
    }
}

/// What became of the handler: its answer, a panic, or the end of its time.
type Handled = <Handler as Future>::Output;

type Caught = CatchUnwind<AssertUnwindSafe<RouteFuture<Infallible>>>;
type Handler = Bounded<TaskLocalFuture<Deadline, TaskLocalFuture<RequestId, Caught>>>;

pin_project! {
    /// A handler that has its turn. It ends before it gives back its place.
    pub(super) struct Running {
        #[pin]
        handler: Handler,
        pass: Pass<Arc<Shared>>,
        reading: Option<Arc<Reading>>,
    }
}

impl Running {
    pub(super) fn new(
        answer: RouteFuture<Infallible>,
        id: RequestId,
        deadline: Deadline,
        pass: Pass<Arc<Shared>>,
        reading: Option<Arc<Reading>>,
    ) -> Self {
        let caught = AssertUnwindSafe(answer).catch_unwind();
        let served = deadline.scoped(id.scoped(caught));
        Self {
            handler: deadline.bounded("the handler", served),
            pass,
            reading,
        }
    }
}

pin_project! {
    /// The answer to one request. It never fails.
    #[must_use = "futures do nothing unless they are polled"]
    pub struct Answering {
        outline: Outline,
        #[pin]
        step: Step,
    }
}

pin_project! {
    #[project = StepOf]
    enum Step {
        /// It will not be handled.
        Refused { problem: Option<Problem> },
        /// It waits for its turn.
        Queued { turn: BoxFuture<'static, Result<Running, Problem>> },
        Running {
            #[pin]
            running: Running,
        },
        Encoding { encoded: BoxFuture<'static, Response> },
    }
}

impl Answering {
    fn new(outline: Outline, step: Step) -> Self {
        Self { outline, step }
    }

    pub(super) fn refused(outline: Outline, problem: Problem) -> Self {
        let problem = Some(problem);
        Self::new(outline, Step::Refused { problem })
    }

    pub(super) fn queued(outline: Outline, turn: BoxFuture<'static, Result<Running, Problem>>) -> Self {
        Self::new(outline, Step::Queued { turn })
    }

    pub(super) fn running(outline: Outline, running: Running) -> Self {
        Self::new(outline, Step::Running { running })
    }
}

impl std::fmt::Debug for Answering {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Answering")
    }
}

impl Future for Answering {
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let judged = match this.step.as_mut().project() {
                StepOf::Refused { problem } => Err(problem.take().unwrap_or_else(late)),
                StepOf::Queued { turn } => match ready!(turn.as_mut().poll(cx)) {
                    Ok(running) => {
                        this.step.set(Step::Running { running });
                        continue;
                    }
                    Err(problem) => Err(problem),
                },
                StepOf::Running { running } => {
                    let running = running.project();
                    let handled = ready!(running.handler.poll(cx));
                    this.outline
                        .judged(handled, running.pass, running.reading.as_deref())
                }
                StepOf::Encoding { encoded } => {
                    let response = ready!(encoded.as_mut().poll(cx));
                    return Poll::Ready(Ok(this.outline.named(response)));
                }
            };
            // Whatever the handler still holds goes, and its place is free: neither the encoding of the answer nor its
            // sending takes one.
            this.step.set(Step::Refused { problem: None });
            let mut response = this.outline.filled(judged);
            let encoding = this
                .outline
                .encoding
                .and_then(|asked| prepare(&mut response, asked));
            let Some(encoding) = encoding else {
                return Poll::Ready(Ok(this.outline.named(response)));
            };
            let encoded = encode(response, encoding);
            this.step.set(Step::Encoding { encoded });
        }
    }
}

fn is_error(status: StatusCode) -> bool {
    status.is_client_error() || status.is_server_error()
}

pub(super) fn late() -> Problem {
    Problem::of(StatusCode::GATEWAY_TIMEOUT).code("deadline_exceeded")
}

fn silent() -> Problem {
    Problem::of(StatusCode::REQUEST_TIMEOUT)
        .code("body_timeout")
        .detail("the body did not arrive in time")
        .unknown()
}

fn is_bare_error(response: &Response) -> bool {
    is_error(response.status())
        && response.body().size_hint().exact() == Some(0)
        && !response.headers().contains_key(CONTENT_TYPE)
}

/// A bare error with a body. Its headers say more, such as `Allow` of a 405.
fn with_body(bare: &Response) -> Response {
    let mut filled = Problem::of(bare.status()).into_response();
    for (name, value) in bare.headers() {
        if name != CONTENT_LENGTH {
            filled.headers_mut().append(name, value.clone());
        }
    }
    filled
}
