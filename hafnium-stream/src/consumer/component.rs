//! A consumer as a component of a service.

use std::marker::PhantomData;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use hafnium_core::health::{Check, Registration};
use hafnium_core::lifecycle;
use hafnium_core::metrics::Metrics;
use hafnium_core::propagation::Propagation;
use hafnium_core::{BoxFuture, Component, Context, Deadline, StartError, Stopped};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use serde::de::DeserializeOwned;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::dead_letter::DeadLetters;
use super::figures::Figures;
use super::lane::Lanes;
use super::poll::Poller;
use super::process::{Handling, Process, Workshop};
use super::rebalance::Callbacks;
use super::spec::{ConsumerSpec, SpecError, StartAt};
use super::state::{Ending, State};
use super::work::Event;
use crate::handler::{Decode, Handler, Json};
use crate::kafka::Kafka;
use crate::native;
use crate::trouble::Trouble;

/// Reads topics as a member of a group and hands their records to a [`Handler`].
///
/// Starting does not wait for partitions: they come when the group gives them. When the service drains, nothing new is
/// taken, what began is finished, and the group is left as soon as that is done. [`stop`](Component::stop) bounds it:
/// at the deadline handlers are dropped, what they held comes again elsewhere, and it is named.
///
/// Dropping a consumer that was not stopped leaves the group in the background, without waiting for handlers.
pub struct Consumer {
    component: String,
    spec: ConsumerSpec,
    drain_timeout: Duration,
    kafka: Kafka,
    process: Arc<dyn Process>,
    metrics: Metrics,
    propagation: Propagation,
    state: Arc<State>,
    events: Sender<Event>,
    /// Taken by the thread.
    inbox: Mutex<Option<Receiver<Event>>>,
    /// Made at the start, within the runtime.
    shop: OnceLock<Arc<Workshop>>,
    _health: Registration,
}

impl Consumer {
    /// The consumer `name` as `spec` says, whose values are JSON. No I/O: [`Component::start`] subscribes.
    ///
    /// # Errors
    /// [`SpecError`] when something is missing in the declaration or contradicts itself.
    pub fn new<T, H>(
        name: impl Into<String>,
        spec: ConsumerSpec,
        kafka: &Kafka,
        handler: H,
        cx: &Context,
    ) -> Result<Self, SpecError>
    where
        T: DeserializeOwned + 'static,
        H: Handler<T>,
    {
        Self::with_decoder(name, spec, kafka, Json, handler, cx)
    }

    /// The consumer `name` as `spec` says, whose values are what `decoder` makes of the bytes.
    ///
    /// # Errors
    /// As [`Consumer::new`].
    pub fn with_decoder<T, D, H>(
        name: impl Into<String>,
        spec: ConsumerSpec,
        kafka: &Kafka,
        decoder: D,
        handler: H,
        cx: &Context,
    ) -> Result<Self, SpecError>
    where
        T: 'static,
        D: Decode<T>,
        H: Handler<T>,
    {
        let drain_timeout = spec.check(kafka.cluster.settings.session_timeout.get())?;
        let component = format!("consumer.{}", name.into());
        let state = Arc::new(State::new());
        let seen = state.clone();
        let health = cx.health().register(Check::own(component.clone()), move || {
            let status = seen.health(Instant::now());
            async move { status }
        });
        let (events, inbox) = mpsc::channel();
        Ok(Self {
            process: Arc::new(Handling {
                decoder,
                handler,
                value: PhantomData,
            }),
            kafka: kafka.clone(),
            metrics: cx.metrics().clone(),
            propagation: cx.propagation().clone(),
            inbox: Mutex::new(Some(inbox)),
            shop: OnceLock::new(),
            component,
            spec,
            drain_timeout,
            state,
            events,
            _health: health,
        })
    }

    fn workshop(&self, runtime: Handle) -> Workshop {
        let group = self.spec.group_name().unwrap_or_default().to_owned();
        let producer = self.kafka.producer();
        let dead_letters = DeadLetters::new(producer, self.spec.clone(), group.clone(), self.state.clone());
        Workshop {
            process: self.process.clone(),
            places: Semaphore::new(self.spec.concurrency),
            lanes: Mutex::new(Lanes::new()),
            dead_letters,
            figures: Figures::new(&self.metrics, &group, self.spec.topics()),
            propagation: self.propagation.clone(),
            events: self.events.clone(),
            spec: self.spec.clone(),
            group,
            runtime,
        }
    }

