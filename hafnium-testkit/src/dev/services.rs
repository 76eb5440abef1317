//! The climb.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::OnceCell;

use super::container::{Wanted, container_name};
use super::docker::Docker;
use super::error::{DevError, Tried};
use super::image::Image;
use super::ladder::{Pin, Rung, ladder, variable};
use super::provided::{Provided, redacted};
use super::server::{Access, Guard, Server, password};
use crate::process::{free_ports, wait_until};

/// From a started container to its first answer: PostgreSQL's initdb, Kafka's format and start on a busy machine.
const READY: Duration = Duration::from_secs(60);

/// What becomes of a server when the service ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Keep {
    /// It is removed with the [`DevServices`].
    #[default]
    WhileRunning,
    /// A container stays, with its data, and the next run of the same service finds it again. A server of this machine
    /// is a child of the service and stops with it even so.
    ForNextRun,
}

/// Provides dependencies, and keeps what it started until it is dropped. Dropping blocks for as long as the servers
/// need to stop, some seconds at most.
///
/// ```no_run
/// # async fn example() -> Result<(), hafnium_testkit::dev::DevError> {
/// # #[cfg(feature = "postgres")] {
/// let services = hafnium_testkit::dev::DevServices::new("risk-engine")?;
/// let ledger = services.postgres("ledger").await?;
/// println!("{} ({}: {})", ledger.redacted_url(), ledger.rung, ledger.why);
/// # }
/// # Ok(()) }
/// ```
pub struct DevServices {
    service: String,
    keep: Keep,
    pins: fn(&str) -> Option<String>,
    docker: OnceCell<Result<Docker, String>>,
    guards: Mutex<Vec<Guard>>,
}

impl DevServices {
    /// For the service of this name: containers are named after it.
    ///
    /// # Errors
    /// [`DevError::Release`] in a release build without `HAFNIUM_DEV_SERVICES=force`.
    pub fn new(service: impl Into<String>) -> Result<DevServices, DevError> {
        let forced = std::env::var("HAFNIUM_DEV_SERVICES").is_ok_and(|value| value == "force");
        if !cfg!(debug_assertions) && !forced {
            return Err(DevError::Release);
        }
        Ok(DevServices {
            service: service.into(),
            keep: Keep::default(),
            pins: |variable| {
                std::env::var(variable)
                    .ok()
                    .filter(|value| !value.trim().is_empty())
            },
            docker: OnceCell::new(),
            guards: Mutex::default(),
        })
    }

    /// What becomes of the servers at the end. Default [`Keep::WhileRunning`].
    #[must_use]
    pub fn keep(mut self, keep: Keep) -> DevServices {
        self.keep = keep;
        self
    }

    /// Reads pins from `pins` instead of the environment.
    #[must_use]
    pub fn pins_from(mut self, pins: fn(&str) -> Option<String>) -> DevServices {
        self.pins = pins;
        self
    }

    /// A PostgreSQL server with a database `name`.
    ///
    /// Cancel-safe: what a dropped call started is stopped with the rest.
    ///
    /// # Errors
    /// [`DevError::Pin`], [`DevError::Off`], [`DevError::Nothing`].
    #[cfg(feature = "postgres")]
    pub async fn postgres(&self, name: &str) -> Result<Provided, DevError> {
        self.provide::<super::postgres::Postgres>(name).await
    }

    /// A Redis server. Cancel-safe as [`postgres`](Self::postgres).
    ///
    /// # Errors
    /// [`DevError::Pin`], [`DevError::Off`], [`DevError::Nothing`].
    #[cfg(feature = "redis")]
    pub async fn redis(&self, name: &str) -> Result<Provided, DevError> {
        self.provide::<super::redis::Redis>(name).await
    }

    /// A Kafka broker that creates topics when they are first used. Cancel-safe as [`postgres`](Self::postgres).
    ///
    /// # Errors
    /// [`DevError::Pin`], [`DevError::Off`], [`DevError::Nothing`].
    #[cfg(feature = "kafka")]
    pub async fn kafka(&self, name: &str) -> Result<Provided, DevError> {
        self.provide::<super::kafka::Kafka>(name).await
    }

