//! The service as a platform sees it: its own binary through the whole conformance kit, beside real servers.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod rig;
#[path = "../../../hafnium-service/tests/support/mod.rs"]
mod support;

use std::time::Duration;

use hafnium_testkit::Proxy;
use hafnium_testkit::conformance::{Conformance, Dependency, State};
use rig::{LIMIT, Rig};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_service_conforms() {
    let rig = Rig::start().await;
    rig.launch().argument("migrate").finish(LIMIT).await.exited(0);
    // A score that can be asked for.
    let session = rig.postgres.connect(0, "risk").await.unwrap();
    let scored = "INSERT INTO scores (payment_id, account, amount, score, velocity) VALUES ('pay-0', 'acct-0', 1, 2, 1)";
    session.batch_execute(scored).await.unwrap();

    let ledger = Proxy::start(([127, 0, 0, 1], rig.postgres.port(0)).into()).unwrap();
    let velocity = Proxy::start(rig.redis.address().parse().unwrap()).unwrap();
    let through = |url: String, port: String, proxy: &Proxy| url.replace(&port, &proxy.address().to_string());
    let ledger_url = through(
        rig.ledger_url(),
        format!("127.0.0.1:{}", rig.postgres.port(0)),
        &ledger,
    );
    let velocity_url = through(rig.redis.url(), rig.redis.address(), &velocity);
    let broker = rig.kafka.brokers()[0];
    let report = Conformance::of(env!("CARGO_BIN_EXE_risk-engine"))
        .variable("HAFNIUM__POSTGRES__LEDGER__URL", ledger_url)
        .variable("HAFNIUM__REDIS__VELOCITY__URL", velocity_url)
        .variable("HAFNIUM__KAFKA__EVENTS__BOOTSTRAP_SERVERS", rig.kafka.bootstrap())
        .route("/scores/pay-0")
        // Nobody sends that payment, so that its score is waited for in vain.
        .slow_route("/payments/never?wait_ms=2500")
        .dependency(Dependency::behind("postgres.ledger", &ledger))
        .dependency(Dependency::behind("redis.velocity", &velocity))
        .dependency(
            Dependency::with(
                "kafka.events",
                async || rig.kafka.freeze(broker).await,
                async || rig.kafka.thaw(broker).await,
            )
            // librdkafka takes its time to give a silent broker up, and to try it again.
            .noticed_within(Duration::from_secs(60), Duration::from_secs(60)),
        )
        .run()
        .await;
    report.assert_passed();
    let slow = report
        .findings
        .iter()
        .find(|row| row.what.ends_with("under way at the close"));
    assert_eq!(slow.map(|row| row.state), Some(State::Passed), "{report}");
}
