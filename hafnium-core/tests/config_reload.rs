//! What a running service takes over from changed sources, and what it does not.

#![allow(clippy::unwrap_used, reason = "a test")]

mod config_support;

use std::time::Duration as StdDuration;

use config_support::{CANARY, Rig, loader, rig};
use hafnium_core::Context;
use hafnium_core::config::{Duration, Live, Loader, Origin, ReloadSettings, Reloaded, Reloader};
use hafnium_core::health::Health;
use hafnium_core::lifecycle::Hangups;
use hafnium_core::metrics::Metrics;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use schemars::JsonSchema;
use serde::Deserialize;

#[derive(Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    #[schemars(extend("x-reloadable" = true))]
    limit: u32,
    #[schemars(extend("x-reloadable" = true))]
    window: Option<Duration>,
    port: u16,
    #[schemars(extend("x-reloadable" = true))]
    weights: Weights,
    #[allow(dead_code, reason = "only its source matters")]
    token: Option<hafnium_core::secret::Secret>,
}

#[derive(Debug, Default, Clone, Deserialize, serde::Serialize, JsonSchema)]
#[serde(default)]
struct Weights {
    first: u8,
    second: u8,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            limit: 10,
            window: None,
            port: 80,
            weights: Weights::default(),
            token: None,
        }
    }
}

fn declared(rig: &Rig) -> Loader {
    loader().settings::<Settings>().sources(rig.sources.clone())
}

fn live(rig: &Rig) -> Live {
    Live::new(declared(rig).load().unwrap())
}

fn settings(live: &Live) -> Settings {
    live.current().settings::<Settings>().unwrap()
}

fn write(rig: &Rig, text: &str) {
    std::fs::write(rig.path().join("hafnium.toml"), text).unwrap();
}

#[tokio::test]
async fn a_reloadable_key_changes_and_its_watchers_hear_of_it() {
    let rig = rig().file("hafnium.toml", "settings.limit = 1\n");
    let live = live(&rig);
    let mut changes = live.watch();
    write(
        &rig,
        "\nsettings.limit = 2\nsettings.window = \"5s\"\nsettings.weights.second = 7\n",
    );
    let reloaded = live.reload(&declared(&rig));
    let keys = ["settings.limit", "settings.weights.second", "settings.window"];
    assert_eq!(
        reloaded,
        Reloaded::Changed {
            adopted: keys.map(str::to_owned).to_vec(),
            restart: Vec::new()
        }
    );
    let heard = changes.changed().await.settings::<Settings>().unwrap();
    assert_eq!((heard.limit, heard.weights.second), (2, 7));
    assert_eq!(heard.window, Some(Duration::from_secs(5)));
    let entry = live.current().entry("settings.limit").unwrap();
    assert_eq!(entry.to_string(), "settings.limit = 2 (hafnium.toml:2)");
}

#[tokio::test]
async fn another_key_keeps_its_value_and_is_named_as_waiting_for_a_restart() {
    let rig = rig().file("hafnium.toml", "settings.port = 81\n");
    let live = live(&rig);
    write(&rig, "settings.port = 82\nsettings.limit = 3\nregion = \"eu\"\n");
    let Reloaded::Changed { adopted, restart } = live.reload(&declared(&rig)) else {
        panic!("nothing changed");
    };
    assert_eq!(adopted, ["settings.limit"]);
    assert_eq!(restart, ["region", "settings.port"]);
    assert_eq!((settings(&live).port, settings(&live).limit), (81, 3));
    assert_eq!(live.current().place().region, None);
    assert_eq!(live.standing().restart, ["region", "settings.port"]);
    // Said once; and taken back, it waits for nothing any more.
    assert_eq!(live.reload(&declared(&rig)), Reloaded::Unchanged);
    write(&rig, "settings.port = 81\nsettings.limit = 3\n");
    assert_ne!(live.reload(&declared(&rig)), Reloaded::Unchanged);
    assert!(live.standing().restart.is_empty());
}

#[tokio::test]
async fn a_default_that_is_written_out_is_no_change_and_only_moves_the_origin() {
    let rig = rig();
    let live = live(&rig);
    write(&rig, "settings.port = 80\nsettings.weights.first = 0\n");
    assert_eq!(live.reload(&declared(&rig)), Reloaded::Unchanged);
    let origin = live.current().entry("settings.port").unwrap().origin;
    assert!(matches!(origin, Origin::File { line: 1, .. }), "{origin}");
}

