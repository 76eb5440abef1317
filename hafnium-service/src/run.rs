//! `run`: start in order, serve, stop in order.

use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use hafnium_core::admin::{Admin, Operator, Probes};
use hafnium_core::config::{Basis, Config, ConfigError, Live, Loader};
use hafnium_core::exit::Exit;
use hafnium_core::health::{HealthSettings, Registry};
use hafnium_core::http::{EnvelopeLayer, HttpSettings, mount_probes};
use hafnium_core::lifecycle::{
    self, Budget, Lifecycle, Plan, Progress, ShutdownSettings, Signals, StartSettings, State,
};
use hafnium_core::secret::Secrets;
use hafnium_core::tasks::Tasks;
use hafnium_core::{Component, Context, Deadline, ServiceInfo};
use hafnium_telemetry::Telemetry;
use tokio::time::Instant;

use crate::age::age;
use crate::app::{App, Bound};
use crate::assembly::{Assembly, assemble};
use crate::declaration::Declarations;
use crate::ending::Ending;
use crate::guard::Guard;
use crate::operate::operate;
use crate::secrets;
use crate::service::Service;
use crate::setup::SetupError;
use crate::stage::Stage;

/// How long readiness is withdrawn before the listener stops, unless configured: endpoint removal and SIGTERM race.
pub(crate) fn drain_delay(config: &Config) -> Duration {
    let developing = config.environment().is_dev() && config.deployed().is_none();
    if developing {
        Duration::ZERO
    } else {
        Duration::from_secs(5)
    }
}

/// Why the environment is what it is, for the first line.
fn because(basis: &Basis) -> String {
    match basis {
        Basis::Configured(origin) => format!("said by {origin}"),
        _ => "nobody said which, and nothing deployed this process".to_owned(),
    }
}

/// How long the operator listener may take to close: with the stop's own overrun within the reserve of the grace period.
const CLOSE: Duration = Duration::from_millis(500);

/// Runs the service, tells why it ended, and gives the exit code.
pub(crate) fn run<S, F>(service: Service<S>, setup: F) -> ExitCode
where
    S: Send + Sync + 'static,
    F: AsyncFnOnce(App<S>) -> Result<(), SetupError>,
{
    // Outlives everything that may block when it is dropped.
    let mut guard = None;
    let ended = to_its_end(service, setup, &mut guard);
    let code = ended.unwrap_or_else(|ending| ending).conclude();
    drop(guard);
    code
}

fn to_its_end<S, F>(service: Service<S>, setup: F, guard: &mut Option<Guard>) -> Result<Ending, Ending>
where
    S: Send + Sync + 'static,
    F: AsyncFnOnce(App<S>) -> Result<(), SetupError>,
{
    let now = Instant::now();
    let begun = age().and_then(|age| now.checked_sub(age)).unwrap_or(now);
    let mut info = ServiceInfo::new(service.name, service.version);
    info.commit = service.commit.map(ToOwned::to_owned);
    let signals = Signals::listen()
        .map_err(|error| Ending::new(Exit::Failure, format!("no signal handlers: {error}")))?;
    let stage = Stage::open(&service.loader, &service.declarations, &info, &signals)?;
    let result = stage.runtime.block_on(async {
        secrets::leave_no_core_dump(&stage.config);
        let mut run = Run::begin(
            &stage.config,
            &stage.loader,
            &stage.telemetry,
            &secrets::store(&stage.config)?,
            info,
            service.declarations,
            signals,
            begun,
        )?;
        *guard = Some(Guard::arm(&run.context, &run.signals, run.budget)?);
        let outcome = run.serve(service.settings, setup).await;
        run.end(outcome).await
    });
    stage.close();
    result
}

/// Reads the service's own settings, once every secret is there.
type Settings<S> = fn(&Config) -> Result<S, ConfigError>;

