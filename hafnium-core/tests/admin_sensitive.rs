//! What is sensitive on the operator listener: who may, and what it does.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "test code")]

mod admin_support;
mod http_client;

use admin_support::Service;
use hafnium_core::config::{Live, Loader, Sources};
use hafnium_core::health::HealthSettings;

const SENSITIVE: [&str; 2] = ["/config", "/loglevel"];

#[tokio::test]
async fn a_caller_on_this_host_is_let_in_and_forwarded_headers_take_that_away() {
    let service = Service::start();
    for path in SENSITIVE {
        assert_eq!(service.get(path).await.status.as_u16(), 200, "{path}");
        for header in [
            ("x-forwarded-for", "127.0.0.1"),
            ("forwarded", "for=127.0.0.1"),
            ("x-real-ip", "127.0.0.1"),
            ("l5d-client-id", "default.default.serviceaccount.identity"),
        ] {
            let answer = service.send("GET", path, &[header], "").await;
            assert_eq!(answer.status.as_u16(), 403, "{path} with {header:?}");
            assert_eq!(answer.header("cache-control"), "no-store");
        }
        // Led here by a name, or by a sidecar that took it on the pod's address.
        for host in ["rebound.example", "10.0.0.7:8080"] {
            let answer = service.send("GET", path, &[("host", host)], "").await;
            assert_eq!(answer.status.as_u16(), 403, "{path} of {host}");
        }
        // What a page of another site could send without asking first changes nothing either.
        let posted = service.send("POST", path, &[], "trace").await;
        assert_eq!(posted.status.as_u16(), 405, "{path}");
    }
    let changed = service
        .send("PUT", "/loglevel", &[("x-forwarded-for", "127.0.0.1")], "trace")
        .await;
    assert_eq!(changed.status.as_u16(), 403);
    assert_eq!(service.filter.now(), "info");
}

#[tokio::test]
async fn a_caller_from_elsewhere_needs_the_token() {
    let service = Service::with(Some("correct-horse"), |cx| cx);
    // As through a proxy, which is what a caller of another host is to a listener on loopback.
    let elsewhere = ("x-forwarded-for", "10.0.0.7");
    for path in SENSITIVE {
        let refused = service.send("GET", path, &[elsewhere], "").await;
        assert_eq!(refused.status.as_u16(), 401, "{path}");
        assert_eq!(refused.header("www-authenticate"), "Bearer realm=\"admin\"");
        assert!(!refused.body.contains("correct-horse"));
        let wrong = ("authorization", "Bearer wrong");
        let refused = service.send("GET", path, &[elsewhere, wrong], "").await;
        assert_eq!(refused.status.as_u16(), 401, "{path}");
        let right = ("authorization", "Bearer correct-horse");
        let answer = service.send("GET", path, &[elsewhere, right], "").await;
        assert_eq!(answer.status.as_u16(), 200, "{path}");
    }
    // What only tells how the service does needs none.
    for path in ["/", "/report", "/topology", "/info", "/metrics", "/livez"] {
        let answer = service.send("GET", path, &[elsewhere], "").await;
        assert_eq!(answer.status.as_u16(), 200, "{path}");
        assert!(!answer.body.contains("correct-horse"), "{path}");
    }
}

#[tokio::test]
async fn where_a_token_is_required_a_caller_on_this_host_needs_it_too() {
    let service = Service::requiring("correct-horse");
    for path in SENSITIVE {
        let refused = service.get(path).await;
        assert_eq!(refused.status.as_u16(), 401, "{path}");
        assert!(refused.body.contains("admin.require_token"), "{}", refused.body);
        let right = ("authorization", "Bearer correct-horse");
        let answer = service.send("GET", path, &[right], "").await;
        assert_eq!(answer.status.as_u16(), 200, "{path}");
    }
    assert_eq!(service.get("/livez").await.status.as_u16(), 200);
}

// When it goes back by itself is shown on a paused clock beside the code.
#[tokio::test]
async fn a_changed_log_filter_says_when_it_goes_back_and_is_taken_back_when_asked_for() {
    let service = Service::start();
    let answer = service.send("PUT", "/loglevel", &[], "trace,sqlx=warn\n").await;
    assert_eq!(answer.status.as_u16(), 200, "{answer:?}");
    let body = answer.json();
    assert_eq!(
        (&body["filter"], &body["reverts_to"]),
        (&"trace,sqlx=warn".into(), &"info".into())
    );
    let left = body["reverts_in_seconds"].as_f64().unwrap();
    assert!((890.0..=900.0).contains(&left), "{left}");
    assert_eq!(service.filter.now(), "trace,sqlx=warn");
    let back = service.send("DELETE", "/loglevel", &[], "").await.json();
    assert_eq!(back["filter"], "info");
    assert_eq!(service.filter.now(), "info");
    // Nothing is left to take back.
    let again = service.send("DELETE", "/loglevel", &[], "").await;
    assert_eq!(again.status.as_u16(), 200);
}