#[tokio::test]
async fn what_is_wrong_anywhere_leaves_everything_as_it_was() {
    let rig = rig().file("hafnium.toml", "settings.limit = 1\n");
    let live = live(&rig);
    let mut changes = live.watch();
    write(
        &rig,
        "settings.limit = 2\nsettings.prt = 1\nsettings.window = 5\n",
    );
    let Reloaded::Refused(error) = live.reload(&declared(&rig)) else {
        panic!("it was taken");
    };
    assert_eq!(error.problems().len(), 2);
    assert_eq!(settings(&live).limit, 1);
    let refused = live.standing().refused;
    let keys: Vec<_> = refused.iter().map(hafnium_core::config::Problem::key).collect();
    assert_eq!(keys, ["settings.prt", "settings.window"]);
    let heard = tokio::time::timeout(StdDuration::from_millis(20), changes.changed());
    assert!(heard.await.is_err(), "a refused configuration was handed on");
    write(&rig, "settings.limit = 2\n");
    assert_ne!(live.reload(&declared(&rig)), Reloaded::Unchanged);
    assert!(live.standing().refused.is_empty());
    assert_eq!(settings(&live).limit, 2);
}

#[tokio::test]
async fn another_environment_brings_in_nothing_until_a_restart() {
    let rig = rig()
        .file("hafnium.toml", "environment = \"dev\"\n")
        .file("hafnium.staging.toml", "settings.limit = 7\n");
    let live = live(&rig);
    write(&rig, "environment = \"staging\"\n");
    let restart = vec!["environment".to_owned()];
    let adopted = Vec::new();
    assert_eq!(
        live.reload(&declared(&rig)),
        Reloaded::Changed { adopted, restart }
    );
    assert_eq!(
        (settings(&live).limit, live.current().environment().as_str()),
        (10, "dev")
    );
}

/// A running reloader, and what is seen of it.
struct Running {
    rig: Rig,
    context: Context,
    provider: SdkMeterProvider,
    registry: prometheus::Registry,
    task: tokio::task::JoinHandle<()>,
}

impl Running {
    fn start(rig: Rig, interval: &str) -> Self {
        let registry = prometheus::Registry::new();
        let reader = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .build()
            .unwrap();
        let provider = SdkMeterProvider::builder().with_reader(reader).build();
        let standalone = Context::standalone();
        let context = Context::new(
            standalone.service().clone(),
            standalone.health().clone(),
            Metrics::from_provider(&provider),
            standalone.propagation().clone(),
            standalone.tasks().clone(),
            standalone.lifecycle().clone(),
        )
        .with_config(live(&rig));
        context.health().run(context.tasks(), context.metrics());
        let loader = declared(&rig).section::<ReloadSettings>();
        let settings = loader.clone().set(format!("reload.interval={interval}"));
        let settings = settings.load().unwrap().get::<ReloadSettings>().unwrap();
        let reloader = Reloader::new(&context, loader, &settings);
        let task = tokio::spawn(reloader.run(Hangups::none()));
        Self {
            rig,
            context,
            provider,
            registry,
            task,
        }
    }

    async fn until(&self, what: &str, done: impl Fn(&Self) -> bool) {
        for _ in 0..600 {
            if done(self) {
                return;
            }
            tokio::time::sleep(StdDuration::from_millis(100)).await;
        }
        panic!("{what}: not within a minute");
    }

    /// The health of the check `config` and what it says.
    fn health(&self) -> (Health, String) {
        let report = self.context.health().report();
        let check = report.checks.iter().find(|check| check.name == "config").unwrap();
        (check.health, check.explanation().to_owned())
    }

    fn metric(&self, name: &str, result: &str) -> Option<f64> {
        let family = self.registry.gather();
        let family = family.iter().find(|family| family.name().starts_with(name))?;
        let wanted = |metric: &&prometheus::proto::Metric| {
            result.is_empty() || metric.get_label().iter().any(|label| label.value() == result)
        };
        let metric = family.get_metric().iter().find(wanted)?;
        Some(metric.get_counter().get_value() + metric.get_gauge().get_value())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
        let _ = self.provider.shutdown();
    }
}

#[tokio::test(start_paused = true)]
async fn a_changed_file_is_read_within_the_interval_and_counted() {
    let running = Running::start(rig().file("hafnium.toml", "settings.limit = 1\n"), "10s");
    running
        .until("first look", |running| running.health().0 == Health::Up)
        .await;
    assert_eq!(running.metric("hafnium_config_reloads", "applied"), Some(0.0));
    write(&running.rig, "settings.limit = 2\n");
    let begun = tokio::time::Instant::now();
    let config = running.context.config();
    running.until("the reload", |_| settings(config).limit == 2).await;
    assert!(
        begun.elapsed() <= StdDuration::from_secs(12),
        "{:?}",
        begun.elapsed()
    );
    tokio::time::sleep(StdDuration::from_secs(60)).await;
    assert_eq!(running.metric("hafnium_config_reloads", "applied"), Some(1.0));
    assert_eq!(running.metric("hafnium_config_reloads", "refused"), Some(0.0));
    // Each look that finds nothing new confirms what is in force.
    assert!(running.metric("hafnium_config_age", "").unwrap() < 11.0);
}

