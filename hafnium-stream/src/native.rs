//! What Hafnium's guarantees need of librdkafka, as its configuration.

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::KafkaError;

use crate::settings::{KafkaSettings, SettingsError};

/// Keys that are not left to the configuration, with the reason.
const REFUSED: &[(&str, &str)] = &[
    ("bootstrap.servers", "set bootstrap_servers"),
    ("metadata.broker.list", "set bootstrap_servers"),
    (
        "client.id",
        "it is the service's instance, by which brokers' logs and quotas find it",
    ),
    ("group.id", "it is declared with the consumer"),
    (
        "acks",
        "a record counts as sent once every in-sync replica has it",
    ),
    (
        "request.required.acks",
        "a record counts as sent once every in-sync replica has it",
    ),
    (
        "enable.idempotence",
        "without it a resend doubles or reorders records",
    ),
    (
        "enable.gapless.guarantee",
        "one record that times out would end the producer for good",
    ),
    ("transactional.id", "the producer is shared, a transaction is not"),
    ("delivery.timeout.ms", "set delivery_timeout"),
    ("message.timeout.ms", "set delivery_timeout"),
    ("socket.timeout.ms", "set request_timeout"),
    (
        "queue.buffering.max.messages",
        "set buffer_records; room in the queue is what `send` waits for",
    ),
    (
        "queue.buffering.max.kbytes",
        "set buffer_bytes; room in the queue is what `send` waits for",
    ),
    ("session.timeout.ms", "set session_timeout"),
    ("queued.max.messages.kbytes", "set prefetch_bytes"),
    (
        "enable.auto.commit",
        "an offset is committed once its record was handled",
    ),
    (
        "enable.auto.offset.store",
        "an offset is committed once its record was handled",
    ),
    ("auto.offset.reset", "it is declared with the consumer"),
    (
        "partition.assignment.strategy",
        "eager rebalances stop every consumer of the group",
    ),
    (
        "group.protocol",
        "librdkafka 2.12 stalls with the consumer protocol (node-rdkafka #1146)",
    ),
    (
        "enable.partition.eof",
        "the consumer reads its position from records alone",
    ),
    ("log.queue", "logs are served on the polling thread"),
];

/// What every client of a cluster has in common.
fn common(settings: &KafkaSettings, client_id: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set_log_level(RDKafkaLogLevel::Info);
    config
        .set("bootstrap.servers", &settings.bootstrap_servers)
        .set("client.id", client_id)
        .set(
            "socket.timeout.ms",
            settings.request_timeout.get().as_millis().to_string(),
        )
        .set("socket.keepalive.enable", "true")
        .set("reconnect.backoff.ms", "50")
        // The default of 10 s keeps a client away from a broker that is back since long.
        .set("reconnect.backoff.max.ms", "500")
        // Topics that appear and leaders that move unannounced are seen within this time; the default is 5 minutes.
        .set("topic.metadata.refresh.interval.ms", "10000")
        .set(
            "allow.auto.create.topics",
            settings.auto_create_topics.to_string(),
        );
    for (key, value) in &settings.librdkafka {
        config.set(key, value);
    }
    for (key, value) in &settings.librdkafka_secrets {
        config.set(key, value.current().expose());
    }
    config
}

/// The configuration of the shared producer.
pub(crate) fn producer(settings: &KafkaSettings, client_id: &str) -> ClientConfig {
    let mut config = common(settings, client_id);
    // Room is granted by the credits alone; the queue's own limits lie above what they ever grant.
    let records = u64::from(settings.buffer_records) + 1000;
    let kibibytes = settings.buffer_bytes.bytes() / 1024 * 2 + 16 * 1024;
    config
        .set("acks", "all")
        .set("enable.idempotence", "true")
        // A key lands on the partition where the Java clients put it.
        .set("partitioner", "murmur2_random")
        .set(
            "message.timeout.ms",
            settings.delivery_timeout.get().as_millis().to_string(),
        )
        .set("queue.buffering.max.messages", records.to_string())
        .set("queue.buffering.max.kbytes", kibibytes.to_string());
    config
}

/// The configuration of a consumer of `group`; `reset` is where a group without a committed offset starts.
pub(crate) fn consumer(settings: &KafkaSettings, client_id: &str, group: &str, reset: &str) -> ClientConfig {
    let mut config = common(settings, client_id);
    let session = settings.session_timeout.get().as_millis();
    // Members learn of a rebalance by their next heartbeat.
    let heartbeat = (session / 6).clamp(100, 2000);
    config
        .set("group.id", group)
        .set("session.timeout.ms", session.to_string())
        .set("heartbeat.interval.ms", heartbeat.to_string())
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", reset)
        .set("fetch.error.backoff.ms", "100")
        .set(
            "queued.max.messages.kbytes",
            (settings.prefetch_bytes.bytes() / 1024).max(1).to_string(),
        );
    config
}

/// The configuration of a short-lived client that makes topics.
pub(crate) fn admin(settings: &KafkaSettings, client_id: &str) -> ClientConfig {
    common(settings, client_id)
}

/// The first thing that can't work, before anything is started. No I/O.
pub(crate) fn check(settings: &KafkaSettings) -> Result<(), SettingsError> {
    faults(settings).into_iter().next().map_or(Ok(()), Err)
}

