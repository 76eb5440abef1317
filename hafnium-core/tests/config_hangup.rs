//! What a SIGHUP does besides reading the configuration: every secret is asked for again.

#![cfg(feature = "vault")]
#![allow(clippy::unwrap_used, reason = "a test")]

mod secret_support;

use hafnium_core::Context;
use hafnium_core::config::{Live, ReloadSettings, Reloader};
use hafnium_core::lifecycle::Hangups;
use secret_support::{Answer, Settings, follow, loader, script};
use tokio::sync::watch;

#[tokio::test(start_paused = true)]
async fn a_hang_up_asks_for_every_secret_again() {
    let reference = "vault:kv/ledger#password";
    let script = script();
    script.answer(reference, Answer::text("old", "1"));
    let loader = loader(&[("settings.password", reference)]);
    let config = loader.load().unwrap();
    let context = Context::standalone().with_config(Live::new(config.clone()));
    let _secrets = follow(&script, &config, &context).await;
    let password = config.settings::<Settings>().unwrap().password.unwrap();
    let mut changes = password.watch();
    let asked = script.asked();
    let hung_up = watch::Sender::new(0);
    let reloader = Reloader::new(&context, loader, &ReloadSettings::default());
    let task = tokio::spawn(reloader.run(Hangups::of(hung_up.subscribe())));
    script.answer(reference, Answer::text("new", "2"));
    let begun = tokio::time::Instant::now();
    hung_up.send_modify(|count| *count += 1);
    assert_eq!(changes.changed().await.expose(), "new");
    assert!(script.asked() > asked);
    // By itself the store would ask after minutes.
    assert!(begun.elapsed() < std::time::Duration::from_secs(10));
    task.abort();
}
