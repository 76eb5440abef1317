//! What `check` warns of: settings that are accepted and should not stay so, and secrets that can't rotate.

use hafnium_core::config::{Config, Environment, Problem};

/// One line for each warning. Lax settings are named in `prod` and `dr`, secrets that never rotate everywhere.
pub(crate) fn warnings(config: &Config) -> Vec<String> {
    let strict = matches!(config.environment(), Environment::Prod | Environment::Dr);
    let mut found = Vec::new();
    if strict {
        found.extend(config.lax());
        found.extend(listener(config));
        found.extend(clusters(config));
    }
    found.extend(config.fixed_secrets());
    found
        .iter()
        .map(|problem| format!("warning: {problem}"))
        .collect()
}

fn listener(config: &Config) -> Option<Problem> {
    let reason = "not set, so the application listener speaks without TLS: only behind something that encrypts \
                  is that right";
    let missing = !config.is_set("http.tls.certificate");
    missing.then(|| Problem::new("http.tls.certificate", reason))
}

/// librdkafka speaks plaintext unless it is told otherwise.
fn clusters(config: &Config) -> Vec<Problem> {
    let entries = config.entries();
    let clusters = entries.iter().filter_map(|entry| {
        entry
            .key
            .strip_prefix("kafka.")?
            .strip_suffix(".bootstrap_servers")
    });
    let problems = clusters.filter_map(|name| {
        let key = format!("kafka.{name}.librdkafka");
        // librdkafka's own names hold dots, as the keys of ours do.
        let protocol = entries
            .iter()
            .find(|entry| entry.key == format!("{key}.security.protocol"))
            .map_or("plaintext", |entry| entry.value.as_str());
        let open = !protocol.to_ascii_lowercase().ends_with("ssl");
        open.then(|| {
            let reason =
                format!("security.protocol is {protocol}: TLS is off, and everything can be read on the way");
            Problem::new(key, reason)
        })
    });
    problems.collect()
}
