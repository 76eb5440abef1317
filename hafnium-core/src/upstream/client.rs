//! The handle on one upstream.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use http::{HeaderValue, Method};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::addresses::Addresses;
use super::call::Call;
use super::component::Registrations;
use super::core::{Core, Live};
use super::endpoint::Blueprint;
use super::figures::Figures;
use super::lookup::Lookups;
use super::resolve::{Resolve, SystemResolver};
use super::settings::UpstreamSettings;
use super::target::Target;
use crate::component::StartError;
use crate::context::Context;
use crate::resilience::{Breaker, Bulkhead, RetryPolicy};
use crate::tls::client::Connector;

/// One upstream: a service that this one calls over HTTP. Cheap to clone; clones share connections, breaker and budget.
///
/// See the [module](super) for what a call goes through. Dropping the last clone ends its background tasks and closes
/// its connections.
#[derive(Clone)]
pub struct Upstream {
    handle: Arc<Handle>,
}

pub(super) struct Handle {
    pub(super) core: Arc<Core>,
    pub(super) component: String,
    resolver: Arc<dyn Resolve>,
    config: crate::config::Live,
    pub(super) background: Mutex<Option<Background>>,
    _registrations: Registrations,
    pub(super) tasks: TaskTracker,
}

/// The background tasks end with it.
pub(super) struct Background {
    _guard: DropGuard,
}

impl Upstream {
    /// An upstream that is not [open](Self::open) yet. Does no I/O but reading certificates that are files.
    ///
    /// # Errors
    /// [`StartError::Configuration`] when the URL or what is below `tls` can't be used.
    pub fn new(name: &str, settings: &UpstreamSettings, cx: &Context) -> Result<Self, StartError> {
        Self::with_resolver(name, settings, cx, SystemResolver)
    }