    async fn provide<S: Server>(&self, name: &str) -> Result<Provided, DevError> {
        let variable = variable(name);
        let pin = match (self.pins)(&variable) {
            Some(value) => Some(Pin::parse(&value, S::RUNGS).ok_or_else(|| {
                DevError::Pin {
                    variable: variable.clone(),
                    value: redacted(&value),
                    expected: S::RUNGS
                        .iter()
                        .map(Rung::to_string)
                        .collect::<Vec<_>>()
                        .join(", "),
                }
            })?),
            None => None,
        };
        match pin {
            Some(Pin::Off) => {
                return Err(DevError::Off {
                    name: name.into(),
                    variable,
                });
            }
            Some(Pin::Url(url)) => {
                return Ok(told(
                    name,
                    S::KIND,
                    Provided {
                        url,
                        rung: Rung::Url,
                        why: format!("named by {variable}"),
                    },
                ));
            }
            Some(Pin::Rung(_)) | None => {}
        }
        let mut tried = Vec::new();
        for rung in ladder(pin.as_ref(), S::RUNGS) {
            match self.climb::<S>(rung, name).await {
                Ok((url, behind)) => {
                    let pinned = pin.is_some().then(|| format!("pinned by {variable}={rung}"));
                    let why = [Some(behind), pinned]
                        .into_iter()
                        .flatten()
                        .chain(tried.iter().map(Tried::to_string));
                    let why = why.collect::<Vec<_>>().join("; ");
                    return Ok(told(name, S::KIND, Provided { url, rung, why }));
                }
                Err(reason) => tried.push(Tried { rung, reason }),
            }
        }
        let fixes = [String::from("sudo systemctl start docker"), S::INSTALL.into()];
        Err(DevError::Nothing {
            kind: S::KIND,
            name: name.into(),
            tried,
            fixes,
        })
    }

    /// The URL, and what is behind it.
    async fn climb<S: Server>(&self, rung: Rung, name: &str) -> Result<(String, String), String> {
        let access = Access {
            name: name.to_owned(),
            password: password().map_err(|error| error.to_string())?,
        };
        match rung {
            Rung::Docker => self.contain::<S>(&access).await,
            Rung::Local => {
                let (guard, url) = S::local(&access).await.map_err(|error| error.to_string())?;
                self.hold(guard);
                Ok((url, "the server installed on this machine".into()))
            }
            Rung::Mock => {
                let (guard, url) = S::mock()?;
                self.hold(guard);
                Ok((url, "a mock inside this process".into()))
            }
            Rung::Url => Err("a URL is not climbed to".into()),
        }
    }

    async fn contain<S: Server>(&self, access: &Access) -> Result<(String, String), String> {
        let image = Image::of(S::IMAGE).ok_or_else(|| format!("no image is known for {}", S::KIND))?;
        let docker = self
            .docker
            .get_or_init(async || Docker::start(&self.service, self.keep).map_err(|error| error.to_string()))
            .await
            .as_ref()
            .map_err(String::clone)?;
        let version = docker
            .probe()
            .await
            .map_err(|reason| format!("no daemon answers: {reason}"))?;
        let host = daemon_host(std::env::var("DOCKER_HOST").ok().as_deref());
        let host_port = free_ports(1).map_err(|error| error.to_string())?[0];
        let suffix = (self.keep == Keep::WhileRunning).then(|| fastrand::u32(..));
        let container = container_name(&self.service, &access.name, suffix);
        let url = docker
            .run(Wanted {
                name: container.clone(),
                image: image.clone(),
                recipe: S::recipe(access, &host, host_port),
                host_port,
                port: S::PORT,
                url: S::url(access, &host, host_port),
            })
            .await?;
        let ready = wait_until(&format!("{} in its container", S::KIND), READY, || {
            S::answers(&url)
        })
        .await;
        if let Err(error) = ready {
            let output = docker.discard(&container).await;
            return Err(format!("{error}{output}"));
        }
        Ok((url, format!("a container of {image}, Docker {version}")))
    }

    fn hold(&self, guard: Guard) {
        self.guards
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(guard);
    }
}

impl std::fmt::Debug for DevServices {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DevServices")
            .field("service", &self.service)
            .field("keep", &self.keep)
            .finish_non_exhaustive()
    }
}

/// The one line that says where a dependency comes from.
fn told(name: &str, kind: &str, provided: Provided) -> Provided {
    let (url, rung, why) = (provided.redacted_url(), provided.rung, &provided.why);
    tracing::info!(target: "hafnium::dev", dependency = name, kind, %rung, url, why, "dev service");
    provided
}

/// Where published ports are: on this machine, unless the daemon is another one's.
fn daemon_host(docker_host: Option<&str>) -> String {
    let remote = docker_host.and_then(|host| {
        host.strip_prefix("tcp://")
            .or_else(|| host.strip_prefix("http://"))
    });
    let name = remote
        .and_then(|rest| rest.split(['/', ':']).next())
        .filter(|name| !name.is_empty());
    // Not `localhost`: that is ::1 first on some machines, where Docker publishes nothing.
    name.unwrap_or("127.0.0.1").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_where_the_daemon_is() {
        assert_eq!(daemon_host(None), "127.0.0.1");
        assert_eq!(daemon_host(Some("unix:///run/docker.sock")), "127.0.0.1");
        assert_eq!(daemon_host(Some("tcp://10.0.0.7:2375")), "10.0.0.7");
    }
}
