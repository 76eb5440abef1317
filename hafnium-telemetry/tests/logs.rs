//! What a log line holds.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod support;

use std::time::Duration;

use hafnium_core::{Deadline, ServiceInfo};
use hafnium_telemetry::{LogFormat, Telemetry};
use support::{Lines, settings};
use tracing::dispatcher::with_default;

fn flush(telemetry: &Telemetry) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let stopped = runtime.block_on(telemetry.flush(Deadline::after(Duration::from_secs(5))));
    assert!(stopped.stragglers().is_empty(), "{stopped:?}");
}

fn logged(filter: Option<&str>, work: impl FnOnce()) -> Lines {
    let lines = Lines::default();
    let mut settings = settings(None);
    settings.log_filter = filter.map(str::to_owned);
    let service = ServiceInfo::new("log-test", "1.2.3");
    let (telemetry, dispatch) = Telemetry::detached(&settings, &service, lines.clone()).unwrap();
    with_default(&dispatch, work);
    flush(&telemetry);
    lines
}

#[test]
fn a_line_has_its_event_its_span_its_trace_and_its_service() {
    let lines = logged(None, || {
        let outer = tracing::info_span!("outer", outer_only = 1);
        let _outer = outer.enter();
        let span = tracing::info_span!(
            "inner",
            account = "a-17",
            score = tracing::field::Empty,
            attempt = 1
        );
        let _inner = span.enter();
        span.record("score", 0.5);
        let error = std::io::Error::other("disk \"full\"\nreally");
        tracing::warn!(
            attempt = 2,
            ok = false,
            error = &error as &dyn std::error::Error,
            "scored"
        );
    });
    let line = lines.with_message("scored");
    let text = |key: &str| {
        line[key]
            .as_str()
            .unwrap_or_else(|| panic!("{key} in {line}"))
            .to_owned()
    };
    assert_eq!(text("level"), "WARN");
    assert_eq!(text("target"), "logs");
    let timestamp = text("timestamp");
    assert!(
        timestamp.ends_with('Z') && timestamp.as_bytes()[10] == b'T',
        "{timestamp}"
    );
    assert_eq!(line["ok"], false);
    assert_eq!(text("error"), "disk \"full\"\nreally");
    // The span's own fields, those recorded later too; the event wins over the span; outer spans stay out.
    assert_eq!(text("account"), "a-17");
    assert_eq!(line["score"], 0.5);
    assert_eq!(line["attempt"], 2);
    assert!(line.get("outer_only").is_none(), "{line}");
    let is_hex = |text: &str, len| text.len() == len && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    assert!(
        is_hex(&text("trace_id"), 32) && is_hex(&text("span_id"), 16),
        "{line}"
    );
    assert_eq!(text("trace_flags"), "01");
    assert_eq!(text("service.name"), "log-test");
    assert_eq!(text("service.version"), "1.2.3");
    assert!(!text("service.instance.id").is_empty());
}

#[test]
fn fields_named_like_secrets_never_print() {
    let lines = logged(None, || {
        let span = tracing::info_span!("login", password = "hunter2", user = "ada");
        let _entered = span.enter();
        tracing::info!(api_key = "k-123", Authorization = ?Some("Bearer t-9"), token = 42, "logged in");
    });
    let line = lines.with_message("logged in");
    for key in ["password", "api_key", "Authorization", "token"] {
        assert_eq!(line[key], "***", "{line}");
    }
    assert_eq!(line["user"], "ada");
    for secret in ["hunter2", "k-123", "t-9", "42"] {
        let others: Vec<_> = line
            .as_object()
            .unwrap()
            .iter()
            .filter(|(key, _)| !key.contains("id"))
            .collect();
        assert!(!format!("{others:?}").contains(&format!("\"{secret}")), "{line}");
    }
}

#[test]
fn a_line_has_its_trace_also_where_the_filter_hides_the_span_or_the_parent_is_named() {
    let lines = logged(Some("warn"), || {
        let span = tracing::info_span!("hidden");
        span.in_scope(|| tracing::warn!("within"));
        tracing::warn!(parent: &span, "named");
        tracing::warn!("outside");
        tracing::info!("filtered");
    });
    let within = lines.with_message("within");
    assert!(within["trace_id"].is_string(), "{within}");
    assert_eq!(lines.with_message("named")["trace_id"], within["trace_id"]);
    assert!(lines.with_message("outside").get("trace_id").is_none());
    assert_eq!(lines.json().len(), 3, "{}", lines.text());
}

