//! A service that is not built on Hafnium and does by hand what a platform expects, but for one fault that `FAULT`
//! chooses: what turns the rows of the conformance kit red. Without a fault it is the control.

mod operator;
mod spans;

use std::future::IntoFuture;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hafnium::axum::Router;
use hafnium::axum::http::{HeaderMap, HeaderValue, header};
use hafnium::axum::response::Response;
use hafnium::axum::routing::get;
use hafnium::axum::{self, middleware};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use operator::Operator;
use spans::Spans;

const DRAIN: Duration = Duration::from_secs(2);

#[tokio::main]
#[allow(clippy::print_stderr, reason = "a supervisor's person reads it there")]
async fn main() -> ExitCode {
    let fault = std::env::var("FAULT").unwrap_or_default();
    match checked() {
        Ok(ports) => run(fault, ports).await.unwrap_or_else(|error| panic!("{error}")),
        Err((code, reason)) => {
            match fault.as_str() {
                "unnamed-reason" => eprintln!("it can't run"),
                _ => eprintln!("{reason}"),
            }
            ExitCode::from(if fault == "wrong-exit-code" { 1 } else { code })
        }
    }
}

/// The ports of both listeners, or why it can't run.
fn checked() -> Result<[u16; 2], (u8, String)> {
    if let Some(argument) = std::env::args().nth(1) {
        return Err((2, format!("unexpected argument {argument}")));
    }
    let port = |variable: &str| {
        let port = std::env::var(variable).ok().and_then(|port| port.parse().ok());
        port.ok_or_else(|| (78, format!("{variable} is not a port")))
    };
    let ports = [port("HAFNIUM__HTTP__PORT")?, port("HAFNIUM__ADMIN__PORT")?];
    if !operator::dependency_is_there() {
        return Err((69, "file.marker: it is not there".to_owned()));
    }
    Ok(ports)
}

async fn run(fault: String, [port, operator_port]: [u16; 2]) -> std::io::Result<ExitCode> {
    let mut terminate = signal(SignalKind::terminate())?;
    // Files are read when they are needed, so that there is nothing to do for it but to live on.
    let _hang_up = signal(SignalKind::hangup())?;
    let draining = Arc::new(AtomicBool::new(false));
    let (stop, mut stopped) = watch::channel(false);

    let drains = draining.clone();
    let last = middleware::map_response(move |mut response: Response| {
        if drains.load(Ordering::Relaxed) {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
        }
        std::future::ready(response)
    });
    let spans = Spans::default();
    let seen = spans.clone();
    let hello = async move |headers: HeaderMap| {
        seen.note(&headers);
        "hello\n"
    };
    let slow = async || {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        "done\n"
    };
    let application = Router::new()
        .route("/", get(hello))
        .route("/slow", get(slow))
        .layer(last);
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    let served = axum::serve(listener, application);
    let served = tokio::spawn(
        served
            .with_graceful_shutdown(async move { drop(stopped.wait_for(|stopped| *stopped).await) })
            .into_future(),
    );

    let operator = Operator::new(&fault, draining.clone()).routes();
    let listener = TcpListener::bind(("127.0.0.1", operator_port)).await?;
    tokio::spawn(axum::serve(listener, operator).into_future());

    loop {
        terminate.recv().await;
        match fault.as_str() {
            "deaf" => {}
            "no-drain" => return Ok(ExitCode::SUCCESS),
            _ => break,
        }
    }
    draining.store(true, Ordering::Relaxed);
    tokio::select! {
        () = tokio::time::sleep(DRAIN) => {}
        _ = terminate.recv() => return Ok(ExitCode::from(143)),
    }
    if fault == "cut" {
        return Ok(ExitCode::SUCCESS);
    }
    stop.send_replace(true);
    let _ = tokio::time::timeout(Duration::from_secs(5), served).await;
    if fault != "no-flush" {
        spans.flush().await?;
    }
    Ok(ExitCode::SUCCESS)
}