/// Everything that can't work. No I/O.
pub(crate) fn faults(settings: &KafkaSettings) -> Vec<SettingsError> {
    let mut faults = out_of_range(settings);
    let plain = settings.librdkafka.keys().map(|key| (key, false));
    let secret = settings.librdkafka_secrets.keys().map(|key| (key, true));
    for (key, is_secret) in plain.chain(secret) {
        let reason = match REFUSED.iter().find(|(refused, _)| refused == key) {
            Some((_, reason)) => reason,
            None if !is_secret && holds_a_secret(key) => "it holds a secret: set it below librdkafka_secrets",
            None => continue,
        };
        faults.push(SettingsError::Refused {
            key: key.clone(),
            reason,
        });
    }
    if !faults.is_empty() {
        return faults;
    }
    // librdkafka checks names and ranges of the rest, without a client and without I/O.
    let plain = settings
        .librdkafka
        .iter()
        .map(|(key, value)| (key, value.clone()));
    let secrets = settings.librdkafka_secrets.iter();
    let secrets = secrets.map(|(key, value)| (key, value.current().expose().to_owned()));
    let alone = plain.chain(secrets).filter_map(|(key, value)| {
        let refused = ClientConfig::new()
            .set(key, value)
            .create_native_config()
            .is_err();
        refused.then(|| SettingsError::Unknown { key: key.clone() })
    });
    let alone: Vec<_> = alone.collect();
    if !alone.is_empty() {
        return alone;
    }
    let native = |error: KafkaError| match error {
        // Its description repeats the value, which may be a secret.
        KafkaError::ClientConfig(_, _, key, _) => SettingsError::Unknown { key },
        other => SettingsError::Native {
            reason: other.to_string(),
        },
    };
    let together = producer(settings, "check")
        .create_native_config()
        .and_then(|_| consumer(settings, "check", "check", "earliest").create_native_config());
    together.map_err(native).err().into_iter().collect()
}

/// The keys of our own whose value is out of its range.
fn out_of_range(settings: &KafkaSettings) -> Vec<SettingsError> {
    let mut faults = Vec::new();
    let mut value = |key, reason| faults.push(SettingsError::Value { key, reason });
    if settings.bootstrap_servers.trim().is_empty() {
        value(
            "bootstrap_servers",
            "expected host:port, several separated by commas",
        );
    }
    if settings.buffer_records == 0 || settings.buffer_records > 5_000_000 {
        value("buffer_records", "expected 1 to 5000000 records");
    }
    if !(1 << 20..=1 << 30).contains(&settings.buffer_bytes.bytes()) {
        value("buffer_bytes", "expected \"1MiB\" to \"1GiB\"");
    }
    if !(1024..=1 << 30).contains(&settings.prefetch_bytes.bytes()) {
        value("prefetch_bytes", "expected \"1KiB\" to \"1GiB\"");
    }
    let limits = [
        (
            "delivery_timeout",
            settings.delivery_timeout,
            1000,
            3_600_000,
            "expected \"1s\" to \"1h\"",
        ),
        // librdkafka wants room for a fetch that waits half a second for records.
        (
            "request_timeout",
            settings.request_timeout,
            2000,
            300_000,
            "expected \"2s\" to \"5m\"",
        ),
        (
            "session_timeout",
            settings.session_timeout,
            1000,
            300_000,
            "expected \"1s\" to \"5m\"",
        ),
    ];
    for (key, duration, least, most, reason) in limits {
        if !(least..=most).contains(&duration.get().as_millis()) {
            value(key, reason);
        }
    }
    faults
}

/// Whether the value of that key of librdkafka must not be shown.
fn holds_a_secret(key: &str) -> bool {
    ["password", "secret", "ssl.key.pem", "sasl.oauthbearer.config"]
        .iter()
        .any(|part| key.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hafnium_core::secret::Secret;

    fn with(key: &str, value: &str) -> KafkaSettings {
        let mut settings = KafkaSettings::new("localhost:9092");
        settings.librdkafka.insert(key.into(), value.into());
        settings
    }

    #[test]
    fn a_key_that_would_break_a_guarantee_is_refused_with_the_reason() {
        for (key, _) in REFUSED {
            let error = check(&with(key, "1")).unwrap_err();
            assert!(matches!(error, SettingsError::Refused { .. }), "{key}: {error}");
        }
        let error = check(&with("enable.idempotence", "false")).unwrap_err();
        assert!(error.to_string().contains("doubles or reorders"), "{error}");
    }

    #[test]
    fn other_keys_reach_librdkafka_and_a_wrong_one_is_named_without_its_value() {
        assert_eq!(check(&with("fetch.min.bytes", "7")), Ok(()));
        let config = consumer(&with("fetch.min.bytes", "7"), "c", "g", "earliest");
        assert_eq!(config.get("fetch.min.bytes"), Some("7"));
        for (key, value) in [("fetch.min.bytez", "hunter2"), ("fetch.min.bytes", "hunter2")] {
            let error = check(&with(key, value)).unwrap_err().to_string();
            assert!(error.contains(key) && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_secret_has_its_own_place_and_is_refused_elsewhere() {
        let error = check(&with("sasl.password", "hunter2")).unwrap_err().to_string();
        assert!(
            error.contains("librdkafka_secrets") && !error.contains("hunter2"),
            "{error}"
        );
        let mut settings = KafkaSettings::new("localhost:9092");
        settings
            .librdkafka_secrets
            .insert("sasl.password".into(), Secret::new("hunter2"));
        assert_eq!(check(&settings), Ok(()));
        assert_eq!(
            consumer(&settings, "c", "g", "earliest").get("sasl.password"),
            Some("hunter2")
        );
    }

    #[test]
    fn values_out_of_range_are_named() {
        let mut settings = KafkaSettings::new(" ");
        assert!(
            check(&settings)
                .unwrap_err()
                .to_string()
                .starts_with("bootstrap_servers")
        );
        settings.bootstrap_servers = "localhost:9092".into();
        settings.session_timeout = hafnium_core::config::Duration::from_millis(10);
        assert!(
            check(&settings)
                .unwrap_err()
                .to_string()
                .starts_with("session_timeout")
        );
    }
}