#[tokio::test(start_paused = true)]
async fn a_mounted_tree_is_followed_through_its_swaps() {
    let rig = rig()
        .file("mounted/..one/settings.limit", "1")
        .file("mounted/..two/settings.limit", "2")
        .variable("HAFNIUM_CONFIG_DIR", "mounted");
    let mounted = rig.path().join("mounted");
    let swap = |to: &str| {
        // As a kubelet does it: a new link is renamed over the old one.
        std::os::unix::fs::symlink(to, mounted.join("..data_tmp")).unwrap();
        std::fs::rename(mounted.join("..data_tmp"), mounted.join("..data")).unwrap();
    };
    swap("..one");
    std::os::unix::fs::symlink("..data/settings.limit", mounted.join("settings.limit")).unwrap();
    let running = Running::start(rig, "10s");
    let config = running.context.config();
    assert_eq!(settings(config).limit, 1);
    for (to, limit) in [("..two", 2), ("..one", 1)] {
        swap(to);
        running.until(to, |_| settings(config).limit == limit).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_file_degrades_the_check_config_with_its_keys_until_it_is_mended() {
    let running = Running::start(rig().file("hafnium.toml", "settings.limit = 1\n"), "10s");
    running
        .until("first look", |running| running.health().0 == Health::Up)
        .await;
    write(
        &running.rig,
        &format!("settings.limit = \"{CANARY}\"\nsettings.{CANARY}x = 1\n"),
    );
    running
        .until("degraded", |running| running.health().0 == Health::Degraded)
        .await;
    let (_, said) = running.health();
    assert!(said.contains("settings.limit"), "{said}");
    assert!(running.context.health().report().is_ready(), "it serves on");
    assert_eq!(running.metric("hafnium_config_reloads", "refused"), Some(1.0));
    tokio::time::sleep(StdDuration::from_secs(300)).await;
    assert!(running.metric("hafnium_config_age", "").unwrap() > 290.0);
    write(&running.rig, "settings.limit = 1\n");
    running
        .until("mended", |running| running.health().0 == Health::Up)
        .await;
    assert!(running.metric("hafnium_config_age", "").unwrap() < 20.0);
}

#[tokio::test(start_paused = true)]
async fn what_was_refused_for_something_outside_its_files_is_tried_again() {
    let token = tempfile::NamedTempFile::new().unwrap();
    let path = token.path().to_owned();
    drop(token);
    let running = Running::start(rig(), "10s");
    write(
        &running.rig,
        &format!(
            "settings.limit = 2\nsettings.token = \"file:{}\"\n",
            path.display()
        ),
    );
    running
        .until("refused", |running| running.health().0 == Health::Degraded)
        .await;
    tokio::time::sleep(StdDuration::from_secs(60)).await;
    assert_eq!(
        running.metric("hafnium_config_reloads", "refused"),
        Some(1.0),
        "said once"
    );
    std::fs::write(&path, CANARY).unwrap();
    let config = running.context.config();
    running.until("the reload", |_| settings(config).limit == 2).await;
    std::fs::remove_file(&path).unwrap();
}

#[tokio::test(start_paused = true)]
async fn without_an_interval_only_a_signal_reads_again() {
    let running = Running::start(rig().file("hafnium.toml", "settings.limit = 1\n"), "0s");
    write(&running.rig, "settings.limit = 2\n");
    tokio::time::sleep(StdDuration::from_secs(3600)).await;
    assert_eq!(settings(running.context.config()).limit, 1);
}

#[tokio::test(start_paused = true)]
async fn a_file_is_read_once_it_rests() {
    let running = Running::start(rig().file("hafnium.toml", "settings.limit = 1\n"), "1s");
    let config = running.context.config();
    running
        .until("first look", |running| running.health().0 == Health::Up)
        .await;
    // Half of it, and the rest while it is being looked at.
    write(&running.rig, "settings.limit = 2\nsettings.po");
    tokio::time::sleep(StdDuration::from_millis(1050)).await;
    write(&running.rig, "settings.limit = 2\nsettings.port = 80\n");
    running.until("the reload", |_| settings(config).limit == 2).await;
    assert_eq!(running.metric("hafnium_config_reloads", "refused"), Some(0.0));
}