/// A service between its start and its end.
struct Run<'a> {
    config: &'a Config,
    loader: &'a Loader,
    telemetry: &'a Arc<Telemetry>,
    declarations: Declarations,
    lifecycle: Lifecycle,
    context: Context,
    signals: Signals,
    progress: Progress,
    probes: Probes,
    admin: Operator,
    budget: Budget,
    /// What was started, in order; stopped in reverse.
    components: Vec<Arc<dyn Component>>,
    /// What takes requests and records; stopped first.
    workloads: Vec<Arc<dyn Component>>,
}

impl<'a> Run<'a> {
    /// The operator listener is up, and nothing else: not a secret is fetched, so a token that lies elsewhere lets
    /// nobody in yet.
    #[expect(clippy::too_many_arguments, reason = "called once, with what the stage holds")]
    fn begin(
        config: &'a Config,
        loader: &'a Loader,
        telemetry: &'a Arc<Telemetry>,
        secrets: &Secrets,
        info: ServiceInfo,
        declarations: Declarations,
        signals: Signals,
        begun: Instant,
    ) -> Result<Self, Ending> {
        let budget = config.get::<ShutdownSettings>()?.budget(drain_delay(config));
        let budget = budget.map_err(|error| Ending::new(Exit::Configuration, error))?;
        let lifecycle = Lifecycle::new();
        let health = Registry::new();
        let settings = config.get::<HealthSettings>()?;
        health.require(settings.ready_requires);
        let tasks = Tasks::new();
        let context = Context::new(
            info,
            health,
            telemetry.metrics(),
            telemetry.propagation(),
            tasks,
            lifecycle.watch(),
        )
        .with_config(Live::new(config.clone()))
        .with_secrets(secrets.clone());
        lifecycle::record(lifecycle.watch(), begun, context.tasks(), context.metrics());
        let progress = Progress::new();
        let probes = Probes::new(&context, &progress).with_paths(settings.paths);
        let scraped = telemetry.clone();
        let endpoints = Admin::new(&context, probes.clone(), move || scraped.render_prometheus())
            .settings(&config.early::<hafnium_core::admin::AdminSettings>()?)
            .log_filter(Telemetry::clone(telemetry))
            .build(crate::build::info());
        let admin = operate(config, &endpoints, &context)?;
        tracing::info!(
            service = context.service().name,
            version = context.service().version,
            environment = config.environment().as_str(),
            because = because(config.environment_basis()),
            drain_delay = ?budget.drain_delay,
            stop_within = ?budget.total(),
            "starting"
        );
        Ok(Self {
            config,
            loader,
            telemetry,
            declarations,
            lifecycle,
            context,
            signals,
            progress,
            probes,
            admin,
            budget,
            components: Vec::new(),
            workloads: Vec::new(),
        })
    }

    /// Starts everything and serves until there is a reason to stop.
    async fn serve<S, F>(&mut self, settings: Settings<S>, setup: F) -> Result<(), Ending>
    where
        S: Send + Sync + 'static,
        F: AsyncFnOnce(App<S>) -> Result<(), SetupError>,
    {
        let signals = self.signals.clone();
        let tasks = self.context.tasks().clone();
        let started = AssertUnwindSafe(self.start(settings, setup)).catch_unwind();
        tokio::select! {
            biased;
            _ = signals.received() => {
                tracing::info!("told to stop before the start was done");
                return Ok(());
            }
            fatal = tasks.fatal() => return Err(Ending::new(Exit::Failure, fatal)),
            started = started => started.unwrap_or_else(|payload| Err(Ending::panicked(payload.as_ref())))?,
        }
        self.lifecycle.advance(State::Ready);
        tokio::select! {
            _ = signals.received() => Ok(()),
            fatal = tasks.fatal() => Err(Ending::new(Exit::Failure, fatal)),
        }
    }

