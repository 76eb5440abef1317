mod carried;
mod clusters;
mod logins;
mod read_only;
mod stop;
mod tokens;

use std::time::Duration;

use hafnium_core::Context;
use hafnium_core::secret::Secret;
use hafnium_data::postgres::{Postgres, PostgresSettings};
use hafnium_testkit::postgres::{PostgresCluster, Synchronous};
use tokio::time::Instant;

use crate::recorded::Recorded;

pub(crate) const LONG: Duration = Duration::from_secs(20);

pub(crate) fn settings(url: String) -> PostgresSettings {
    let mut settings = PostgresSettings::new(Secret::new(url));
    settings.timeout = LONG.into();
    settings
}

pub(crate) async fn connect(settings: PostgresSettings, cx: &Context) -> Postgres {
    Postgres::connect(settings, cx).await.unwrap()
}

/// An asynchronous trio with a database `ledger`, and its URL.
pub(crate) async fn trio() -> (PostgresCluster, String) {
    let cluster = PostgresCluster::builder()
        .standbys(2)
        .synchronous(Synchronous::Off)
        .start()
        .await
        .unwrap();
    let url = cluster.create_database("ledger").await.unwrap();
    (cluster, url)
}

/// Waits until `holds`.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + LONG;
    while !holds() {
        assert!(Instant::now() < end, "{what} does not come");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// How often users of the nodes at `ports` made them suspect.
pub(crate) fn suspected(recorded: &Recorded, ports: &[u16]) -> u64 {
    let of = |port: &u16| {
        let node = format!("server_address=\"127.0.0.1:{port}\"");
        let value = recorded.value("hafnium_postgres_suspected_total", &node);
        value.map_or(0, |value| value.parse::<f64>().unwrap() as u64)
    };
    ports.iter().map(of).sum()
}
