//! What is recorded, read back as a scraper does.

use std::time::Duration;

use hafnium_core::upstream::HedgeMode;

use crate::recorded::Recorded;
use crate::server::{Server, status, text};
use crate::{Names, eventually, settings, upstream_by};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_attempt_is_recorded_by_the_conventions_and_connections_and_addresses_are_counted() {
    let recorded = Recorded::new();
    let server = Server::start(|seen| async move {
        match seen.path.as_str() {
            "/fail" => status(502),
            _ => text("ok"),
        }
    })
    .await;
    let upstream = upstream_by(Names::of(&[server.address]), &settings(), &recorded.context());
    upstream.get("/").await.unwrap();
    upstream.post("/").await.unwrap();
    upstream.request("BREW".parse().unwrap(), "/").await.unwrap();
    let _ = upstream.get("/fail").await;
    let line = |name: &str, labels: &[&str]| recorded.value_with(name, labels)?.parse::<f64>().ok();
    let count = "http_client_request_duration_seconds_count";
    let here = [
        r#"server_address="scoring.test""#,
        r#"server_port="80""#,
        r#"url_scheme="http""#,
    ];
    let of = |more: &[&'static str]| [&here[..], more].concat();
    let ok = r#"http_response_status_code="200""#;
    assert_eq!(line(count, &of(&[r#"method="GET""#, ok])), Some(1.0));
    assert_eq!(line(count, &of(&[r#"method="POST""#, ok])), Some(1.0));
    assert_eq!(line(count, &of(&[r#"method="_OTHER""#, ok])), Some(1.0));
    let failed = of(&[
        r#"http_response_status_code="502""#,
        r#"error_type="upstream.502""#,
    ]);
    assert_eq!(line(count, &failed), Some(3.0), "each attempt counts");
    let open = "http_client_open_connections";
    // hyper opens another one where the last one is not back yet.
    let idle = line(open, &[r#"http_connection_state="idle""#]).unwrap();
    assert!((1.0..=6.0).contains(&idle), "{idle}");
    assert_eq!(line(open, &[r#"http_connection_state="active""#]), Some(0.0));
    assert_eq!(line("http_client_active_requests", &[]), Some(0.0));
    assert_eq!(
        line(
            "hafnium_upstream_addresses",
            &[r#"state="in""#, r#"upstream="scoring""#]
        ),
        Some(1.0)
    );
    assert_eq!(
        line("hafnium_upstream_addresses", &[r#"state="ejected""#]),
        Some(0.0)
    );
    assert_eq!(
        line(
            "hafnium_retry_attempts_total",
            &[r#"dependency="upstream.scoring""#]
        ),
        Some(2.0)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hedges_and_those_that_won_are_counted() {
    let recorded = Recorded::new();
    let server = Server::start(|seen| async move {
        // The first attempt of all is slow, and so is nothing else.
        if seen.number == 0 {
            tokio::time::sleep(Duration::from_secs(3)).await;
        }
        text("ok")
    })
    .await;
    let mut settings = settings();
    settings.hedge.mode = HedgeMode::Fixed;
    settings.hedge.after = Duration::from_millis(50).into();
    let upstream = upstream_by(Names::of(&[server.address]), &settings, &recorded.context());
    upstream.get("/").await.unwrap();
    assert_eq!(server.hits(), 2);
    for name in [
        "hafnium_upstream_hedges_total",
        "hafnium_upstream_hedges_won_total",
    ] {
        let counted = recorded.value(name, r#"upstream="scoring""#);
        assert_eq!(counted.as_deref(), Some("1"), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ejection_is_counted_and_the_address_is_shown_as_out() {
    let recorded = Recorded::new();
    let failing = Server::start(|_| async { status(500) }).await;
    let healthy = Server::hello().await;
    let names = Names::of(&[failing.address, healthy.address]);
    let upstream = upstream_by(names, &settings(), &recorded.context());
    for _ in 0..100 {
        let _ = upstream.get("/").await;
    }
    let value = |name, label| recorded.value(name, label).unwrap();
    assert_eq!(value("hafnium_upstream_ejections_total", "scoring"), "1");
    assert_eq!(value("hafnium_upstream_addresses", r#"state="ejected""#), "1");
    assert_eq!(value("hafnium_upstream_addresses", r#"state="in""#), "1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lookup_that_gives_no_address_is_counted() {
    let recorded = Recorded::new();
    let upstream = upstream_by(Names::of(&[]), &settings(), &recorded.context());
    upstream.get("/").await.unwrap_err();
    eventually("the lookup is counted", || {
        recorded
            .value("hafnium_upstream_lookups_failed_total", "scoring")
            .is_some_and(|counted| counted != "0")
    })
    .await;
}