#[test]
fn a_line_within_a_span_that_the_filter_hides_has_the_fields_of_the_next_one_around_it() {
    let lines = logged(Some("info,quiet=off"), || {
        let shown = tracing::info_span!("shown", account = "a-17");
        let _shown = shown.enter();
        let hidden = tracing::info_span!(target: "quiet", "hidden", detail = 1);
        hidden.in_scope(|| tracing::info!("within"));
        tracing::info!(parent: &hidden, "named");
    });
    let within = lines.with_message("within");
    assert_eq!(within["account"], "a-17");
    assert!(within.get("detail").is_none(), "{within}");
    let named = lines.with_message("named");
    assert!(named.get("account").is_none(), "{named}");
}

#[test]
fn a_filter_may_ask_for_the_spans_that_are_entered_and_for_their_fields() {
    let lines = Lines::default();
    let service = ServiceInfo::new("log-test", "1.2.3");
    let mut settings = settings(None);
    settings.log_filter = Some("warn,[pay{account=17}]=debug".to_owned());
    let (telemetry, dispatch) = Telemetry::detached(&settings, &service, lines.clone()).unwrap();
    with_default(&dispatch, || {
        let pay = |account: u64| {
            let span = tracing::debug_span!("pay", account);
            span.in_scope(|| tracing::debug!("paying"));
            tracing::debug!("paid");
        };
        pay(16);
        pay(17);
        telemetry.set_log_filter("warn").unwrap();
        pay(17);
        telemetry.set_log_filter("warn,[pay]=debug").unwrap();
        pay(18);
    });
    flush(&telemetry);
    let all: Vec<_> = lines
        .json()
        .iter()
        .map(|line| (line["message"].clone(), line["account"].clone()))
        .collect();
    assert_eq!(all, [("paying".into(), 17.into()), ("paying".into(), 18.into())]);
}

#[test]
fn spans_that_are_traced_without_a_collector_are_of_one_trace_whoever_names_their_parent() {
    let lines = logged(None, || {
        let outer = tracing::info_span!("outer");
        outer.in_scope(|| tracing::info!("in outer"));
        tracing::info_span!(parent: &outer, "inner").in_scope(|| tracing::info!("in inner"));
        outer.in_scope(|| tracing::info_span!(parent: None, "apart").in_scope(|| tracing::info!("in apart")));
        tracing::info_span!("later").in_scope(|| tracing::info!("in later"));
    });
    let [outer, inner, apart, later] = ["in outer", "in inner", "in apart", "in later"].map(|said| {
        let line = lines.with_message(said);
        (line["trace_id"].clone(), line["span_id"].clone())
    });
    assert_eq!(outer.0, inner.0);
    assert_ne!(outer.1, inner.1);
    for other in [&apart, &later] {
        assert_ne!(outer.0, other.0);
    }
    assert_ne!(apart.0, later.0, "what was left is no parent any more");
}

#[test]
fn the_filter_changes_at_run_time_and_one_that_cannot_be_read_changes_nothing() {
    let lines = Lines::default();
    let service = ServiceInfo::new("log-test", "1.2.3");
    let (telemetry, dispatch) = Telemetry::detached(&settings(None), &service, lines.clone()).unwrap();
    with_default(&dispatch, || {
        let say = |text: &str| tracing::debug!("{text}");
        say("before");
        let before = telemetry.set_log_filter("debug").unwrap();
        say("during");
        assert!(telemetry.set_log_filter("logs=verbose,,=").is_err());
        assert_eq!(telemetry.log_filter(), "debug");
        telemetry.set_log_filter(&before).unwrap();
        say("after");
    });
    flush(&telemetry);
    let messages: Vec<_> = lines.json().iter().map(|line| line["message"].clone()).collect();
    assert_eq!(messages, ["during"]);
}

#[test]
fn lines_for_people_are_one_line_each_with_the_trace_at_the_end() {
    let lines = Lines::default();
    let mut settings = settings(None);
    settings.log_format = LogFormat::Human;
    let service = ServiceInfo::new("log-test", "1.2.3");
    let (telemetry, dispatch) = Telemetry::detached(&settings, &service, lines.clone()).unwrap();
    with_default(&dispatch, || {
        let span = tracing::info_span!("work", account = 17, password = "hunter2");
        span.in_scope(|| tracing::info!(state = "half done", "working"));
    });
    flush(&telemetry);
    let text = lines.text();
    let (head, trace) = text
        .trim_end()
        .split_once(" trace_id=")
        .unwrap_or_else(|| panic!("{text}"));
    assert!(
        head.ends_with("INFO logs working state=\"half done\" account=17 password=***"),
        "{text}"
    );
    assert_eq!(trace.len(), 32);
}

#[test]
fn a_value_that_logs_while_it_is_formatted_does_not_break_the_line() {
    struct Talkative;
    impl std::fmt::Display for Talkative {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            tracing::info!("from within");
            f.write_str("done")
        }
    }
    let lines = logged(None, || tracing::info!(value = %Talkative, "outer"));
    assert_eq!(lines.with_message("outer")["value"], "done");
}
