//! A certificate that is rotated while the listener serves: new handshakes get the new one, nobody is cut, and a bad
//! pair changes nothing.
#![cfg(feature = "tls")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "test code")]

mod tls_support;

use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use hafnium_core::config::{Loader, Sources};
use hafnium_core::health::Health;
use hafnium_core::http::{HttpSettings, Server, envelope};
use hafnium_core::secret::Secrets;
use hafnium_core::{Context, Deadline};
use tls_support::{Authority, Client, Ends, Pair, der};
use tokio::time::{Instant, sleep};

/// A Secret as a kubelet mounts it.
struct Volume {
    directory: tempfile::TempDir,
    count: u32,
}

impl Volume {
    fn mount(files: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut volume = Self { directory, count: 0 };
        volume.swap(files);
        for (name, _) in files {
            symlink(Path::new("..data").join(name), volume.path(name)).unwrap();
        }
        volume
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn swap(&mut self, files: &[(&str, &str)]) {
        self.count += 1;
        let name = format!("..2026_11_21.{}", self.count);
        std::fs::create_dir(self.path(&name)).unwrap();
        for (file, text) in files {
            std::fs::write(self.path(&name).join(file), text).unwrap();
        }
        symlink(&name, self.path("..data_tmp")).unwrap();
        std::fs::rename(self.path("..data_tmp"), self.path("..data")).unwrap();
    }
}

struct Rig {
    volume: Volume,
    cx: Context,
    address: SocketAddr,
    _server: Server,
    _secrets: Secrets,
}

fn files<'a>(pair: &'a Pair, ca: &'a str) -> [(&'static str, &'a str); 3] {
    [
        ("tls.crt", &pair.certificate),
        ("tls.key", &pair.key),
        ("ca.crt", ca),
    ]
}

impl Rig {
    /// With the CA of clients where `mutual` names the variable for it.
    async fn new(pair: &Pair, ca: &str, keys: &[(&str, &str)]) -> Self {
        let volume = Volume::mount(&files(pair, ca));
        let mut sources = Sources::none()
            .variable("ENVIRONMENT", "dev")
            .variable("HAFNIUM__HTTP__PORT", "0")
            .variable("HAFNIUM__HTTP__ADDRESS", Ipv4Addr::LOCALHOST.to_string());
        for (key, file) in keys {
            let reference = format!("file:{}", volume.path(file).display());
            sources = sources.variable(format!("HAFNIUM__HTTP__TLS__{key}"), reference);
        }
        let loader = Loader::new("rotated").section::<HttpSettings>().sources(sources);
        let config = loader.load().unwrap();
        let cx = Context::standalone();
        cx.health().run(cx.tasks(), cx.metrics());
        let secrets = Secrets::none();
        secrets
            .open(&config, Deadline::after(Duration::from_secs(5)))
            .await
            .unwrap();
        secrets.follow(&cx);
        let settings = config.get::<HttpSettings>().unwrap();
        // The first reading arms the watches.
        for secret in [&settings.tls.certificate, &settings.tls.key] {
            let soon = Deadline::after(Duration::from_secs(5));
            secret.as_ref().unwrap().refresh(soon).await.unwrap();
        }
        let slow = || async {
            sleep(Duration::from_secs(2)).await;
            "done"
        };
        let router = Router::new()
            .route("/", get(|| async { "hello" }))
            .route("/slow", get(slow));
        let router = envelope(router, &settings, &cx);
        let server = settings.serve(settings.bind().unwrap(), router, &cx).unwrap();
        Self {
            volume,
            cx,
            address: server.local_addr(),
            _server: server,
            _secrets: secrets,
        }
    }

