//! The settings as they come from a configuration.

use hafnium_core::config::Section;
use hafnium_core::resilience::breaker::BreakerWindow;
use hafnium_core::resilience::{BreakerSettings, BulkheadSettings, RetrySettings};
use schemars::{JsonSchema, schema_for};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// As a client would embed them.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Client {
    retry: RetrySettings,
    breaker: BreakerSettings,
    bulkhead: BulkheadSettings,
}

impl Section for Client {
    const KEY: &'static str = "client";
    type Settings = Self;
}

#[test]
fn what_is_written_is_read_and_what_is_not_has_its_default() {
    let client: Client = serde_json::from_value(json!({
        "retry": { "max_attempts": 5, "budget": { "ratio": "20%" } },
        "breaker": { "window": "count", "slow_call": "250ms" },
        "bulkhead": { "queue_timeout": "1s" },
    }))
    .unwrap();
    assert_eq!(
        (client.retry.max_attempts, client.retry.budget.ratio.get()),
        (5, 0.2)
    );
    assert_eq!(client.retry.budget.burst, 100);
    assert_eq!(client.breaker.window, BreakerWindow::Count);
    assert_eq!(client.breaker.slow_call.unwrap().to_string(), "250ms");
    assert_eq!(client.breaker.minimum_calls, 20);
    assert_eq!(client.bulkhead.queue_timeout.to_string(), "1s");
    let unknown = serde_json::from_value::<Client>(json!({ "breaker": { "treshold": 1 } }));
    assert!(unknown.is_err());
}

/// Every key of `schema` below `path` that is no group of keys, with whether it says that it is reloadable.
fn keys(schema: &Value, definitions: &Value, path: &str, found: &mut Vec<(String, bool)>) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        let target = property["$ref"]
            .as_str()
            .and_then(|name| name.strip_prefix("#/$defs/"));
        let group = target
            .map(|name| &definitions[name])
            .filter(|group| group["properties"].is_object());
        match group {
            Some(group) => keys(group, definitions, &path, found),
            None => found.push((path, property["x-reloadable"] == json!(true))),
        }
    }
}

#[test]
fn every_threshold_is_reloadable_and_documented() {
    let schema = serde_json::to_value(schema_for!(Client)).unwrap();
    let mut found = Vec::new();
    keys(&schema, &schema["$defs"], "client", &mut found);
    assert_eq!(found.len(), 4 + 3 + 10 + 3, "{found:?}");
    for (key, reloadable) in found {
        assert!(reloadable, "{key}");
    }
}
