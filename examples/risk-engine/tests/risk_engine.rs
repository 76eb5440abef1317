//! The service as its team would test it: its real binary beside a real Postgres, Redis and Kafka, started once.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod rig;
#[path = "../../../hafnium-service/tests/support/mod.rs"]
mod support;

use std::time::Duration;

use hafnium_testkit::process::free_ports;
use rig::{LIMIT, Outputs, Rig, payment};
use support::Service;
use support::http::{get, post};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const JSON: &str = "application/json";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn payments_are_scored_once_and_nothing_that_fails_takes_the_service_down() {
    let rig = Rig::start().await;
    let mut outputs = Outputs::default();
    before_the_first_start(&rig, &mut outputs).await;

    let mut service = rig.launch().start();
    service.ready(LIMIT).await;
    a_payment_is_scored_within_its_trace(&rig, &service).await;
    a_repeated_payment_has_one_effect(&rig, &service).await;
    a_malformed_record_goes_to_the_dead_letter_topic(&rig, &service).await;
    a_bad_payment_is_refused(&service).await;
    the_metrics_are_there(&service).await;
    outputs.collect(&service).await;
    without_redis_scoring_goes_on(&rig, &mut service).await;
    outputs.collect(&service).await;
    without_postgres_and_kafka_it_lives(&rig, &mut service).await;
    outputs.collect(&service).await;
    healthcheck_tells_whether_it_runs(&rig, service, &mut outputs).await;
    outputs.exported(&rig.collector);
    outputs.show_none_of(&rig.secrets());
}

async fn before_the_first_start(rig: &Rig, outputs: &mut Outputs) {
    for done in ["1 applied", "up to date"] {
        let migrated = rig.launch().argument("migrate").finish(LIMIT).await;
        assert_eq!(
            migrated.exited(0).trim(),
            format!("postgres.ledger: migrations: {done}")
        );
        outputs.ended(&migrated);
    }
    for command in ["config", "version"] {
        let shown = rig.launch().argument(command).finish(LIMIT).await;
        shown.exited(0);
        outputs.ended(&shown);
    }
    let checked = rig.launch().argument("check").finish(LIMIT).await;
    checked.exited(0);
    // What it notes of secrets in variables is true here and not of interest.
    let said = checked.stdout.lines();
    let lines: Vec<_> = said.filter(|line| !line.starts_with("note: ")).collect();
    let (connections, reached) = lines.split_last().unwrap();
    assert_eq!(
        reached,
        [
            "configuration: ok (environment staging)",
            "postgres.ledger: ok",
            "redis.velocity: ok",
            "kafka.events: ok"
        ]
    );
    let told = "postgres.ledger: a process opens up to 11 of ";
    assert!(connections.starts_with(told), "{connections}");
    outputs.ended(&checked);

    let closed = free_ports(1).unwrap()[0];
    let down = rig
        .launch()
        .variable(
            "HAFNIUM__REDIS__VELOCITY__URL",
            format!("redis://127.0.0.1:{closed}"),
        )
        .variable("HAFNIUM__START__DEADLINE", "3s");
    let checked = down.argument("check").finish(LIMIT).await;
    assert!(
        checked.exited(69).starts_with("check failed: redis.velocity: "),
        "{checked:?}"
    );
    assert!(checked.stdout.contains("postgres.ledger: ok"), "{checked:?}");
    outputs.ended(&checked);
}

/// The score of a payment, once there is one.
async fn scored(service: &Service, id: &str) -> serde_json::Value {
    support::until(&format!("the score of {id}"), LIMIT, async || {
        let answer = service.ask(get(format!("/scores/{id}"))).await;
        if answer.status == 200 {
            Ok(answer.json())
        } else {
            Err(format!("{answer:?}"))
        }
    })
    .await
}

async fn accepted(service: &Service, id: &str) {
    let answer = service.ask(post("/payments", JSON, payment(id))).await;
    assert_eq!(answer.status, 202, "{answer:?}");
}

