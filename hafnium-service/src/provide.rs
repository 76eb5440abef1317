//! Environment `dev`: a declared dependency that nobody configured is provided.

use hafnium_core::config::{Config, Loader};
use hafnium_core::exit::Exit;
use hafnium_testkit::dev::DevServices;

use crate::declaration::{Declarations, Dependency};
use crate::ending::Ending;

/// Shown as the origin of a provided value.
const ORIGIN: &str = "dev services";

/// Keeps what was provided running; dropping it stops what was started.
pub(crate) struct Provided {
    _services: DevServices,
}

/// A service in `dev` with dependencies that nobody configured.
pub(crate) struct Missing {
    /// What is configured, apart from them.
    pub(crate) config: Config,
    services: DevServices,
    dependencies: Vec<Dependency>,
}

/// The dependencies to provide; `None` where there are none, or where nothing may be provided: then the full load
/// tells what is missing.
pub(crate) fn missing(loader: &Loader, declarations: &Declarations, service: &str) -> Option<Missing> {
    let config = loader.clone().needs::<String>([]).load().ok()?;
    if !config.environment().is_dev() || config.deployed().is_some() {
        return None;
    }
    let dependencies: Vec<_> = declarations
        .dependencies
        .iter()
        .filter(|one| !config.is_set(&place(one)))
        .cloned()
        .collect();
    if dependencies.is_empty() {
        return None;
    }
    let services = DevServices::new(service).ok()?;
    Some(Missing {
        config,
        services,
        dependencies,
    })
}

/// The key that says where a dependency is.
fn place(dependency: &Dependency) -> String {
    match dependency {
        #[cfg(feature = "postgres")]
        Dependency::Postgres(declaration) => format!("postgres.{}.url", declaration.name),
        #[cfg(feature = "redis")]
        Dependency::Redis(name) => format!("redis.{name}.url"),
        #[cfg(feature = "kafka")]
        Dependency::Kafka(name) => format!("kafka.{name}.bootstrap_servers"),
    }
}

impl Missing {
    /// Provides each, one after the other, and gives the loader their places.
    pub(crate) async fn provide(self, mut loader: Loader) -> Result<(Loader, Provided), Ending> {
        for dependency in &self.dependencies {
            let provided = match dependency {
                #[cfg(feature = "postgres")]
                Dependency::Postgres(declaration) => self.services.postgres(&declaration.name).await,
                #[cfg(feature = "redis")]
                Dependency::Redis(name) => self.services.redis(name).await,
                #[cfg(feature = "kafka")]
                Dependency::Kafka(name) => self.services.kafka(name).await,
            };
            let provided = provided.map_err(|error| Ending::new(Exit::Unavailable, error))?;
            loader = loader.provide(&place(dependency), provided.url, ORIGIN);
            // A broker that has just been started has no topics, and nobody is there to make them.
            #[cfg(feature = "kafka")]
            if let Dependency::Kafka(name) = dependency {
                loader = loader.provide(&format!("kafka.{name}.auto_create_topics"), "true", ORIGIN);
            }
        }
        Ok((
            loader,
            Provided {
                _services: self.services,
            },
        ))
    }
}
