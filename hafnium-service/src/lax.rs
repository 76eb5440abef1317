//! What `check` warns of in production: settings that are accepted and should not stay so.

use hafnium_core::config::{Config, Environment, Problem};

/// One line for each lax setting in `prod` and `dr`; none elsewhere.
pub(crate) fn warnings(config: &Config) -> Vec<String> {
    if !matches!(config.environment(), Environment::Prod | Environment::Dr) {
        return Vec::new();
    }
    let found = config
        .lax()
        .into_iter()
        .chain(listener(config))
        .chain(clusters(config));
    found.map(|problem| format!("warning: {problem}")).collect()
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