    async fn start<S, F>(&mut self, settings: Settings<S>, setup: F) -> Result<(), Ending>
    where
        S: Send + Sync + 'static,
        F: AsyncFnOnce(App<S>) -> Result<(), SetupError>,
    {
        let deadline = Deadline::after(self.config.get::<StartSettings>()?.deadline.get());
        // Claimed before anything is waited for: a port in use is known at once, and nobody is let in too early.
        let bound = self.config.early::<HttpSettings>()?.bind()?;
        let settings = settings(self.open_secrets(deadline).await?)?;
        // What is wrong is known before anything is waited for, and from here on the last good certificate serves.
        crate::material::check(self.config, &self.declarations)?;
        let bound = self.config.get::<HttpSettings>()?.secure(bound, &self.context)?;
        let Assembly { clients, components } = assemble(&self.declarations, self.config, &self.context)?;
        // Also what is started only in part is stopped; a component that never began has nothing to end.
        self.components.clone_from(&components);
        lifecycle::start(&components, &self.context, deadline, &self.progress).await?;
        #[cfg(feature = "postgres")]
        if self.config.environment().is_dev() {
            self.progress.waits_for("migrations");
            let migrated = Box::pin(crate::migrate::migrate_all(&self.declarations, &clients));
            let migrated = deadline.bound("the migrations", migrated).await;
            migrated.map_err(|late| Ending::new(Exit::Unavailable, late))??;
        }
        #[cfg(feature = "kafka")]
        let kafka = clients.kafka.clone();
        let app = App::new(settings, self.context.clone(), clients);
        self.progress.waits_for("set-up");
        let set_up = deadline
            .bound("the service's own set-up", setup(app.clone()))
            .await;
        set_up.map_err(|late| Ending::new(Exit::Failure, late))??;
        self.progress.waits_for_nothing();
        let Bound {
            router,
            #[cfg(feature = "kafka")]
            handlers,
        } = app.take_bound();

        // Before anyone is let in: names that do not pair up end the start.
        #[cfg(feature = "kafka")]
        let consumers = crate::binding::bind(&self.declarations.consumers, handlers, &kafka, &self.context)?;

        // Limits may have been reloaded while components started.
        let http = self.context.config().current().get::<HttpSettings>()?;
        // As one layer: a router boxes its routes and their answers anew for each.
        let layers = (
            self.telemetry.request_layer(),
            EnvelopeLayer::new(&http, &self.context),
        );
        let router = mount_probes(router.unwrap_or_default().layer(layers), &self.probes);
        self.workloads
            .push(Arc::new(http.serve(bound, router, &self.context)?));

        #[cfg(feature = "kafka")]
        {
            self.workloads.extend(consumers.iter().cloned());
            lifecycle::start(&consumers, &self.context, deadline, &self.progress).await?;
        }
        Ok(())
    }

    /// Fetches what is kept elsewhere and follows it from then on; gives the configuration that can be read now. What
    /// was lent is given back by the stop, also when this is dropped.
    async fn open_secrets(&self, deadline: Deadline) -> Result<&'a Config, Ending> {
        let secrets = self.context.secrets();
        self.progress.waits_for("secrets");
        secrets
            .open_telling(self.config, deadline, &self.progress)
            .await?;
        secrets.follow(&self.context);
        crate::reload::begin(&self.context, self.loader.clone(), &self.signals, self.telemetry);
        Ok(self.config)
    }

    /// Stops everything in order; the operator listener last.
    async fn end(self, outcome: Result<(), Ending>) -> Result<Ending, Ending> {
        let telemetry = self.telemetry.clone();
        let secrets = self.context.secrets().clone();
        let tasks = self.context.tasks().clone();
        let plan = Plan::new(tasks.clone())
            .workloads(self.workloads)
            .components(self.components)
            .flush(move |deadline| async move {
                tokio::join!(telemetry.shutdown(deadline), secrets.release(deadline)).0
            });
        let verdict = lifecycle::stop(&self.lifecycle, self.budget, plan).await;
        tracing::info!("{verdict}");
        let last = self.admin.drain(Deadline::after(CLOSE)).await;
        for straggler in last.stragglers() {
            tracing::debug!(straggler, "the operator listener was cut");
        }
        outcome?;
        if !verdict.is_clean() {
            return Err(Ending::new(Exit::Incomplete, verdict));
        }
        // Nobody waited for one since the stop began.
        match tasks.fatal().now_or_never() {
            None => Ok(Ending::clean()),
            Some(fatal) => Err(Ending::new(Exit::Failure, fatal)),
        }
    }
}
