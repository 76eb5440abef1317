//! The one thing a `main` holds.

use std::process::ExitCode;

use hafnium_core::admin::AdminSettings;
use hafnium_core::config::{Config, ConfigError, Loader, Problem, ReloadSettings};
use hafnium_core::health::HealthSettings;
use hafnium_core::http::HttpSettings;
use hafnium_core::lifecycle::{ShutdownSettings, StartSettings};
use hafnium_core::upstream::UpstreamSettings;
use hafnium_telemetry::TelemetrySettings;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::app::App;
use crate::command::{self, Command, CommandLine};
use crate::declaration::Declarations;
#[cfg(any(feature = "postgres", feature = "redis", feature = "kafka"))]
use crate::declaration::Dependency;
#[cfg(feature = "postgres")]
use crate::declaration::PostgresDeclaration;
use crate::ending::{self, Ending};
use crate::runtime::RuntimeSettings;
use crate::setup::SetupError;
use crate::upstream::UpstreamDeclaration;
use crate::{check, completions, config_command, healthcheck, outside, run};

/// A service: declared here without any I/O, bound and run by [`Service::run`].
///
/// Declaration order is start order; the stop goes the other way.
#[must_use]
pub struct Service<S = ()> {
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    pub(crate) commit: Option<&'static str>,
    pub(crate) loader: Loader,
    pub(crate) settings: fn(&Config) -> Result<S, ConfigError>,
    pub(crate) declarations: Declarations,
}

impl Service {
    /// A service of that name and version, which is usually `env!("CARGO_PKG_VERSION")`.
    ///
    /// From here on a panic of the main thread is told in the termination log as well, by a panic hook that calls the
    /// one before it first.
    pub fn new(name: &'static str, version: &'static str) -> Self {
        outside::watch();
        let loader = Loader::new(name)
            .section::<HttpSettings>()
            .section::<AdminSettings>()
            .section::<StartSettings>()
            .section::<ShutdownSettings>()
            .section::<HealthSettings>()
            .section::<TelemetrySettings>()
            .section::<RuntimeSettings>()
            .section::<ReloadSettings>()
            .check(budget_fits)
            .check(crate::reload::filter_is_readable)
            .check(HealthSettings::problems)
            .check(HttpSettings::problems);
        Self {
            name,
            version,
            commit: None,
            loader: crate::secrets::declare(loader),
            settings: |_| Ok(()),
            declarations: Declarations::default(),
        }
    }

    /// The service's own keys, below `settings`; [`App::settings`] gives them.
    pub fn settings<T>(self) -> Service<T>
    where
        T: DeserializeOwned + JsonSchema + Send + Sync + 'static,
    {
        Service {
            name: self.name,
            version: self.version,
            commit: self.commit,
            loader: self.loader.settings::<T>(),
            settings: Config::settings::<T>,
            declarations: self.declarations,
        }
    }
}