async fn a_payment_is_scored_within_its_trace(rig: &Rig, service: &Service) {
    assert_eq!(service.ask(get("/scores/pay-1")).await.status, 404);
    let asked = service.ask(get("/payments/pay-1?wait_ms=50")).await;
    assert_eq!(
        (asked.status, &asked.json()["score"]),
        (200, &serde_json::Value::Null)
    );
    let request = post("/payments", JSON, payment("pay-1"));
    let request = request.header("traceparent", format!("00-{TRACE}-00f067aa0ba902b7-01"));
    assert_eq!(service.ask(request).await.status, 202);
    let score = scored(service, "pay-1").await;
    let asked = service.ask(get("/payments/pay-1?wait_ms=5000")).await.json();
    assert_eq!(asked["score"], score);
    assert_eq!(
        (score["payment_id"].as_str(), score["velocity"].as_i64()),
        (Some("pay-1"), Some(1))
    );

    let access = service
        .logged("the access log", LIMIT, |line| line["http.route"] == "/payments")
        .await;
    assert_eq!(access["trace_id"], TRACE);
    // From the request to the record, and through the consumer to what it sent.
    for topic in ["payments", "risk-scores"] {
        let what = format!("a record in {topic}");
        let parent = support::until(&what, LIMIT, async || {
            let records = rig.records(topic).await;
            let record = records.first().ok_or("no record")?;
            rig::header(record, "traceparent").ok_or_else(|| "no traceparent".to_owned())
        });
        assert_eq!(parent.await.split('-').nth(1), Some(TRACE), "{topic}");
    }
}

async fn a_repeated_payment_has_one_effect(rig: &Rig, service: &Service) {
    for _ in 0..3 {
        accepted(service, "pay-2").await;
    }
    // One partition, in order: once a later payment is scored, the repeated ones were handled.
    accepted(service, "pay-3").await;
    scored(service, "pay-3").await;
    scored(service, "pay-2").await;
    assert_eq!(rig.effects("pay-2").await, 1);
}

async fn a_malformed_record_goes_to_the_dead_letter_topic(rig: &Rig, service: &Service) {
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let bytes = b"{\"id\":\"pay-4\",\"amount\":\xff";
    rig.produce(
        "payments",
        "acct-4",
        bytes,
        &format!("00-{trace}-b7ad6b7169203331-01"),
    )
    .await;
    let dead = support::until("the dead letter", LIMIT, async || {
        let records = rig.records("payments.dlq.risk-engine").await;
        records.into_iter().next().ok_or_else(|| "none yet".to_owned())
    });
    let dead = dead.await;
    assert_eq!(dead.payload.as_deref(), Some(&bytes[..]));
    assert_eq!(dead.key.as_deref(), Some(&b"acct-4"[..]));
    assert_eq!(
        rig::header(&dead, "dead-letter-topic").as_deref(),
        Some("payments")
    );
    assert_eq!(
        rig::header(&dead, "dead-letter-error-class").as_deref(),
        Some("undecodable")
    );
    let line = service
        .logged("the dead letter's line", LIMIT, |line| {
            line["message"] == "record dead-lettered"
        })
        .await;
    assert_eq!(line["trace_id"], trace, "{line}");
    accepted(service, "pay-5").await;
    scored(service, "pay-5").await;
}

async fn a_bad_payment_is_refused(service: &Service) {
    for (body, status) in [
        ("{\"id\":\"pay-6\"}", 422),
        ("{\"id\":\"pay-6\",\"account\":\"a\",\"amount\":-1}", 422),
        (
            "{\"id\":\"pay-6\",\"account\":\"a\",\"amount\":1,\"extra\":1}",
            422,
        ),
        ("{\"id\":", 400),
    ] {
        let answer = service.ask(post("/payments", JSON, body)).await;
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (status, "application/problem+json"),
            "{body}"
        );
    }
    assert_eq!(
        service
            .ask(post("/payments", "text/csv", "pay-6,a,1"))
            .await
            .status,
        415
    );
    assert_eq!(service.ask(get("/scores/pay-6")).await.status, 404);
}

