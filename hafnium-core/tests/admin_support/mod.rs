//! A service that is nothing but its operator listener.
#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

pub(crate) mod html;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use hafnium_core::admin::{Admin, AdminSettings, LogFilter, Probes};
use hafnium_core::health::Registry;
use hafnium_core::http::Server;
use hafnium_core::lifecycle::{Lifecycle, Progress};
use hafnium_core::metrics::Metrics;
use hafnium_core::propagation::Propagation;
use hafnium_core::secret::Secret;
use hafnium_core::tasks::Tasks;
use hafnium_core::{Context, ServiceInfo};
use http::Request;
use http_body_util::Full;

use crate::http_client::{self, Answer, Http};

/// The filter of a process that logs nothing; it refuses what holds `refused`.
#[derive(Clone)]
pub(crate) struct Filter(pub(crate) Arc<Mutex<String>>);

impl Filter {
    pub(crate) fn now(&self) -> String {
        self.0.lock().unwrap().clone()
    }
}

impl LogFilter for Filter {
    fn current(&self) -> String {
        self.now()
    }

    fn set(&self, filter: &str) -> Result<(), String> {
        if filter.contains("refused") {
            return Err("the subscriber refuses it".to_owned());
        }
        filter.clone_into(&mut self.0.lock().unwrap());
        Ok(())
    }
}

pub(crate) struct Service {
    pub(crate) lifecycle: Lifecycle,
    pub(crate) cx: Context,
    pub(crate) filter: Filter,
    _server: Server,
    pub(crate) address: SocketAddr,
    client: Http,
}

impl Service {
    pub(crate) fn start() -> Self {
        Self::with(None, |cx| cx)
    }

    /// With that token, and a context to which `equip` adds.
    pub(crate) fn with(token: Option<&str>, equip: impl FnOnce(Context) -> Context) -> Self {
        let mut settings = AdminSettings::default();
        settings.token = token.map(Secret::new);
        Self::of(settings, equip)
    }

    /// With that token, which callers on this host need too.
    pub(crate) fn requiring(token: &str) -> Self {
        let mut settings = AdminSettings::default();
        settings.token = Some(Secret::new(token));
        settings.require_token = true;
        Self::of(settings, |cx| cx)
    }

    fn of(mut settings: AdminSettings, equip: impl FnOnce(Context) -> Context) -> Self {
        let lifecycle = Lifecycle::new();
        let mut info = ServiceInfo::new("risk-engine", "1.2.3");
        info.commit = Some("0123abcd".to_owned());
        let cx = equip(Context::new(
            info,
            Registry::new(),
            Metrics::noop(),
            Propagation::none(),
            Tasks::new(),
            lifecycle.watch(),
        ));
        cx.health().run(cx.tasks(), cx.metrics());
        settings.address = Ipv4Addr::LOCALHOST.into();
        settings.port = 0;
        let filter = Filter(Arc::new(Mutex::new("info".to_owned())));
        let admin = Admin::new(&cx, Probes::new(&cx, &Progress::new()), String::new)
            .settings(&settings)
            .log_filter(filter.clone());
        let server = Admin::serve(settings.bind().unwrap(), admin.router(), &cx).unwrap();
        let address = server.local_addr();
        Self {
            lifecycle,
            cx,
            filter,
            _server: server,
            address,
            client: http_client::http1(),
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], "").await
    }

    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<String>,
    ) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = Full::new(body.into().into());
        http_client::send(&self.client, request.body(body).unwrap())
            .await
            .unwrap()
    }
}
