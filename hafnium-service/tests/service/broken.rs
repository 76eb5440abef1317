//! A service that is not built on Hafnium and does by hand what a platform expects, but for one fault that `FAULT`
//! chooses: what turns the rows of the conformance kit red. Without a fault it is the control.

use std::future::IntoFuture;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hafnium::axum::Router;
use hafnium::axum::http::{HeaderValue, StatusCode, header};
use hafnium::axum::response::Response;
use hafnium::axum::routing::get;
use hafnium::axum::{self, middleware};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

const DRAIN: Duration = Duration::from_secs(2);

#[tokio::main]
async fn main() -> ExitCode {
    run().await.unwrap_or_else(|error| panic!("{error}"))
}

fn port(variable: &str) -> u16 {
    let port = std::env::var(variable).ok().and_then(|port| port.parse().ok());
    port.unwrap_or_else(|| panic!("{variable} is not set"))
}

async fn run() -> std::io::Result<ExitCode> {
    let fault = std::env::var("FAULT").unwrap_or_default();
    let mut terminate = signal(SignalKind::terminate())?;
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
    let application = Router::new().route("/", get(async || "hello\n")).layer(last);
    let listener = TcpListener::bind(("127.0.0.1", port("HAFNIUM__HTTP__PORT"))).await?;
    let served = axum::serve(listener, application);
    let served = tokio::spawn(
        served
            .with_graceful_shutdown(async move { drop(stopped.wait_for(|stopped| *stopped).await) })
            .into_future(),
    );

    let (seen, forgets) = (draining.clone(), fault == "ready-while-draining");
    let readiness = move || {
        let ready = forgets || !seen.load(Ordering::Relaxed);
        std::future::ready(match ready {
            true => StatusCode::OK,
            false => StatusCode::SERVICE_UNAVAILABLE,
        })
    };
    let operator = Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/startupz", get(async || "ok\n"))
        .route("/readyz", get(readiness));
    let listener = TcpListener::bind(("127.0.0.1", port("HAFNIUM__ADMIN__PORT"))).await?;
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
    stop.send_replace(true);
    let _ = tokio::time::timeout(Duration::from_secs(5), served).await;
    Ok(ExitCode::SUCCESS)
}