async fn the_metrics_are_there(service: &Service) {
    let answer = service.probe("/metrics").await;
    assert!(
        answer
            .header("content-type")
            .starts_with("text/plain; version=0.0.4"),
        "{answer:?}"
    );
    for series in [
        "http_server_request_duration_seconds_bucket{",
        "http_server_active_requests",
        "messaging_client_consumed_messages_total{",
        "messaging_client_sent_messages_total{",
        "messaging_process_duration_seconds_bucket{",
        "hafnium_consumer_dead_letters_total{",
        "db_client_operation_duration_seconds_bucket{",
        "hafnium_postgres_role",
        "hafnium_redis_connected",
        "hafnium_health_status",
        "hafnium_lifecycle_state",
        "hafnium_start_duration_seconds",
        "process_resident_memory_bytes",
    ] {
        assert!(
            answer.body.lines().any(|line| line.starts_with(series)),
            "no {series} in\n{}",
            answer.body
        );
    }
    assert!(!answer.body.contains("/livez"), "probes are no requests");
}

async fn without_redis_scoring_goes_on(rig: &Rig, service: &mut Service) {
    let trace = "1234567890abcdef1234567890abcdef";
    rig.redis.kill9().await.unwrap();
    let request = post("/payments", JSON, payment("pay-7"));
    let request = request.header("traceparent", format!("00-{trace}-00f067aa0ba902b7-01"));
    assert_eq!(service.ask(request).await.status, 202);
    let score = scored(service, "pay-7").await;
    assert_eq!(score["velocity"], serde_json::Value::Null);
    // What the handler logs belongs to the trace of the request that brought the payment.
    let line = service
        .logged("the handler's line", LIMIT, |line| {
            line["message"] == "scoring without velocity"
        })
        .await;
    assert_eq!(line["trace_id"], trace, "{line}");
    service.probes("/livez", 200, LIMIT).await;
    rig.redis.restart().await.unwrap();
    let again = support::until("a velocity again", LIMIT, async || {
        let id = format!("pay-7-{}", rig.next());
        accepted(service, &id).await;
        let score = scored(service, &id).await;
        score["velocity"].as_i64().ok_or_else(|| score.to_string())
    });
    assert!(again.await >= 1);
}

async fn without_postgres_and_kafka_it_lives(rig: &Rig, service: &mut Service) {
    rig.postgres.freeze(0).unwrap();
    rig.kafka.freeze(rig.kafka.brokers()[0]).await.unwrap();
    let unsent = service.ask(post("/payments", JSON, payment("pay-8"))).await;
    assert!(matches!(unsent.status, 500..=599), "{unsent:?}");
    let unread = service.ask(get("/scores/pay-1")).await;
    assert!(matches!(unread.status, 503 | 504), "{unread:?}");
    for _ in 0..20 {
        assert_eq!(service.probe("/livez").await.status, 200);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    rig.postgres.thaw(0).await.unwrap();
    rig.kafka.thaw(rig.kafka.brokers()[0]).await.unwrap();
    let posted = support::until("a payment to be taken again", LIMIT, async || {
        let answer = service.ask(post("/payments", JSON, payment("pay-9"))).await;
        if answer.status == 202 {
            Ok(())
        } else {
            Err(format!("{answer:?}"))
        }
    });
    posted.await;
    scored(service, "pay-9").await;
    assert_eq!(rig.effects("pay-9").await, 1);
    service.probes("/readyz", 200, LIMIT).await;
}

async fn healthcheck_tells_whether_it_runs(rig: &Rig, service: Service, outputs: &mut Outputs) {
    let admin = service.admin.to_string();
    let healthcheck = || {
        let launch = rig.launch().variable("HAFNIUM__ADMIN__PORT", &admin);
        launch.argument("healthcheck").finish(Duration::from_secs(5))
    };
    healthcheck().await.exited(0);
    let ended = service.stop(Duration::from_secs(20)).await;
    ended.exited(0);
    outputs.ended(&ended);
    assert!(healthcheck().await.exited(1).contains("/livez: "));
}
