//! The handle that services hold.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hafnium_core::health::{Check, Registration, Status};
use hafnium_core::tasks::Tasks;
use hafnium_core::{BoxFuture, Classify, Component, Context, Deadline, Outcome, StartError, Stopped};
use redis::aio::ConnectionLike;
use redis::{Cmd, Pipeline, RedisError, RedisFuture, Value};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::class::{are_harmless, is_harmless};
use super::classify::{Detail, casts_doubt, classify, is_broken};
use super::link::{Link, Node};
use super::monitor::Monitor;
use super::settings::RedisSettings;
use super::shown::{self, Heard};
use super::target::{Target, TargetError};

/// Between two attempts at a node that is well but busy (`BUSY`, `TRYAGAIN`); ± 50 % of jitter.
const BACKOFF: Duration = Duration::from_millis(25);
/// One try of a start. Short, because only its end tells the probes what is being waited for.
const TRY: Duration = Duration::from_secs(1);
/// How long a client without a service around it waits for its first answer.
const CONNECT: Duration = Duration::from_secs(5);

/// A Redis store by name. Cheap to clone; all clones share one connection.
///
/// It is a redis-rs connection: [`redis::AsyncCommands`] and pipelines work on `&mut` of a clone. A command waits for
/// a primary and for its reply no longer than the nearest of the store's `timeout` and the deadline of the request or
/// record that it serves. A command that certainly did not run (`READONLY` of a demoted node, no primary yet) is
/// repeated within that time. One whose outcome is unknown is repeated only where a second run does no harm (reads,
/// plain `SET`, `DEL`, `HSET` and the like; never `INCR`, pushes, pops or scripts). [`classify`] tells which an error is.
///
/// Cancel-safety: a dropped command may still run on the server; the connection stays usable.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use hafnium_core::Context;
/// use hafnium_data::redis::{Redis, RedisSettings};
/// use redis::AsyncCommands;
///
/// let settings = RedisSettings::new("redis+sentinel://s1:26379,s2:26379,s3:26379/mymaster");
/// let mut redis = Redis::connect(settings, &Context::standalone()).await?;
/// let hits: u64 = redis.incr("hits", 1).await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Redis {
    inner: Arc<Inner>,
}

struct Inner {
    name: String,
    component: String,
    timeout: Duration,
    database: i64,
    link: watch::Receiver<Link>,
    doubt: Arc<Notify>,
    monitor: Mutex<Option<Monitor>>,
    monitoring: TaskTracker,
    /// A panic of the monitor ends the service.
    tasks: Tasks,
    stop: CancellationToken,
    /// Ends the monitor when the last handle goes.
    _stop_on_drop: DropGuard,
    _health: Registration,
    _shown: hafnium_core::topology::Registration,
}

