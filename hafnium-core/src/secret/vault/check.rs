//! What can be said of the settings before anything is asked.

use super::client::Client;
use super::login::Login;
use super::settings::{VaultSection, VaultSettings};
use super::target::Target;
use crate::config::{Config, Problem};
use crate::secret::{Address, Source};

/// The keys that say how to log in.
const LOGINS: [&str; 3] = ["token", "approle", "kubernetes"];

impl VaultSettings {
    /// What the types alone can't say is wrong, also with the references of other keys; give it to
    /// [`Loader::check`](crate::config::Loader::check).
    pub fn problems(config: &Config) -> Vec<Problem> {
        let secrets = config.secrets();
        let (own, references): (Vec<_>, Vec<_>) = secrets
            .iter()
            .filter_map(|secret| match secret.leaf.secret.source() {
                Source::Remote(address) => Some((secret.key.clone(), address.clone())),
                _ => None,
            })
            .partition(|(key, _)| key.starts_with("vault."));
        if !own.is_empty() {
            let reason =
                "is needed to ask Vault: it comes from a variable (`env:NAME`) or a file (`file:/path`)";
            return own
                .into_iter()
                .map(|(key, _)| Problem::new(key, reason))
                .collect();
        }
        let Some(partial) = config.partial::<VaultSection>(&[]) else {
            return Vec::new();
        };
        let settings = &partial.settings;
        let mut problems = Vec::new();
        if settings.address.is_some() {
            let login = Login::new(settings).err();
            // A login that has a problem of its own is one all the same.
            let login = login.filter(|_| !LOGINS.iter().any(|key| partial.lacks_below(key)));
            let wrong = [Client::base(settings).err(), login].into_iter().flatten();
            problems.extend(wrong.map(|error| Problem::new(error.key, error.reason)));
            let tls = settings.tls.faults().into_iter();
            problems.extend(partial.problems(tls.map(|(key, reason)| (format!("tls.{key}"), reason))));
        }
        let ours = |address: &Address| super::SCHEMES.contains(&address.scheme.as_str());
        for (key, address) in references.into_iter().filter(|(_, address)| ours(address)) {
            if partial.lacks("address") {
                continue;
            } else if settings.address.is_none() {
                let reason =
                    format!("{address} comes from Vault, and vault.address does not say where that is");
                problems.push(Problem::new(key, reason));
            } else if let Err(error) = Target::parse(&address, &settings.mounts) {
                problems.push(Problem::new(key, error.message));
            }
        }
        problems
    }
}
