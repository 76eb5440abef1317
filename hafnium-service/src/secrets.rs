//! The store of the service's secrets: what it asks, and what is fetched before any setting is given out.

use std::sync::Arc;

use hafnium_core::Deadline;
#[cfg(feature = "vault")]
use hafnium_core::config::Problem;
use hafnium_core::config::{Config, Loader};
use hafnium_core::exit::Exit;
use hafnium_core::lifecycle::StartSettings;
#[cfg(feature = "vault")]
use hafnium_core::secret::vault::{Vault, VaultSection, VaultSettings};
use hafnium_core::secret::{self, OpenError, Provider, Secrets, SecretsSettings};

use crate::ending::Ending;

/// Declares what can be said of secrets.
pub(crate) fn declare(loader: Loader) -> Loader {
    let loader = loader
        .section::<SecretsSettings>()
        .check(SecretsSettings::problems);
    #[cfg(feature = "vault")]
    let loader = loader.section::<VaultSection>().check(VaultSettings::problems);
    loader
}

/// The store of the secrets of `config`, which has fetched nothing yet. Whoever has it gives back what it was lent.
pub(crate) fn store(config: &Config) -> Result<Secrets, Ending> {
    Ok(Secrets::new(config.get::<SecretsSettings>()?, providers(config)?))
}

/// Does `work` with the secrets that `config` needs, and gives back what was lent for it. `start.deadline` is for both.
pub(crate) async fn during<T>(
    config: &Config,
    work: impl AsyncFnOnce(&Secrets, Deadline) -> Result<T, Ending>,
) -> Result<T, Ending> {
    let secrets = store(config)?;
    let deadline = Deadline::after(config.get::<StartSettings>()?.deadline.get());
    let done = match secrets.open(config, deadline).await {
        Ok(()) => work(&secrets, deadline).await,
        Err(error) => Err(error.into()),
    };
    secrets.release(Deadline::after(GIVEN_BACK)).await;
    done
}

/// How long giving back what was lent may take where no phase of a stop bounds it.
const GIVEN_BACK: std::time::Duration = std::time::Duration::from_secs(1);

/// What answers references, by the features of this build. None reaches out before it is asked.
fn providers(config: &Config) -> Result<Vec<Arc<dyn Provider>>, Ending> {
    Ok([aws(), vault(config)?].into_iter().flatten().collect())
}

#[cfg(feature = "aws")]
#[allow(clippy::unnecessary_wraps, reason = "there is none without the feature")]
fn aws() -> Option<Arc<dyn Provider>> {
    Some(Arc::new(secret::Aws::new()))
}

#[cfg(not(feature = "aws"))]
fn aws() -> Option<Arc<dyn Provider>> {
    None
}

/// Vault, where an address of one is configured.
#[cfg(feature = "vault")]
fn vault(config: &Config) -> Result<Option<Arc<dyn Provider>>, Ending> {
    let settings = match config.get::<VaultSection>() {
        Ok(settings) => settings,
        // A command that needs a part of the service does without, where nothing of that part lies there.
        Err(_) if !config.awaits_secrets() => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if settings.address.is_none() {
        return Ok(None);
    }
    let vault =
        Vault::new(&settings).map_err(|error| config.refused(vec![Problem::new(error.key, error.reason)]))?;
    Ok(Some(Arc::new(vault)))
}

#[cfg(not(feature = "vault"))]
#[allow(
    clippy::unnecessary_wraps,
    reason = "settings that can't work are an error with the feature"
)]
fn vault(_: &Config) -> Result<Option<Arc<dyn Provider>>, Ending> {
    Ok(None)
}

/// Lets no core dump be written, which would hold every secret; in `dev` a dump is worth more.
pub(crate) fn leave_no_core_dump(config: &Config) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    if config.environment().is_dev() {
        return;
    }
    // A limit of one byte is below what a file needs, and is how Linux is told that a program that dumps are piped to,
    // which heeds no other limit, gets none either.
    let Rlimit { maximum, .. } = getrlimit(Resource::Core);
    let current = Some(maximum.map_or(1, |maximum| maximum.min(1)));
    if let Err(error) = setrlimit(Resource::Core, Rlimit { current, maximum }) {
        tracing::warn!(%error, "core dumps can't be turned off");
    }
}

/// A line for each secret that no rotation reaches, for `check`.
pub(crate) fn remarks(config: &Config) -> Vec<String> {
    let fixed = secret::fixed(config).into_iter();
    fixed.map(|fixed| format!("note: secret {fixed}")).collect()
}

impl From<OpenError> for Ending {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Refused(error) => error.into(),
            other => Ending::new(Exit::Unavailable, other),
        }
    }
}
