//! The sections of the core itself, declared together as a service declares them.

#![allow(clippy::unwrap_used, reason = "a test")]

mod config_support;

use config_support::{loader, rig};
use hafnium_core::admin::AdminSettings;
use hafnium_core::config::{Loader, Origin};
use hafnium_core::health::HealthSettings;
use hafnium_core::http::HttpSettings;
use hafnium_core::lifecycle::{ShutdownSettings, StartSettings};

fn core() -> Loader {
    loader()
        .section::<HttpSettings>()
        .section::<AdminSettings>()
        .section::<HealthSettings>()
        .section::<StartSettings>()
        .section::<ShutdownSettings>()
}

#[test]
fn without_anything_set_every_section_has_its_defaults_and_lists_them() {
    let config = rig().load(core()).unwrap();
    assert_eq!(config.get::<HttpSettings>().unwrap(), HttpSettings::default());
    assert_eq!(config.get::<AdminSettings>().unwrap(), AdminSettings::default());
    assert_eq!(config.get::<HealthSettings>().unwrap(), HealthSettings::default());
    assert_eq!(config.get::<StartSettings>().unwrap(), StartSettings::default());
    assert_eq!(
        config.get::<ShutdownSettings>().unwrap(),
        ShutdownSettings::default()
    );
    let entries = config.entries();
    for key in [
        "http.port",
        "admin.port",
        "health.ready_requires",
        "start.deadline",
    ] {
        let entry = entries.iter().find(|entry| entry.key == key).unwrap();
        assert_eq!(entry.origin, Origin::Default, "{key}");
    }
    assert!(entries.iter().any(|entry| entry.key.starts_with("shutdown.")));
}

#[test]
fn the_listeners_of_the_core_cannot_share_a_port() {
    let admin = AdminSettings::default().port;
    let report = rig().variable("PORT", &admin.to_string()).report(core());
    assert!(
        report.contains(&format!(
            "both http.port (PORT) and admin.port (default) are {admin}"
        )),
        "{report}"
    );
}

#[test]
fn an_address_that_is_none_is_one_of_all_problems() {
    let report = rig().report(core().set("http.address=localhost").set("admin.address=::x"));
    assert!(
        report.contains("http.address (--set): not accepted; found \"localhost\"; accepted: an IP address")
    );
    assert!(report.contains("admin.address (--set)"), "{report}");
}
