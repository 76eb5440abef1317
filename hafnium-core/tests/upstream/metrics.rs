//! What is recorded, read back as a scraper does.

use hafnium_core::health::Registry;
use hafnium_core::lifecycle::{State, Watch};
use hafnium_core::metrics::Metrics;
use hafnium_core::propagation::Propagation;
use hafnium_core::tasks::Tasks;
use hafnium_core::{Context, ServiceInfo};
use opentelemetry_sdk::metrics::SdkMeterProvider;

use crate::server::{Server, status, text};
use crate::{Names, settings, upstream_by};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_attempt_is_recorded_by_the_conventions_and_connections_and_addresses_are_counted() {
    let registry = prometheus::Registry::new();
    let reader = opentelemetry_prometheus::exporter()
        .with_registry(registry.clone())
        .build()
        .unwrap();
    let provider = SdkMeterProvider::builder().with_reader(reader).build();
    let cx = Context::new(
        ServiceInfo::new("caller", "1"),
        Registry::new(),
        Metrics::from_provider(&provider),
        Propagation::none(),
        Tasks::new(),
        Watch::fixed(State::Ready),
    );
    let server = Server::start(|seen| async move {
        match seen.path.as_str() {
            "/fail" => status(502),
            _ => text("ok"),
        }
    })
    .await;
    let upstream = upstream_by(Names::of(&[server.address]), &settings(), &cx);
    upstream.get("/").await.unwrap();
    upstream.post("/").await.unwrap();
    upstream.request("BREW".parse().unwrap(), "/").await.unwrap();
    let _ = upstream.get("/fail").await;
    let text = prometheus::TextEncoder::new()
        .encode_to_string(&registry.gather())
        .unwrap();
    let line = |name: &str, labels: &[&str]| {
        let found = text.lines().find(|line| {
            line.split(['{', ' ']).next() == Some(name) && labels.iter().all(|label| line.contains(label))
        });
        found.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
    };
    let count = "http_client_request_duration_seconds_count";
    let here = [
        r#"server_address="scoring.test""#,
        r#"server_port="80""#,
        r#"url_scheme="http""#,
    ];
    let of = |more: &[&'static str]| [&here[..], more].concat();
    let ok = r#"http_response_status_code="200""#;
    assert_eq!(line(count, &of(&[r#"method="GET""#, ok])), Some(1.0), "{text}");
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
    assert!((1.0..=6.0).contains(&idle), "{text}");
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
        Some(2.0),
        "{text}"
    );
}