impl<S: Send + Sync + 'static> Service<S> {
    /// The commit that the service was built from, for `/info` and the status page:
    /// `.commit(option_env!("GIT_COMMIT"))` takes it from the build's environment.
    pub fn commit(mut self, commit: Option<&'static str>) -> Self {
        self.commit = commit;
        self
    }

    /// Lets a variable of another name stand for a key, so that a team's existing manifests keep working:
    /// `.alias("SECRET_KEY", "settings.secret_key")`.
    pub fn alias(mut self, variable: &str, key: &str) -> Self {
        self.loader = self.loader.alias(variable, key);
        self
    }

    /// Declares a database, configured below `postgres.<name>`.
    #[cfg(feature = "postgres")]
    pub fn postgres(
        mut self,
        name: &str,
        declare: impl FnOnce(PostgresDeclaration) -> PostgresDeclaration,
    ) -> Self {
        self.loader = self.loader.named::<hafnium_data::postgres::PostgresSection>(name);
        self.loader = checked(
            self.loader,
            name,
            hafnium_data::postgres::PostgresSettings::problems,
        );
        let declaration = declare(PostgresDeclaration::new(name));
        self.declarations
            .dependencies
            .push(Dependency::Postgres(declaration));
        self
    }

    /// Declares a Redis store, configured below `redis.<name>`.
    #[cfg(feature = "redis")]
    pub fn redis(mut self, name: &str) -> Self {
        self.loader = self.loader.named::<hafnium_data::redis::RedisSettings>(name);
        self.loader = checked(self.loader, name, hafnium_data::redis::RedisSettings::problems);
        self.declarations
            .dependencies
            .push(Dependency::Redis(name.to_owned()));
        self
    }

    /// Declares a Kafka cluster, configured below `kafka.<name>`.
    #[cfg(feature = "kafka")]
    pub fn kafka(mut self, name: &str) -> Self {
        self.loader = self.loader.named::<hafnium_stream::KafkaSettings>(name);
        self.loader = checked(self.loader, name, hafnium_stream::KafkaSettings::problems);
        self.declarations
            .dependencies
            .push(Dependency::Kafka(name.to_owned()));
        self
    }

    /// Declares a service that this one calls over HTTP, configured below `upstream.<name>`.
    ///
    /// ```no_run
    /// use hafnium::axum::{Router, routing::get};
    /// use hafnium::http::Problem;
    ///
    /// hafnium::Service::new("payments", "1.0.0")
    ///     .upstream("scoring", |scoring| scoring)
    ///     .run(async |app| {
    ///         let scoring = app.upstream("scoring")?;
    ///         let score = async move || -> Result<String, Problem> {
    ///             Ok(scoring.get("/score").await?.text()?.to_owned())
    ///         };
    ///         app.serve(Router::new().route("/score", get(score)));
    ///         Ok(())
    ///     });
    /// ```
    pub fn upstream(
        mut self,
        name: &str,
        declare: impl FnOnce(UpstreamDeclaration) -> UpstreamDeclaration,
    ) -> Self {
        self.loader = self.loader.named::<UpstreamSettings>(name);
        self.loader = checked(self.loader, name, UpstreamSettings::problems);
        let declaration = declare(UpstreamDeclaration::new(name));
        self.declarations.upstreams.push(declaration);
        self
    }

    /// Declares a consumer; [`App::consume`] binds its handler.
    #[cfg(feature = "kafka")]
    pub fn consumer(
        mut self,
        name: &str,
        declare: impl FnOnce(hafnium_stream::ConsumerSpec) -> hafnium_stream::ConsumerSpec,
    ) -> Self {
        let spec = declare(hafnium_stream::ConsumerSpec::new());
        self.declarations.consumers.push((name.to_owned(), spec));
        self
    }

    /// Runs what the command line says, `run` by default, and gives the exit code.
    ///
    /// `setup` is called once every declared dependency is there. It binds routes and handlers; after it returned they
    /// are served until a signal or a fatal error, and then everything is stopped in order.
    ///
    /// Exit codes: 0 clean · 1 failure · 2 usage · 69 a required dependency is unavailable · 75 the drain was
    /// incomplete · 78 invalid configuration · 101 a panic, also one of `main` outside of this call.
    pub fn run<F>(self, setup: F) -> ExitCode
    where
        F: AsyncFnOnce(App<S>) -> Result<(), SetupError>,
    {
        outside::inside(|| self.obey(setup))
    }

    fn obey<F>(mut self, setup: F) -> ExitCode
    where
        F: AsyncFnOnce(App<S>) -> Result<(), SetupError>,
    {
        let CommandLine { command, overrides } =
            match command::parse(self.name, self.version, std::env::args_os()) {
                Ok(line) => line,
                Err(error) => {
                    // Help and version go to stdout with code 0, usage errors to stderr with code 2.
                    let _ = error.print();
                    if error.use_stderr() {
                        ending::record(error.to_string().lines().next().unwrap_or_default(), "");
                    }
                    return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
                }
            };
        self.loader = self.loader.environment(overrides.environment);
        for argument in overrides.set {
            self.loader = self.loader.set(argument);
        }
        let ending = match command.unwrap_or(Command::Run) {
            Command::Run => return run::run(self, setup),
            Command::Check => check::check(self),
            Command::Migrate => migrate(self),
            Command::Healthcheck => healthcheck::healthcheck(&self.loader),
            Command::Version => version(self.name, self.version),
            Command::Config(arguments) => config_command::config(&self.loader, &arguments),
            Command::Completions { shell } => completions::completions(self.name, self.version, shell),
        };
        ending.unwrap_or_else(|ending| ending).conclude()
    }
}

fn version(name: &str, version: &str) -> Result<Ending, Ending> {
    use std::io::Write;
    let _ = writeln!(std::io::stdout(), "{name} {version}");
    Ok(Ending::clean())
}

#[cfg(feature = "postgres")]
fn migrate<S>(service: Service<S>) -> Result<Ending, Ending> {
    crate::migrate::migrate(service)
}

#[cfg(not(feature = "postgres"))]
fn migrate<S>(service: Service<S>) -> Result<Ending, Ending> {
    Err(Ending::new(
        hafnium_core::exit::Exit::Usage,
        format!(
            "{} declares no database, so there is nothing to migrate",
            service.name
        ),
    ))
}

/// With what a client finds wrong with the settings of one of its instances.
fn checked(loader: Loader, name: &str, problems: fn(&Config, &str) -> Vec<Problem>) -> Loader {
    let name = name.to_owned();
    loader.check(move |config| problems(config, &name))
}

/// The phases of the stop must fit into the grace period.
fn budget_fits(config: &Config) -> Vec<Problem> {
    let Ok(settings) = config.get::<ShutdownSettings>() else {
        return Vec::new();
    };
    match settings.budget(run::drain_delay(config)) {
        Ok(_) => Vec::new(),
        Err(error) => vec![Problem::new("shutdown", error.to_string())],
    }
}
