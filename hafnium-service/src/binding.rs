//! Declared consumers and the handlers bound to them.

use std::sync::Arc;

use hafnium_core::exit::Exit;
use hafnium_core::{Component, Context};
use hafnium_stream::{Consumer, ConsumerSpec, Handler, Kafka, SpecError};
use serde::de::DeserializeOwned;

use crate::ending::Ending;

type Make = dyn FnOnce(&str, ConsumerSpec, &Kafka, &Context) -> Result<Arc<dyn Component>, SpecError> + Send;

/// A handler that waits for the consumer it is bound to.
pub(crate) struct Binding(Box<Make>);

impl Binding {
    pub(crate) fn new<T, H>(handler: H) -> Self
    where
        T: DeserializeOwned + Send + 'static,
        H: Handler<T>,
    {
        Self(Box::new(move |name, spec, kafka, context| {
            Ok(Arc::new(Consumer::new(name, spec, kafka, handler, context)?))
        }))
    }
}

/// One consumer per declaration. Names that do not pair up end the start.
pub(crate) fn bind(
    declared: &[(String, ConsumerSpec)],
    mut handlers: Vec<(String, Binding)>,
    clusters: &[(String, Kafka)],
    context: &Context,
) -> Result<Vec<Arc<dyn Component>>, Ending> {
    let wrong = |reason: String| Ending::new(Exit::Configuration, reason);
    // First of all the names that a handler is bound to: a misspelled one explains why another has no handler.
    for (at, (name, _)) in handlers.iter().enumerate() {
        if !declared.iter().any(|(one, _)| one == name) {
            let names: Vec<_> = declared.iter().map(|(name, _)| name.as_str()).collect();
            let names = if names.is_empty() {
                "none".to_owned()
            } else {
                names.join(", ")
            };
            return Err(wrong(format!(
                "a handler is bound to consumer {name:?}, which is not declared; declared: {names}"
            )));
        }
        if handlers[..at].iter().any(|(one, _)| one == name) {
            return Err(wrong(format!("two handlers are bound to consumer {name:?}")));
        }
    }
    let mut consumers = Vec::new();
    for (name, spec) in declared {
        let found = handlers.iter().position(|(bound, _)| bound == name);
        let found =
            found.ok_or_else(|| wrong(format!("consumer {name:?} is declared and has no handler")))?;
        let (_, Binding(make)) = handlers.swap_remove(found);
        let wanted = spec.kafka_name();
        let cluster = match (wanted, clusters) {
            (None, [(_, only)]) => Some(only),
            (None, _) => None,
            (Some(wanted), clusters) => clusters
                .iter()
                .find(|(cluster, _)| cluster == wanted)
                .map(|(_, cluster)| cluster),
        };
        let cluster = cluster.ok_or_else(|| {
            let names: Vec<_> = clusters.iter().map(|(name, _)| name.as_str()).collect();
            wrong(format!(
                "consumer {name:?} must name one of the declared Kafka clusters: {}",
                names.join(", ")
            ))
        })?;
        let consumer = make(name, spec.clone(), cluster, context);
        consumers.push(consumer.map_err(|error| wrong(format!("consumer {name:?}: {error}")))?);
    }
    Ok(consumers)
}
