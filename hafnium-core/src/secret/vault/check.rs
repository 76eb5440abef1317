//! What can be said of the settings before anything is asked.

use super::client::Client;
use super::login::Login;
use super::settings::{VaultSection, VaultSettings};
use super::target::Target;
use crate::config::{Config, Problem};
use crate::secret::Source;

impl VaultSettings {
    /// What the types alone can't say is wrong, also with the references of other keys; give it to
    /// [`Loader::check`](crate::config::Loader::check).
    pub fn problems(config: &Config) -> Vec<Problem> {
        let Ok(settings) = config.get::<VaultSection>() else {
            return Vec::new();
        };
        let mut problems = Vec::new();
        if settings.address.is_some() {
            let wrong = [Client::base(&settings).err(), Login::new(&settings).err()];
            let wrong = wrong.into_iter().flatten();
            problems.extend(wrong.map(|error| Problem::new(error.key, error.reason)));
        }
        for secret in config.secrets() {
            let Source::Remote(address) = secret.leaf.secret.source() else {
                continue;
            };
            if !super::SCHEMES.contains(&address.scheme.as_str()) {
                continue;
            }
            let reason = if secret.key.starts_with("vault.") {
                "Vault's own settings can't come from Vault".to_owned()
            } else if settings.address.is_none() {
                format!("{address} comes from Vault, and vault.address does not say where that is")
            } else if let Err(error) = Target::parse(address, &settings.mounts) {
                error.message
            } else {
                continue;
            };
            problems.push(Problem::new(secret.key, reason));
        }
        problems
    }
}
