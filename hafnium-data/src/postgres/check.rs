//! What the schema can't say of the settings of a database.

use std::net::SocketAddr;

use hafnium_core::config::{Config, Problem};
use hafnium_core::secret::Secret;

use super::credentials::Origin;
use super::settings::{PostgresSection, PostgresSettings};
use super::url::{Target, host};

/// Stands for a URL that can't be read, so that the keys beside it can be.
const ANYWHERE: &str = "postgres://database";

impl PostgresSettings {
    /// What the types alone can't say is wrong with `postgres.<name>`; give it to
    /// [`Loader::check`](hafnium_core::config::Loader::check).
    pub fn problems(config: &Config, name: &str) -> Vec<Problem> {
        let Some(partial) = config.partial_named::<PostgresSection>(name, &[("url", ANYWHERE)]) else {
            return Vec::new();
        };
        let mut settings = partial.settings.clone();
        let mut found = Vec::new();
        let target = Target::parse(settings.url.current().expose())
            .and_then(|target| target.settled(config.environment()));
        // The nodes of a URL that is still to be fetched, or can't be read, are not known.
        let named_nodes = match &target {
            Ok(target) if !partial.lacks("url") => named(&settings, target).err(),
            _ => None,
        };
        let target = target.or_else(|wrong| {
            found.push(wrong.to_string());
            settings.url = Secret::new(ANYWHERE);
            Target::parse(ANYWHERE)
        });
        if let Ok(target) = target {
            found.extend(faults(&settings, &target));
        }
        found.extend(named_nodes);
        found.extend(name_servers(&settings).err());
        found.extend(Origin::new(&settings).err());
        partial.problems(found.iter().filter_map(|fault| fault.split_once(": ")))
    }
}

/// # Errors
/// The first thing that can't work, with its key.
pub(super) fn check(settings: &PostgresSettings, target: &Target) -> Result<(), String> {
    faults(settings, target).into_iter().next().map_or(Ok(()), Err)
}

/// Everything that can't work, each with its key.
fn faults(settings: &PostgresSettings, target: &Target) -> Vec<String> {
    let mut faults = Vec::new();
    if settings.max == 0 {
        faults.push("max: must be at least 1".to_owned());
    }
    let limits = [
        ("timeout", settings.timeout),
        ("connect_timeout", settings.connect_timeout),
    ];
    for (key, _) in limits.iter().filter(|(_, limit)| limit.get().is_zero()) {
        faults.push(format!("{key}: must be longer than 0s"));
    }
    if !settings.prepared_statements && target.sets_options() {
        faults.push(
            "url: parameter \"options\": with prepared_statements = false there is a pooler, which does not pass them on; \
             use ALTER ROLE … SET instead"
                .to_owned(),
        );
    }
    let retention = settings.marker_retention.get();
    if !retention.is_zero() && retention <= settings.timeout.get() {
        faults
            .push("marker_retention: must be longer than timeout, or 0s to keep markers for ever".to_owned());
    }
    for (index, host) in target.hosts.iter().enumerate() {
        if target.hosts[..index].contains(host) {
            faults.push(format!("url: {host} is named twice"));
        }
    }
    faults
}

/// The place of the node that `split_brain_primary` names.
///
/// # Errors
/// When it names none.
pub(super) fn named(settings: &PostgresSettings, target: &Target) -> Result<Option<usize>, String> {
    let Some(text) = &settings.split_brain_primary else {
        return Ok(None);
    };
    let named = host(text).ok();
    let place = target.hosts.iter().position(|host| Some(host) == named.as_ref());
    let unknown = || {
        let nodes: Vec<_> = target.hosts.iter().map(ToString::to_string).collect();
        let nodes = nodes.join(", ");
        format!("split_brain_primary: \"{text}\" is no node of the url; accepted: one of {nodes}")
    };
    place.map(Some).ok_or_else(unknown)
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
