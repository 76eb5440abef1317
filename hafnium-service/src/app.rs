//! What the service's own set-up works with.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use hafnium_core::Context;
use hafnium_core::tasks::{Every, Restart, TaskOutput};

use crate::assembly::Clients;
#[cfg(feature = "kafka")]
use crate::binding::Binding;
use crate::setup::NotDeclared;

/// The started service, as given to the closure of [`Service::run`](crate::Service::run). Cheap to clone.
///
/// Every declared client is connected by now. Routes and handlers bound here begin to be served once the closure
/// has returned.
pub struct App<S = ()> {
    shared: Arc<Shared<S>>,
}

struct Shared<S> {
    settings: S,
    context: Context,
    clients: Clients,
    bound: Mutex<Bound>,
}

/// What the closure bound.
#[derive(Default)]
pub(crate) struct Bound {
    pub(crate) router: Option<Router>,
    #[cfg(feature = "kafka")]
    pub(crate) handlers: Vec<(String, Binding)>,
}

impl<S> Clone for App<S> {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
        }
    }
}

impl<S> App<S> {
    pub(crate) fn new(settings: S, context: Context, clients: Clients) -> Self {
        Self {
            shared: Arc::new(Shared {
                settings,
                context,
                clients,
                bound: Mutex::default(),
            }),
        }
    }

    /// The service's own settings, from the keys below `settings`.
    pub fn settings(&self) -> &S {
        &self.shared.settings
    }

    /// Health, metrics, tasks and lifecycle.
    pub fn context(&self) -> &Context {
        &self.shared.context
    }

    /// Serves `router` on the application listener; several routers are merged.
    ///
    /// # Panics
    /// As [`Router::merge`] does when two routers have the same route; that ends the start with exit code 101.
    pub fn serve(&self, router: Router) {
        let mut bound = self.shared.bound.lock().unwrap_or_else(PoisonError::into_inner);
        let merged = bound.router.take().unwrap_or_default().merge(router);
        bound.router = Some(merged);
    }

    /// Runs `task` under `name` in the background: counted, named when it is late, and cancelled in the stop after
    /// the last request and record.
    pub fn spawn(&self, name: impl Into<String>, task: impl Future<Output = ()> + Send + 'static) {
        self.shared.context.tasks().spawn(name, task);
    }

    /// Runs the tasks that `make` gives, one after the other as `restart` says: see [`Tasks::spawn_with`].
    ///
    /// [`Tasks::spawn_with`]: hafnium_core::tasks::Tasks::spawn_with
    pub fn spawn_with<F, Fut>(&self, name: impl Into<String>, restart: Restart, make: F)
    where
        F: FnMut() -> Fut + Send + 'static,
        Fut: Future<Output: TaskOutput> + Send,
    {
        self.shared.context.tasks().spawn_with(name, restart, make);
    }

    /// Runs what `make` gives each period: see [`Tasks::every`].
    ///
    /// [`Tasks::every`]: hafnium_core::tasks::Tasks::every
    pub fn every<F, Fut>(&self, name: impl Into<String>, every: impl Into<Every>, make: F)
    where
        F: FnMut() -> Fut + Send + 'static,
        Fut: Future<Output: TaskOutput> + Send,
    {
        self.shared.context.tasks().every(name, every, make);
    }

    /// Runs `work` on a thread that may block: see [`Tasks::spawn_blocking`].
    ///
    /// [`Tasks::spawn_blocking`]: hafnium_core::tasks::Tasks::spawn_blocking
    pub fn spawn_blocking<T, F>(&self, name: impl Into<String>, work: F) -> tokio::task::JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.shared.context.tasks().spawn_blocking(name, work)
    }

    /// The declared database of that name.
    ///
    /// # Errors
    /// [`NotDeclared`], which ends the start with exit code 78.
    #[cfg(feature = "postgres")]
    pub fn postgres(&self, name: &str) -> Result<hafnium_data::postgres::Postgres, NotDeclared> {
        find("postgres", name, &self.shared.clients.postgres)
    }

    /// The declared store of that name.
    ///
    /// # Errors
    /// [`NotDeclared`], which ends the start with exit code 78.
    #[cfg(feature = "redis")]
    pub fn redis(&self, name: &str) -> Result<hafnium_data::redis::Redis, NotDeclared> {
        find("redis", name, &self.shared.clients.redis)
    }

    /// The declared Kafka cluster of that name.
    ///
    /// # Errors
    /// [`NotDeclared`], which ends the start with exit code 78.
    #[cfg(feature = "kafka")]
    pub fn kafka(&self, name: &str) -> Result<hafnium_stream::Kafka, NotDeclared> {
        find("kafka", name, &self.shared.clients.kafka)
    }

    /// The declared upstream of that name.
    ///
    /// # Errors
    /// [`NotDeclared`], which ends the start with exit code 78.
    pub fn upstream(&self, name: &str) -> Result<hafnium_core::upstream::Upstream, NotDeclared> {
        find("upstream", name, &self.shared.clients.upstreams)
    }

    /// Binds `handler` to the declared consumer `name`. A name that is not declared, or a declared consumer that gets
    /// no handler, ends the start with exit code 78.
    #[cfg(feature = "kafka")]
    pub fn consume<T, H>(&self, name: &str, handler: H)
    where
        T: serde::de::DeserializeOwned + Send + 'static,
        H: hafnium_stream::Handler<T>,
    {
        let mut bound = self.shared.bound.lock().unwrap_or_else(PoisonError::into_inner);
        bound.handlers.push((name.to_owned(), Binding::new(handler)));
    }

    /// What the closure bound; nothing can be bound afterwards.
    pub(crate) fn take_bound(&self) -> Bound {
        std::mem::take(&mut self.shared.bound.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn find<C: Clone>(kind: &'static str, name: &str, clients: &[(String, C)]) -> Result<C, NotDeclared> {
    clients
        .iter()
        .find(|(declared, _)| declared == name)
        .map(|(_, client)| client.clone())
        .ok_or_else(|| {
            let declared = clients.iter().map(|(declared, _)| declared.clone()).collect();
            NotDeclared {
                kind,
                name: name.to_owned(),
                declared,
            }
        })
}
