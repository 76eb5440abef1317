//! What an error of hyper says of the request, and what an attempt says of its address.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::client::legacy;

use super::addresses::Sign;
use super::error::UpstreamError;
use super::order::Order;
use super::response::Response;
use crate::classify::{Classify, Fault};
use crate::tls::client::ConnectError;

/// The error of that type among `error` and what is behind it.
fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// The texts of `error` and what is behind it, on one line.
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        let behind = error.to_string();
        if !text.ends_with(&behind) {
            text = format!("{text}: {behind}");
        }
        next = error.source();
    }
    text
}

/// Whether the connection was closed and not a byte of an answer had come: of a kept one that is a close that crossed
/// the request.
pub(super) fn closed_before_answer(error: &legacy::Error) -> bool {
    let closed = |kind| {
        matches!(
            kind,
            io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::BrokenPipe
                | io::ErrorKind::UnexpectedEof
        )
    };
    unhandled(error)
        || find::<io::Error>(error).is_some_and(|error| closed(error.kind()))
        || find::<hyper::Error>(error)
            .is_some_and(|error| error.is_incomplete_message() || error.is_canceled() || error.is_closed())
}

/// Whether HTTP/2 says that nothing was done for the request: it was refused, or it was begun after the last one that a
/// server which goes away still handles (RFC 9113, 6.8 and 8.7).
fn unhandled(error: &legacy::Error) -> bool {
    find::<h2::Error>(error).is_some_and(|error| {
        error.is_remote() && (error.is_go_away() || error.reason() == Some(h2::Reason::REFUSED_STREAM))
    })
}

/// Our words for an error of hyper. `refused` is what the other side said if it refused the handshake.
pub(super) fn explain(
    upstream: &Arc<str>,
    address: SocketAddr,
    order: &Order,
    error: &legacy::Error,
    refused: Option<Arc<str>>,
) -> UpstreamError {
    let upstream = upstream.clone();
    if let Some(connect) = find::<ConnectError>(error) {
        return UpstreamError::Connect {
            upstream,
            // What rustls says is in the reason already.
            reason: match connect {
                ConnectError::Tls { .. } => connect.to_string(),
                other => chain(other),
            },
            retryable: connect.retryable(),
            code: connect.code(),
        };
    }
    if let Some(said) = refused {
        return UpstreamError::Connect {
            upstream,
            reason: format!("no TLS with {address}: {said}"),
            retryable: false,
            code: "upstream.tls",
        };
    }
    if error.is_connect() {
        return UpstreamError::Connect {
            upstream,
            reason: format!("no connection to {address}: {}", chain(error)),
            retryable: true,
            code: "upstream.connect",
        };
    }
    let inner = find::<hyper::Error>(error);
    if inner.is_some_and(hyper::Error::is_user) && !order.content.is_kept() {
        return UpstreamError::Request {
            upstream,
            reason: "its body failed while it was sent".to_owned(),
            // The head is written before the body is asked for anything.
            sent: true,
        };
    }
    UpstreamError::Broken {
        upstream,
        address,
        // hyper gives a request back, and calls it canceled, only before it has begun with it.
        sent: !(inner.is_some_and(hyper::Error::is_canceled) || unhandled(error)),
        reason: inner.map_or_else(|| chain(error), |inner| chain(inner)),
    }
}

/// What an attempt says of its address. A deadline says something only if the address had time for an answer: `fair`.
pub(super) fn sign(result: &Result<Response, UpstreamError>, took: Duration, fair: Duration) -> Sign {
    match result {
        Ok(_) => Sign::Works,
        Err(error) => match error {
            UpstreamError::Connect { .. } | UpstreamError::Broken { .. } => Sign::Fails,
            UpstreamError::Deadline { .. } if took >= fair => Sign::Fails,
            UpstreamError::TooLarge { .. } => Sign::Works,
            UpstreamError::Status { response, .. } => match error.fault() {
                Fault::Dependency if response.status().is_server_error() => Sign::Fails,
                Fault::Service => Sign::Works,
                // No room there now: to eject it would move the load to the others.
                _ => Sign::Nothing,
            },
            _ => Sign::Nothing,
        },
    }
}
