//! What is there before the first component, and after the last one.

use std::sync::Arc;

use hafnium_core::ServiceInfo;
use hafnium_core::config::{Config, Loader};
use hafnium_core::exit::Exit;
use hafnium_core::lifecycle::Signals;
use hafnium_telemetry::{Telemetry, TelemetrySettings};

use crate::declaration::Declarations;
use crate::ending::Ending;
use crate::runtime::{self, Runtime, RuntimeSettings};

/// Configuration, runtime and telemetry, and in `dev` what was provided.
pub(crate) struct Stage {
    pub(crate) config: Config,
    /// What read the configuration, with what was provided; it reads it again.
    pub(crate) loader: Loader,
    pub(crate) runtime: Runtime,
    pub(crate) telemetry: Arc<Telemetry>,
    #[cfg(all(
        feature = "dev-services",
        any(feature = "postgres", feature = "redis", feature = "kafka")
    ))]
    provided: Option<crate::provide::Provided>,
}

impl Stage {
    #[cfg(all(
        feature = "dev-services",
        any(feature = "postgres", feature = "redis", feature = "kafka")
    ))]
    pub(crate) fn open(
        loader: &Loader,
        declarations: &Declarations,
        info: &ServiceInfo,
        signals: &Signals,
    ) -> Result<Self, Ending> {
        let Some(missing) = crate::provide::missing(loader, declarations, &info.name) else {
            let config = loader.load()?;
            let (runtime, telemetry) = Self::equip(&config, info)?;
            return Ok(Self {
                config,
                loader: loader.clone(),
                runtime,
                telemetry,
                provided: None,
            });
        };
        let (runtime, telemetry) = Self::equip(&missing.config, info)?;
        let (loader, provided) = runtime.block_on(async {
            tokio::select! {
                biased;
                // What was started so far is stopped with the future that holds it.
                _ = signals.received() => Err(Ending::clean()),
                provided = missing.provide(loader.clone()) => provided,
            }
        })?;
        Ok(Self {
            config: loader.load()?,
            loader,
            runtime,
            telemetry,
            provided: Some(provided),
        })
    }

    #[cfg(not(all(
        feature = "dev-services",
        any(feature = "postgres", feature = "redis", feature = "kafka")
    )))]
    pub(crate) fn open(
        loader: &Loader,
        _: &Declarations,
        info: &ServiceInfo,
        _: &Signals,
    ) -> Result<Self, Ending> {
        let config = loader.load()?;
        let (runtime, telemetry) = Self::equip(&config, info)?;
        Ok(Self {
            config,
            loader: loader.clone(),
            runtime,
            telemetry,
        })
    }

    fn equip(config: &Config, info: &ServiceInfo) -> Result<(Runtime, Arc<Telemetry>), Ending> {
        let settings = config.get::<TelemetrySettings>()?;
        let runtime = runtime::build(&config.get::<RuntimeSettings>()?)?;
        let described = info.clone().with_attributes(config.attributes());
        let telemetry = Telemetry::install(&settings, &described)
            .map_err(|error| Ending::new(Exit::Configuration, error))?;
        Ok((runtime, Arc::new(telemetry)))
    }

    /// Stops what was provided. Blocking tasks that ignore cancellation never keep the process.
    pub(crate) fn close(self) {
        #[cfg(all(
            feature = "dev-services",
            any(feature = "postgres", feature = "redis", feature = "kafka")
        ))]
        drop(self.provided);
        drop(self.runtime);
    }
}
