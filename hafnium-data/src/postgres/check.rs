//! What the schema can't say of the settings of a database.

use std::net::SocketAddr;

use super::settings::PostgresSettings;
use super::url::Target;

/// # Errors
/// What can't work, with the key.
pub(super) fn check(settings: &PostgresSettings, target: &Target) -> Result<(), String> {
    if settings.max == 0 {
        return Err("max: must be at least 1".to_owned());
    }
    if settings.timeout.get().is_zero() || settings.connect_timeout.get().is_zero() {
        return Err("timeout and connect_timeout: must be longer than 0s".to_owned());
    }
    if !settings.prepared_statements && target.sets_options() {
        return Err(
            "url: parameter \"options\": with prepared_statements = false there is a pooler, which does not pass them on; \
             use ALTER ROLE … SET instead"
                .to_owned(),
        );
    }
    let retention = settings.marker_retention.get();
    if !retention.is_zero() && retention <= settings.timeout.get() {
        return Err(
            "marker_retention: must be longer than timeout, or 0s to keep markers for ever".to_owned(),
        );
    }
    for (index, host) in target.hosts.iter().enumerate() {
        if target.hosts[..index].contains(host) {
            return Err(format!("url: {host} is named twice"));
        }
    }
    Ok(())
}

/// The name servers of the settings, with the port of DNS where they name none.
///
/// # Errors
/// What is no address.
pub(super) fn name_servers(settings: &PostgresSettings) -> Result<Vec<SocketAddr>, String> {
    let server = |text: &String| {
        let address = text.parse::<SocketAddr>().ok();
        address
            .or_else(|| Some(SocketAddr::new(text.parse().ok()?, 53)))
            .ok_or_else(|| {
                format!(
                    "resolver: \"{text}\" is no address of a name server; accepted: an IP address, or one with a port \
                     such as \"10.0.0.2:53\" or \"[::1]:53\""
                )
            })
    };
    settings.resolver.iter().map(server).collect()
}