    /// Waits until new handshakes show that certificate.
    async fn shows(&self, client: &Client, pair: &Pair) {
        let begun = Instant::now();
        while client.shown(self.address).await.ok() != Some(der(&pair.certificate)) {
            assert!(begun.elapsed() < Duration::from_secs(15), "never shown");
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until the check `http.tls` is that, and gives its reason.
    async fn health(&self, health: Health) -> String {
        let begun = Instant::now();
        loop {
            let report = self.cx.health().report();
            let check = report
                .checks
                .iter()
                .find(|check| check.name == "http.tls")
                .unwrap();
            if check.health == health {
                return check.reason.clone().unwrap_or_default();
            }
            assert!(begun.elapsed() < Duration::from_secs(15), "{check:?}");
            sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.cx.tasks().cancelled().cancel();
    }
}

const PAIR: [(&str, &str); 2] = [("CERTIFICATE", "tls.crt"), ("KEY", "tls.key")];

#[tokio::test]
async fn a_new_pair_serves_new_handshakes_and_a_bad_one_leaves_the_last_good_one_and_degrades_health() {
    let authority = Authority::new();
    let ca = authority.pem();
    let (first, second) = (authority.server(Ends::Later), authority.server(Ends::Later));
    let mut rig = Rig::new(&first, &ca, &PAIR).await;
    let client = Client::plain(&authority);
    rig.shows(&client, &first).await;
    rig.health(Health::Up).await;
    let address = rig.address;
    let under_way = tokio::spawn({
        let client = client.clone();
        async move { client.get(address, "/slow").await }
    });
    sleep(Duration::from_millis(300)).await;
    rig.volume.swap(&files(&second, &ca));
    rig.shows(&client, &second).await;
    assert_eq!(under_way.await.unwrap().unwrap().1, "done", "nobody is cut by it");

    let torn = Pair {
        key: first.key.clone(),
        ..second.clone()
    };
    rig.volume.swap(&files(&torn, &ca));
    let reason = rig.health(Health::Degraded).await;
    assert_eq!(
        reason,
        "tls.key: does not belong to tls.certificate; the last good pair is in force"
    );
    rig.shows(&client, &second).await;
    let ended = authority.server(Ends::Ended);
    rig.volume.swap(&files(&ended, &ca));
    sleep(Duration::from_millis(500)).await;
    rig.shows(&client, &second).await;
    assert_eq!(client.get(address, "/").await.unwrap().1, "hello");

    let third = authority.server(Ends::Later);
    rig.volume.swap(&files(&third, &ca));
    rig.shows(&client, &third).await;
    rig.health(Health::Up).await;
}

#[tokio::test]
async fn a_new_authority_of_clients_decides_on_the_next_handshake() {
    let (authority, next) = (Authority::new(), Authority::new());
    let pair = authority.server(Ends::Later);
    let keys = [PAIR[0], PAIR[1], ("CLIENT_CA", "ca.crt")];
    let mut rig = Rig::new(&pair, &authority.pem(), &keys).await;
    let old = Client::with(&authority, &authority.client("payments"));
    let new = Client::with(&authority, &next.client("payments"));
    old.get(rig.address, "/").await.unwrap();
    new.get(rig.address, "/").await.unwrap_err();
    rig.volume.swap(&files(&pair, &next.pem()));
    let begun = Instant::now();
    while new.get(rig.address, "/").await.is_err() {
        assert!(begun.elapsed() < Duration::from_secs(15), "never let in");
        sleep(Duration::from_millis(50)).await;
    }
    old.get(rig.address, "/").await.unwrap_err();
}

#[tokio::test]
async fn a_listener_that_was_secured_serves_the_last_good_pair_whatever_becomes_of_the_files() {
    let authority = Authority::new();
    let (first, second) = (authority.server(Ends::Later), authority.server(Ends::Later));
    let cx = Context::standalone();
    let mut settings = HttpSettings::default();
    (settings.address, settings.port) = (Ipv4Addr::LOCALHOST.into(), 0);
    let secret = |text: &str| Some(hafnium_core::secret::Secret::new(text));
    settings.tls.certificate = secret(&first.certificate);
    settings.tls.key = secret(&first.key);
    let bound = settings.secure(settings.bind().unwrap(), &cx).unwrap();
    // As when one of the files was replaced while the service started.
    settings.tls.key = secret(&second.key);
    let server = settings.serve(bound, Router::new(), &cx).unwrap();
    let shown = Client::plain(&authority).shown(server.local_addr()).await;
    assert_eq!(shown.ok(), Some(der(&first.certificate)));
    // Without it the same settings can't serve.
    let refused = settings.serve(settings.bind().unwrap(), Router::new(), &cx);
    assert!(refused.is_err());
}
