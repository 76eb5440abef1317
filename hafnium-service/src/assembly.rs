//! From declarations and configuration to clients and components, without any I/O.

use std::sync::Arc;

use hafnium_core::config::Config;
#[cfg(any(feature = "postgres", feature = "redis", feature = "kafka"))]
use hafnium_core::config::Section;
use hafnium_core::{Component, Context};

use crate::declaration::Declarations;
#[cfg(any(feature = "postgres", feature = "redis", feature = "kafka"))]
use crate::declaration::Dependency;
use crate::ending::Ending;

/// The clients of a service, by name.
#[derive(Default)]
pub(crate) struct Clients {
    pub(crate) upstreams: Vec<(String, hafnium_core::upstream::Upstream)>,
    #[cfg(feature = "postgres")]
    pub(crate) postgres: Vec<(String, hafnium_data::postgres::Postgres)>,
    #[cfg(feature = "redis")]
    pub(crate) redis: Vec<(String, hafnium_data::redis::Redis)>,
    #[cfg(feature = "kafka")]
    pub(crate) kafka: Vec<(String, hafnium_stream::Kafka)>,
}

/// The clients, and the same as components in declaration order.
#[derive(Default)]
pub(crate) struct Assembly {
    pub(crate) clients: Clients,
    pub(crate) components: Vec<Arc<dyn Component>>,
}

/// A kind of client that is made from the settings of its section, one for each declared name.
#[cfg(any(feature = "postgres", feature = "redis", feature = "kafka"))]
trait Client: Component + Clone {
    type Section: Section;

    fn make(name: &str, settings: <Self::Section as Section>::Settings, cx: &Context)
    -> Result<Self, Ending>;

    fn shelf(clients: &mut Clients) -> &mut Vec<(String, Self)>;
}

#[cfg(feature = "postgres")]
impl Client for hafnium_data::postgres::Postgres {
    type Section = hafnium_data::postgres::PostgresSection;

    fn make(
        name: &str,
        settings: hafnium_data::postgres::PostgresSettings,
        cx: &Context,
    ) -> Result<Self, Ending> {
        Ok(Self::new(name, settings, cx)?)
    }

    fn shelf(clients: &mut Clients) -> &mut Vec<(String, Self)> {
        &mut clients.postgres
    }
}

#[cfg(feature = "redis")]
impl Client for hafnium_data::redis::Redis {
    type Section = hafnium_data::redis::RedisSettings;

    fn make(name: &str, settings: hafnium_data::redis::RedisSettings, cx: &Context) -> Result<Self, Ending> {
        Self::new(name, settings, cx).map_err(|error| impossible(format!("redis.{name}.url: {error}")))
    }

    fn shelf(clients: &mut Clients) -> &mut Vec<(String, Self)> {
        &mut clients.redis
    }
}

#[cfg(feature = "kafka")]
impl Client for hafnium_stream::Kafka {
    type Section = hafnium_stream::KafkaSettings;

    fn make(name: &str, settings: hafnium_stream::KafkaSettings, cx: &Context) -> Result<Self, Ending> {
        // The error begins with the key below the cluster.
        Self::new(name, settings, cx).map_err(|error| impossible(format!("kafka.{name}.{error}")))
    }

    fn shelf(clients: &mut Clients) -> &mut Vec<(String, Self)> {
        &mut clients.kafka
    }
}

impl Assembly {
    /// Makes the client `name` of its kind.
    #[cfg(any(feature = "postgres", feature = "redis", feature = "kafka"))]
    fn add<C: Client>(&mut self, name: &str, config: &Config, cx: &Context) -> Result<(), Ending> {
        let client = C::make(name, config.named::<C::Section>(name)?, cx)?;
        self.components.push(Arc::new(client.clone()));
        C::shelf(&mut self.clients).push((name.to_owned(), client));
        Ok(())
    }
}

/// Makes the client of every declared dependency.
pub(crate) fn assemble(
    declarations: &Declarations,
    config: &Config,
    cx: &Context,
) -> Result<Assembly, Ending> {
    let mut assembly = Assembly::default();
    #[cfg(any(feature = "postgres", feature = "redis", feature = "kafka"))]
    for dependency in &declarations.dependencies {
        match dependency {
            #[cfg(feature = "postgres")]
            Dependency::Postgres(declaration) => {
                assembly.add::<hafnium_data::postgres::Postgres>(&declaration.name, config, cx)
            }
            #[cfg(feature = "redis")]
            Dependency::Redis(name) => assembly.add::<hafnium_data::redis::Redis>(name, config, cx),
            #[cfg(feature = "kafka")]
            Dependency::Kafka(name) => assembly.add::<hafnium_stream::Kafka>(name, config, cx),
        }?;
    }
    assembly.clients.upstreams = crate::upstream::assemble(&declarations.upstreams, config, cx)?;
    for (_, client) in &assembly.clients.upstreams {
        assembly.components.push(Arc::new(client.clone()));
    }
    Ok(assembly)
}

/// Settings that a client can't work with.
#[cfg(any(feature = "redis", feature = "kafka"))]
fn impossible(reason: String) -> Ending {
    Ending::new(hafnium_core::exit::Exit::Configuration, reason)
}
