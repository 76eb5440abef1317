//! Who a process is, in one place: the same attributes go with its logs, traces and metrics, so that they join.

use std::collections::BTreeMap;

use hafnium_core::ServiceInfo;
use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;

use crate::environment::Environment;

/// The attributes of this process.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Identity(BTreeMap<String, String>);

impl Identity {
    /// `service` as the environment wants it: `OTEL_RESOURCE_ATTRIBUTES` wins over what the program says of itself,
    /// and `OTEL_SERVICE_NAME` over both.
    pub(crate) fn of(service: &ServiceInfo, environment: &Environment) -> Self {
        let mut attributes = BTreeMap::from([
            ("service.name".to_owned(), service.name.clone()),
            ("service.version".to_owned(), service.version.clone()),
            ("service.instance.id".to_owned(), service.instance.clone()),
            ("telemetry.sdk.name".to_owned(), "opentelemetry".to_owned()),
            ("telemetry.sdk.language".to_owned(), "rust".to_owned()),
        ]);
        let described = service.attributes.iter();
        attributes.extend(described.map(|(key, value)| ((*key).to_owned(), value.clone())));
        let kubernetes = environment.kubernetes.iter();
        attributes.extend(kubernetes.map(|(key, value)| ((*key).to_owned(), value.clone())));
        attributes.extend(environment.resource.iter().cloned());
        if let Some(name) = &environment.service_name {
            attributes.insert("service.name".to_owned(), name.clone());
        }
        Self(attributes)
    }

    /// One attribute, empty where there is none.
    pub(crate) fn get(&self, key: &str) -> &str {
        self.0.get(key).map_or("", String::as_str)
    }

    pub(crate) fn resource(&self) -> Resource {
        let attributes = self.0.iter();
        Resource::builder_empty()
            .with_attributes(attributes.map(|(key, value)| KeyValue::new(key.clone(), value.clone())))
            .build()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_has_the_last_word_on_who_a_process_is() {
        let attributes = vec![
            ("cloud.region", "eu-west-1".to_owned()),
            ("hafnium.privacy_tier", "internal".to_owned()),
        ];
        let service = ServiceInfo::new("risk-engine", "1.2.3").with_attributes(attributes);
        let environment = Environment {
            service_name: Some("risk-canary".to_owned()),
            resource: vec![
                ("service.name".to_owned(), "ignored".to_owned()),
                ("service.version".to_owned(), "1.2.4".to_owned()),
                ("cloud.region".to_owned(), "eu-central-1".to_owned()),
            ],
            ..Environment::default()
        };
        let identity = Identity::of(&service, &environment);
        assert_eq!(identity.get("service.name"), "risk-canary");
        assert_eq!(identity.get("service.version"), "1.2.4");
        assert_eq!(identity.get("service.instance.id"), service.instance);
        assert_eq!(identity.get("cloud.region"), "eu-central-1");
        assert_eq!(identity.get("hafnium.privacy_tier"), "internal");
    }
}
