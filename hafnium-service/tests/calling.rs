//! A declared upstream in a service's own binary.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use hafnium::axum::Router;
use hafnium::axum::http::HeaderMap;
use hafnium::axum::routing::get;
use support::Launch;
use support::http::get as request;

const START: Duration = Duration::from_secs(20);

fn asking(case: &str) -> Launch {
    Launch::new(env!("CARGO_BIN_EXE_conformance")).variable("CONFORMANCE_CASE", case)
}

/// A scoring service, and the headers of the last request there.
async fn scoring() -> (String, Arc<Mutex<HeaderMap>>) {
    let kept = Arc::new(Mutex::new(HeaderMap::new()));
    let keeping = kept.clone();
    let app = Router::new().route(
        "/v1/score",
        get(async move |headers: HeaderMap| {
            *keeping.lock().unwrap() = headers;
            "0.17"
        }),
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    tokio::spawn(async move { hafnium::axum::serve(listener, app).await });
    (url, kept)
}

#[tokio::test]
async fn a_request_goes_on_with_its_id_the_time_left_and_the_services_name() {
    let (url, kept) = scoring().await;
    let mut service = asking("upstream")
        .variable("HAFNIUM__UPSTREAM__SCORING__URL", &url)
        .start();
    service.ready(START).await;
    let asked = request("/score")
        .header("x-request-id", "order-17")
        .header("x-request-timeout-ms", "1500");
    let answer = service.ask(asked).await;
    assert_eq!(answer.body, "0.17", "{answer:?}");
    let headers = kept.lock().unwrap().clone();
    assert_eq!(headers["x-request-id"], "order-17");
    assert!(
        headers["user-agent"]
            .to_str()
            .unwrap()
            .starts_with("conformance/")
    );
    let left: u64 = headers["x-request-timeout-ms"].to_str().unwrap().parse().unwrap();
    assert!(left <= 1500 && left > 500, "{left}");
    let topology = service.probe("/topology").await.json().to_string();
    assert!(
        topology.contains("upstream.scoring") && topology.contains("127.0.0.1:"),
        "{topology}"
    );
    service.stop(START).await.exited(0);
}

#[tokio::test]
async fn an_upstream_that_is_down_neither_stops_the_start_nor_takes_the_service_out() {
    let mut service = asking("upstream")
        .variable("HAFNIUM__UPSTREAM__SCORING__URL", "http://127.0.0.1:1")
        .start();
    service.ready(START).await;
    let answer = service.ask(request("/score")).await;
    assert_eq!(answer.status, 503, "certainly not run, so it may be repeated");
    service.probes("/readyz", 200, START).await;
    service.stop(START).await.exited(0);
}

#[tokio::test]
async fn a_missing_url_and_a_misspelled_name_end_the_start_with_78() {
    let ended = asking("upstream")
        .variable("HAFNIUM__ENVIRONMENT", "dev")
        .finish(START)
        .await;
    let report = ended.exited(78);
    assert!(report.contains("upstream.scoring.url"), "{report}");
    let ended = asking("misspelled-upstream")
        .variable("HAFNIUM__UPSTREAM__SCORING__URL", "http://127.0.0.1:1")
        .finish(START)
        .await;
    assert!(
        ended.exited(78).contains("\"scorng\" is not declared"),
        "{}",
        ended.exited(78)
    );
}