#[tokio::test]
async fn a_bad_filter_changes_nothing_and_the_answer_says_what_is_accepted() {
    let service = Service::start();
    for (path, body, said) in [
        ("/loglevel", "debgu", "\"debgu\" is no level"),
        ("/loglevel", "", "the body holds no filter"),
        ("/loglevel", "refused=debug", "the subscriber refuses it"),
        ("/loglevel?for=soon", "debug", "a duration such as"),
        ("/loglevel?fro=5m", "debug", "accepted is for=5m"),
    ] {
        let answer = service.send("PUT", path, &[], body).await;
        assert_eq!(answer.status.as_u16(), 400, "{path} {body}");
        assert!(answer.body.contains(said), "{}", answer.body);
    }
    let bad = service.send("PUT", "/loglevel", &[], "debgu").await;
    assert!(
        bad.body.contains("off, error, warn, info, debug, trace"),
        "{}",
        bad.body
    );
    let long = service.send("PUT", "/loglevel", &[], "x".repeat(5000)).await;
    assert_eq!(long.status.as_u16(), 413);
    assert_eq!(service.filter.now(), "info");
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
#[allow(dead_code, reason = "only what is listed matters")]
struct Settings {
    #[schemars(extend("x-reloadable" = true))]
    limit: u32,
    password: hafnium_core::secret::Secret,
}

fn loader(limit: &str) -> Loader {
    let sources = Sources::none()
        .variable("ENVIRONMENT", "staging")
        .variable("PASSWORD", "canary-b7e1")
        .variable("HAFNIUM__REGION", "eu-west-1")
        .variable("HAFNIUM__SETTINGS__LIMIT", limit)
        .variable("HAFNIUM__SETTINGS__PASSWORD", "env:PASSWORD");
    Loader::new("risk-engine").settings::<Settings>().sources(sources)
}

/// With what checks and types refuse in words of their own, which repeat the value.
fn loader_with_checks(path: &str, address: &str) -> Loader {
    #[derive(serde::Deserialize, schemars::JsonSchema)]
    #[allow(dead_code, reason = "only read")]
    struct Strict {
        mode: Mode,
    }
    #[derive(schemars::JsonSchema)]
    #[schemars(with = "String")]
    struct Mode;
    impl<'de> serde::Deserialize<'de> for Mode {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            match String::deserialize(deserializer)?.as_str() {
                "right" => Ok(Self),
                other => Err(serde::de::Error::custom(format!("{other:?} is no mode"))),
            }
        }
    }
    let sources = Sources::none()
        .variable("HAFNIUM__HEALTH__PATHS__LIVEZ", path)
        .variable("HAFNIUM__ROLE", "passive")
        .variable("HAFNIUM__PRIVACY_TIER", "restricted")
        .variable("HAFNIUM__SETTINGS__MODE", address);
    Loader::new("risk-engine")
        .settings::<Strict>()
        .section::<HealthSettings>()
        .check(HealthSettings::problems)
        .sources(sources)
}

#[tokio::test]
async fn the_configuration_shows_every_value_with_its_origin_and_no_secret() {
    let service = Service::with(None, |cx| cx.with_config(Live::new(loader("7").load().unwrap())));
    let answer = service.get("/config").await;
    assert!(!answer.body.contains("canary-b7e1"), "{}", answer.body);
    let body = answer.json();
    assert_eq!(
        (&body["environment"], &body["place"]["region"]),
        (&"staging".into(), &"eu-west-1".into())
    );
    let entry = |key: &str| {
        let entries = body["entries"].as_array().unwrap();
        entries.iter().find(|entry| entry["key"] == key).unwrap().clone()
    };
    let limit = entry("settings.limit");
    assert_eq!(
        (&limit["value"], &limit["origin"]),
        (&"7".into(), &"HAFNIUM__SETTINGS__LIMIT".into())
    );
    let password = entry("settings.password");
    assert_eq!(
        (&password["value"], &password["secret"]),
        (&"***".into(), &"env:PASSWORD".into())
    );
}

#[tokio::test]
async fn a_reload_that_was_refused_shows_and_its_values_only_to_who_may() {
    let service = Service::with(None, |cx| cx.with_config(Live::new(loader("7").load().unwrap())));
    let live = service.cx.config();
    live.reload(&loader("mistyped-c0ffee"));
    let page = service.get("/").await.body;
    assert!(page.contains("the last good one is in force"), "{page}");
    assert!(
        page.contains("settings.limit (HAFNIUM__SETTINGS__LIMIT)"),
        "{page}"
    );
    assert!(!page.contains("mistyped-c0ffee"));
    let body = service.get("/config").await.json();
    assert!(
        body["refused"][0].as_str().unwrap().contains("mistyped-c0ffee"),
        "{body}"
    );
    live.reload(&loader("8"));
    let body = service.get("/config").await.json();
    assert_eq!(body["refused"], serde_json::json!([]));
    assert!(body.to_string().contains("\"value\":\"8\""), "{body}");
    assert!(service.get("/").await.body.contains("in force"));
}

#[tokio::test]
async fn the_page_names_what_was_refused_by_key_and_origin_and_repeats_no_value() {
    let right = loader_with_checks("/healthz", "right");
    let service = Service::with(None, |cx| cx.with_config(Live::new(right.load().unwrap())));
    let page = service.get("/").await.body;
    for pair in [
        "<dt>Role</dt><dd>passive</dd>",
        "<dt>Privacy tier</dt><dd>restricted</dd>",
    ] {
        assert!(page.contains(pair), "{pair}: {page}");
    }
    let wrong = loader_with_checks("c0ffee-check", "c0ffee-type");
    service.cx.config().reload(&wrong);
    let page = service.get("/").await.body;
    for named in [
        "health.paths.livez (HAFNIUM__HEALTH__PATHS__LIVEZ)",
        "settings.mode (HAFNIUM__SETTINGS__MODE)",
    ] {
        assert!(page.contains(named), "{named}: {page}");
    }
    assert!(!page.contains("c0ffee"), "{page}");
    let refused = service.get("/config").await.json()["refused"].to_string();
    assert!(
        refused.contains("c0ffee-check") && refused.contains("c0ffee-type"),
        "{refused}"
    );
}