    /// The same with another resolver than the system's.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_resolver(
        name: &str,
        settings: &UpstreamSettings,
        cx: &Context,
        resolver: impl Resolve,
    ) -> Result<Self, StartError> {
        let component = format!("upstream.{name}");
        let unusable = |reason: String| StartError::configuration(&component, reason);
        let target = Target::parse(&settings.url).map_err(|error| unusable(error.to_string()))?;
        let secured = secured(settings, &target).map_err(unusable)?;
        let figures = Arc::new(Figures::new(name, &target, cx.metrics()));
        let (breaker, bulkhead) = (&settings.breaker, &settings.bulkhead);
        let service = cx.service();
        let user_agent = HeaderValue::try_from(format!("{}/{}", service.name, service.version));
        let live = Arc::new(ArcSwap::from_pointee(Live::from(settings)));
        let core = Core {
            name: name.into(),
            live: live.clone(),
            addresses: Addresses::new(figures.clone()),
            lookups: Lookups::new(),
            blueprint: Arc::new(Blueprint {
                connector: secured.connector,
                live,
                protocol: settings.protocol,
                idle_timeout: settings.idle_timeout.get(),
                max_idle: settings.max_idle,
            }),
            policy: RetryPolicy::with_metrics(&component, &settings.retry, cx.metrics()),
            breaker: cx.breakers().named(&component, breaker),
            bulkhead: Bulkhead::with_metrics(component.as_str(), bulkhead, cx.metrics()),
            latest: Mutex::default(),
            figures,
            propagation: cx.propagation().clone(),
            user_agent: user_agent.unwrap_or(HeaderValue::from_static("hafnium")),
            target,
            #[cfg(feature = "tls")]
            tls: secured.tls,
        };
        if let Some(address) = core.target.literal() {
            core.follow(&[SocketAddr::new(address, core.target.port)]);
        }
        let core = Arc::new(core);
        Ok(Self {
            handle: Arc::new(Handle {
                _registrations: Registrations::new(&component, &core, cx),
                core,
                component,
                resolver: Arc::new(resolver),
                config: cx.config().clone(),
                background: Mutex::default(),
                tasks: TaskTracker::new(),
            }),
        })
    }

    /// An upstream that is open. Must be called within a tokio runtime. Whether anybody answers there is told by the
    /// first call, and by the health check `upstream.<name>`.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn connect(name: &str, settings: &UpstreamSettings, cx: &Context) -> Result<Self, StartError> {
        let upstream = Self::new(name, settings, cx)?;
        upstream.open();
        Ok(upstream)
    }

    /// Begins to look up the name's addresses, and to follow rotated certificates and reloaded settings. Again, it does nothing. Must be called
    /// within a tokio runtime; a service does it.
    pub fn open(&self) {
        let handle = &self.handle;
        let mut background = handle.background.lock().unwrap_or_else(PoisonError::into_inner);
        if background.is_some() {
            return;
        }
        let stop = CancellationToken::new();
        let core = &handle.core;
        if core.target.literal().is_none() {
            let looking = core.clone().keep_looking_up(handle.resolver.clone());
            handle
                .tasks
                .spawn(stop.clone().run_until_cancelled_owned(looking));
        }
        let reloading = core.clone().keep_reloading(handle.config.clone());
        handle
            .tasks
            .spawn(stop.clone().run_until_cancelled_owned(reloading));
        #[cfg(feature = "tls")]
        if let Some(tls) = core.tls.clone() {
            let rotating = core.clone().keep_rotating(tls);
            handle
                .tasks
                .spawn(stop.clone().run_until_cancelled_owned(rotating));
        }
        handle.tasks.close();
        *background = Some(Background {
            _guard: stop.drop_guard(),
        });
    }

    /// Follows changed settings, as a reload of the configuration does by itself: timeouts, limits, ejection, retries, breaker, bulkhead and hedging. The URL, the
    /// protocol, what is kept idle and `tls` stay as they were.
    pub fn configure(&self, settings: &UpstreamSettings) {
        self.handle.core.configure(settings);
    }

    /// The addresses of the name at present, ejected ones included.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let all = self.handle.core.addresses.all();
        all.iter().map(|endpoint| endpoint.address()).collect()
    }

    /// How many attempts are under way.
    pub fn in_flight(&self) -> usize {
        let all = self.handle.core.addresses.all();
        all.iter().map(|endpoint| endpoint.busy()).sum()
    }

    /// The breaker around every attempt.
    pub fn breaker(&self) -> &Breaker {
        &self.handle.core.breaker
    }

    /// The places that calls take.
    pub fn bulkhead(&self) -> &Bulkhead {
        &self.handle.core.bulkhead
    }

    /// A request with any method. `path` begins with a slash, is percent-encoded and goes behind the URL's own path.
    pub fn request(&self, method: Method, path: &str) -> Call {
        Call::new(self.clone(), method, path)
    }

    /// A GET.
    pub fn get(&self, path: &str) -> Call {
        self.request(Method::GET, path)
    }

    /// A POST. Not idempotent unless declared so.
    pub fn post(&self, path: &str) -> Call {
        self.request(Method::POST, path)
    }

    /// A PUT.
    pub fn put(&self, path: &str) -> Call {
        self.request(Method::PUT, path)
    }

    /// A PATCH. Not idempotent unless declared so.
    pub fn patch(&self, path: &str) -> Call {
        self.request(Method::PATCH, path)
    }

    /// A DELETE.
    pub fn delete(&self, path: &str) -> Call {
        self.request(Method::DELETE, path)
    }

    pub(super) fn core(&self) -> &Arc<Core> {
        &self.handle.core
    }

    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream")
            .field("name", &self.handle.core.name)
            .finish_non_exhaustive()
    }
}

/// What connections are opened with.
struct Secured {
    connector: Connector,
    #[cfg(feature = "tls")]
    tls: Option<crate::tls::client::TlsClient>,
}

fn secured(settings: &UpstreamSettings, target: &Target) -> Result<Secured, String> {
    match target.scheme.as_str() {
        "https" => secure(settings),
        _ if settings.tls.is_set() => Err(format!("tls: {}", super::check::IN_PLAIN_TEXT)),
        _ => Ok(Secured {
            connector: Connector::plain(),
            #[cfg(feature = "tls")]
            tls: None,
        }),
    }
}

#[cfg(feature = "tls")]
fn secure(settings: &UpstreamSettings) -> Result<Secured, String> {
    use super::settings::Protocol;

    let tls = crate::tls::client::TlsClient::new(&settings.tls).map_err(|error| format!("tls.{error}"))?;
    let connector = Connector::tls(tls.clone());
    Ok(Secured {
        connector: match settings.protocol {
            Protocol::Auto => connector,
            Protocol::Http1 => connector.offering(&[b"http/1.1"]),
            Protocol::Http2 => connector.offering(&[b"h2"]),
        },
        tls: Some(tls),
    })
}

#[cfg(not(feature = "tls"))]
fn secure(_: &UpstreamSettings) -> Result<Secured, String> {
    Err(format!("url: {}", super::check::NO_TLS))
}