    fn native(&self) -> Result<BaseConsumer<Callbacks>, StartError> {
        let cluster = &self.kafka.cluster;
        let reset = match self.spec.start_at {
            StartAt::Earliest => "earliest",
            StartAt::Latest => "latest",
        };
        let group = self.spec.group_name().unwrap_or_default();
        let config = native::consumer(&cluster.settings, &cluster.client_id, group, reset);
        let callbacks = Callbacks::new(Arc::new(Trouble::new(self.component.clone())));
        let topics: Vec<&str> = self.spec.topics().iter().map(String::as_str).collect();
        let consumer: BaseConsumer<Callbacks> = config
            .create_with_context(callbacks)
            .map_err(|error| StartError::configuration(&self.component, error))?;
        consumer
            .subscribe(&topics)
            .map_err(|error| StartError::configuration(&self.component, error))?;
        Ok(consumer)
    }

    /// Runs the thread, and what accompanies it.
    fn run(&self, inbox: Receiver<Event>, cx: &Context) -> Result<(), StartError> {
        let runtime = Handle::current();
        let shop = self
            .shop
            .get_or_init(|| Arc::new(self.workshop(runtime.clone())))
            .clone();
        let settings = &self.kafka.cluster.settings;
        // A commit without a coordinator blocks the thread for some of these; only what is longer is a defect of ours.
        let limit =
            Duration::from_secs(60) + 3 * (settings.session_timeout.get() + settings.request_timeout.get());
        let pulse = cx.health().heartbeat(format!("{}.poll", self.component), limit);
        let native = self.native()?;
        let poller = Poller::new(
            native,
            inbox,
            shop.clone(),
            self.state.clone(),
            pulse,
            self.drain_timeout,
        );
        let ending = EndsWithThread(self.state.clone());
        self.state.start();
        std::thread::Builder::new()
            .name(self.component.clone())
            .spawn(move || {
                let _ending = ending;
                poller.run();
            })
            .map_err(|error| StartError::failed(&self.component, error))?;
        let (state, events, watch) = (self.state.clone(), self.events.clone(), cx.lifecycle().clone());
        runtime.spawn(async move {
            tokio::select! {
                () = watch.reached(lifecycle::State::Draining) => {
                    // The thread may have ended already.
                    let _ = events.send(Event::Drain);
                }
                () = state.wait_ended() => {}
            }
        });
        let state = self.state.clone();
        runtime.spawn(async move {
            tokio::select! {
                () = shop.dead_letters.prepare() => {}
                () = state.wait_ended() => {}
            }
        });
        Ok(())
    }
}

/// Whatever ends the thread, a panic included, is seen.
struct EndsWithThread(Arc<State>);

impl Drop for EndsWithThread {
    fn drop(&mut self) {
        self.0
            .end(Ending::Failed("the polling thread ended unexpectedly".into()));
    }
}

impl Component for Consumer {
    fn name(&self) -> &str {
        &self.component
    }

    fn start<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<(), StartError>> {
        Box::pin(async move {
            let inbox = self.inbox.lock().unwrap_or_else(PoisonError::into_inner).take();
            match inbox {
                Some(inbox) => self.run(inbox, cx),
                None => Ok(()),
            }
        })
    }

    fn stop<'a>(&'a self, deadline: Deadline) -> BoxFuture<'a, Stopped> {
        Box::pin(async move {
            if !self.state.is_started() {
                return Stopped::Clean;
            }
            // Fails when the thread has ended, which the wait then sees.
            let _ = self.events.send(Event::Stop(deadline.instant()));
            let ended = deadline
                .bound("the consumer to leave its group", self.state.wait_ended())
                .await;
            let mut stragglers: Vec<String> = self
                .state
                .stragglers()
                .iter()
                .map(|name| format!("{}: {name}", self.component))
                .collect();
            if ended.is_err() && stragglers.is_empty() {
                stragglers.push(format!("{}: leaving the group", self.component));
            }
            if stragglers.is_empty() {
                Stopped::Clean
            } else {
                Stopped::Incomplete(stragglers)
            }
        })
    }

    fn under_way(&self) -> Vec<String> {
        let live = self.shop.get().map(|shop| shop.live()).unwrap_or_default();
        live.into_iter()
            .map(|((topic, partition), keys)| {
                format!("{}: {topic}[{partition}]: {keys} keys", self.component)
            })
            .collect()
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        if self.state.is_started() && self.state.ended().is_none() {
            tracing::warn!(
                consumer = self.component,
                "dropped without a stop; it leaves its group in the background"
            );
            let _ = self.events.send(Event::Abandon);
        }
    }
}