impl Redis {
    /// The store `name` as `settings` say. No I/O: [`Component::start`] connects.
    ///
    /// # Errors
    /// [`TargetError`] when the URL is not understood.
    pub fn new(name: impl Into<String>, settings: RedisSettings, cx: &Context) -> Result<Self, TargetError> {
        let name = name.into();
        let target = Target::parse(settings.url.current().expose())?;
        let (sender, link) = watch::channel(Link {
            reason: "not started".into(),
            ..Link::default()
        });
        let component = format!("redis.{name}");
        let seen = link.clone();
        let health = cx.health().register(Check::shared(component.clone()), move || {
            let link = seen.borrow().clone();
            async move {
                match link.node {
                    Some(_) => Status::Up,
                    None => Status::Down(format!("no primary: {}", link.reason)),
                }
            }
        });
        let heard = Arc::new(Heard::of(&target.flavour));
        let shown = shown::register(&component, link.clone(), heard.clone(), cx.topology());
        let doubt = Arc::new(Notify::new());
        let stop = CancellationToken::new();
        let labels = [("name", name.as_str())];
        let database = target.login.db();
        let monitor = Monitor {
            name: name.clone(),
            target,
            response: settings.timeout.get(),
            link: sender,
            heard,
            doubt: doubt.clone(),
            switches: cx
                .metrics()
                .counter(
                    "hafnium.redis.switches",
                    "{switch}",
                    "Times a primary came into use",
                )
                .with(&labels),
            connected: cx
                .metrics()
                .gauge("hafnium.redis.connected", "1", "Whether a primary is in use")
                .with(&labels),
        };
        let inner = Inner {
            component,
            timeout: settings.timeout.get(),
            database,
            link,
            doubt,
            monitor: Mutex::new(Some(monitor)),
            monitoring: TaskTracker::new(),
            tasks: cx.tasks().clone(),
            _stop_on_drop: stop.clone().drop_guard(),
            stop,
            _health: health,
            _shown: shown,
            name,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// The store at `settings`, connected. For use without a service around it.
    ///
    /// # Errors
    /// [`StartError::Configuration`] for a URL that is not understood or a login that is refused, [`StartError::Unavailable`] when no primary
    /// answered within 5 s.
    pub async fn connect(settings: RedisSettings, cx: &Context) -> Result<Self, StartError> {
        let redis = Self::new("default", settings, cx)
            .map_err(|error| StartError::configuration("redis.default", error))?;
        redis.open(CONNECT).await?;
        Ok(redis)
    }

    /// Starts the monitor, once, and waits for a primary, for `limit` at most.
    async fn open(&self, limit: Duration) -> Result<(), StartError> {
        if let Some(monitor) = self.take_monitor() {
            let monitor = monitor.run(self.inner.stop.clone());
            let monitor = self.inner.tasks.guard(&self.inner.component, monitor);
            self.inner.monitoring.spawn(monitor);
        }
        let mut link = self.inner.link.clone();
        let settled = link.wait_for(|link| link.stopped || link.is_usable() || link.login_refused);
        let _found_or_late = Deadline::after(limit).bound("a redis primary", settled).await;
        let link = self.inner.link.borrow().clone();
        let component = &self.inner.component;
        match link.node {
            Some(_) => Ok(()),
            None if self.inner.stop.is_cancelled() => Err(StartError::failed(component, "it is stopped")),
            None if link.login_refused => Err(StartError::configuration(component, link.reason)),
            None => Err(StartError::unavailable(
                component,
                format!("no primary: {}", link.reason),
            )),
        }
    }

    /// The name of the store.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// The address of the primary in use, for reports.
    pub fn primary(&self) -> Option<String> {
        self.inner
            .link
            .borrow()
            .node
            .as_ref()
            .map(|node| node.address.clone())
    }

    fn take_monitor(&self) -> Option<Monitor> {
        let mut monitor = self.inner.monitor.lock().unwrap_or_else(PoisonError::into_inner);
        monitor.take()
    }

    /// The primary in use, confirmed later than `after`, as soon as there is one.
    async fn primary_after(&self, after: u64, deadline: Deadline) -> Result<(u64, Arc<Node>), RedisError> {
        let begun = Instant::now();
        let store = || self.inner.name.clone();
        let mut link = self.inner.link.clone();
        let wait = link.wait_for(|link| link.stopped || (link.is_usable() && link.confirmed > after));
        let found = match deadline.bound("a redis primary", wait).await {
            Ok(Ok(link)) => link.clone(),
            // The monitor is gone, and with it whoever could publish a primary.
            Ok(Err(_)) => return Err(Detail::Stopped { store: store() }.into()),
            Err(_) => {
                let reason = self.inner.link.borrow().reason.clone();
                return Err(Detail::NoPrimary {
                    store: store(),
                    waited: begun.elapsed(),
                    reason,
                }
                .into());
            }
        };
        match found.node {
            Some(node) if !found.stopped => Ok((found.confirmed, node)),
            _ => Err(Detail::Stopped { store: store() }.into()),
        }
    }

    /// Runs `attempt` on the primary, again as long as that does no harm and there is time.
    async fn run<T, F, Fut>(&self, harmless: impl Fn() -> bool, attempt: F) -> Result<T, RedisError>
    where
        F: Fn(redis::aio::MultiplexedConnection) -> Fut,
        Fut: Future<Output = Result<T, RedisError>>,
    {
        let deadline = Deadline::nearest(self.inner.timeout);
        let mut confirmed = 0;
        // Once an attempt may have run, no later failure says that the command did not.
        let mut unknown: Option<RedisError> = None;
        loop {
            let (seen, node) = match self.primary_after(confirmed, deadline).await {
                Ok(found) => found,
                Err(error) => return Err(unknown.unwrap_or(error)),
            };
            let error = match self.once(&node, deadline, &attempt).await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            let verdict = classify(&error);
            let doubtful = casts_doubt(&error);
            if is_broken(&error) {
                node.cut.cancel();
            }
            if doubtful {
                self.inner.doubt.notify_one();
            }
            let lost = verdict.code() == "redis.cut" || doubtful;
            let again = match verdict.outcome() {
                Outcome::Unknown => lost && harmless(),
                _ => verdict.retryable(),
            };
            if verdict.outcome() == Outcome::Unknown && unknown.is_none() {
                unknown = Some(error.clone());
            }
            if !again || deadline.is_past() {
                return Err(unknown.unwrap_or(error));
            }
            if lost {
                confirmed = seen;
            } else {
                tokio::time::sleep(BACKOFF.mul_f64(0.5 + fastrand::f64()).min(deadline.remaining())).await;
            }
        }
    }

    /// One attempt on `node`, given up when the node is cut or at the deadline.
    async fn once<T, F, Fut>(&self, node: &Node, deadline: Deadline, attempt: &F) -> Result<T, RedisError>
    where
        F: Fn(redis::aio::MultiplexedConnection) -> Fut,
        Fut: Future<Output = Result<T, RedisError>>,
    {
        let begun = Instant::now();
        let store = || self.inner.name.clone();
        let reply = deadline.bound("a redis reply", attempt(node.connection.clone()));
        tokio::select! {
            biased;
            result = reply => result.unwrap_or_else(|_| Err(Detail::NoReply {
                store: store(),
                node: node.address.clone(),
                waited: begun.elapsed(),
            }
            .into())),
            () = node.cut.cancelled() => Err(Detail::Cut {
                store: store(),
                node: node.address.clone(),
            }
            .into()),
        }
    }
}

impl ConnectionLike for Redis {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(self.run(
            || is_harmless(cmd),
            move |mut connection| async move {
                match connection.req_packed_command(cmd).await? {
                    Value::ServerError(error) => Err(error.into()),
                    value => Ok(value),
                }
            },
        ))
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        // Commands of a pipeline may have run before one that was refused, so replies pass through as they are, and only
        // a failure of the whole is looked at.
        Box::pin(self.run(|| are_harmless(pipeline), move |mut connection| async move {
            connection.req_packed_commands(pipeline, offset, count).await
        }))
    }

    fn get_db(&self) -> i64 {
        self.inner.database
    }
}

impl Component for Redis {
    #[expect(clippy::misnamed_getters, reason = "as a component it is named with its kind")]
    fn name(&self) -> &str {
        &self.inner.component
    }

    fn start<'a>(&'a self, _cx: &'a Context) -> BoxFuture<'a, Result<(), StartError>> {
        Box::pin(self.open(TRY))
    }

    fn stop<'a>(&'a self, deadline: Deadline) -> BoxFuture<'a, Stopped> {
        Box::pin(async move {
            self.inner.stop.cancel();
            // One that was never started ends here, and with it every wait for what it would have published.
            drop(self.take_monitor());
            self.inner.monitoring.close();
            match deadline
                .bound("the redis monitor", self.inner.monitoring.wait())
                .await
            {
                Ok(()) => Stopped::Clean,
                Err(_) => Stopped::Incomplete(vec![format!("{}: monitor", self.inner.component)]),
            }
        })
    }
}
