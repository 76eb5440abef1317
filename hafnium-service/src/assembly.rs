//! From declarations and configuration to clients and components, without any I/O.

use std::sync::Arc;

use hafnium_core::config::Config;
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
                use hafnium_data::postgres::{Postgres, PostgresSection};
                let name = declaration.name.as_str();
                let settings = config.named::<PostgresSection>(name)?;
                let client = Postgres::new(name, settings, cx)?;
                assembly.components.push(Arc::new(client.clone()));
                assembly.clients.postgres.push((name.to_owned(), client));
            }
            #[cfg(feature = "redis")]
            Dependency::Redis(name) => {
                use hafnium_data::redis::{Redis, RedisSettings};
                let settings = config.named::<RedisSettings>(name)?;
                let client = Redis::new(name, settings, cx)
                    .map_err(|error| impossible(format!("redis.{name}.url: {error}")))?;
                assembly.components.push(Arc::new(client.clone()));
                assembly.clients.redis.push((name.clone(), client));
            }
            #[cfg(feature = "kafka")]
            Dependency::Kafka(name) => {
                use hafnium_stream::{Kafka, KafkaSettings};
                let settings = config.named::<KafkaSettings>(name)?;
                let client = Kafka::new(name, settings, cx)
                    // The error begins with the key below the cluster.
                    .map_err(|error| impossible(format!("kafka.{name}.{error}")))?;
                assembly.components.push(Arc::new(client.clone()));
                assembly.clients.kafka.push((name.clone(), client));
            }
        }
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
