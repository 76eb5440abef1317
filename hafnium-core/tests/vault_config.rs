//! The section `vault`: what is told before anything is asked.

#![cfg(feature = "vault")]
#![allow(clippy::unwrap_used, reason = "a test may end where it stands")]

use hafnium_core::config::{Config, ConfigError, Loader, Sources};
use hafnium_core::secret::Secret;
use hafnium_core::secret::vault::{Vault, VaultSection, VaultSettings};
use schemars::JsonSchema;
use serde::Deserialize;

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
struct Settings {
    password: Option<Secret>,
}

fn load(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let sources = variables.iter().fold(Sources::none(), |sources, (name, value)| {
        sources.variable(*name, *value)
    });
    Loader::new("ledger")
        .settings::<Settings>()
        .section::<VaultSection>()
        .check(VaultSettings::problems)
        .sources(sources)
        .load()
}

fn report(variables: &[(&str, &str)]) -> String {
    load(variables).unwrap_err().to_string()
}

#[test]
fn the_usual_variables_are_understood() {
    let config = load(&[
        ("VAULT_ADDR", "https://vault.example:8200"),
        ("VAULT_TOKEN", "hvs.canary"),
        ("VAULT_NAMESPACE", "team"),
        ("VAULT_CACERT", "/etc/ssl/vault.pem"),
    ])
    .unwrap();
    let settings = config.get::<VaultSection>().unwrap();
    assert_eq!(settings.address.as_deref(), Some("https://vault.example:8200"));
    assert_eq!(settings.token.as_ref().unwrap().current().expose(), "hvs.canary");
    assert_eq!(settings.namespace.as_deref(), Some("team"));
    assert!(settings.ca.is_some());
    assert!(!format!("{settings:?} {config:?}").contains("canary"));
    let error = Vault::new(&settings).unwrap_err().to_string();
    assert!(error.starts_with("vault.ca"), "there is no such file: {error}");
}

#[test]
fn without_an_address_nothing_is_wanted_until_a_reference_needs_it() {
    assert!(load(&[]).is_ok());
    let report = report(&[("HAFNIUM__SETTINGS__PASSWORD", "vault:kv/app#k")]);
    assert!(
        report.contains("settings.password") && report.contains("vault.address"),
        "{report}"
    );
}

#[test]
fn a_login_is_wanted_and_only_one() {
    let address = ("VAULT_ADDR", "http://127.0.0.1:8200");
    let none = report(&[address]);
    assert!(none.contains("vault.approle and vault.kubernetes"), "{none}");
    let two = report(&[
        address,
        ("VAULT_TOKEN", "hvs.canary"),
        ("HAFNIUM__VAULT__KUBERNETES__ROLE", "ledger"),
    ]);
    assert!(
        two.contains("vault.kubernetes") && two.contains("vault.token"),
        "{two}"
    );
    assert!(!two.contains("canary"), "{two}");
}

#[test]
fn references_that_can_mean_nothing_are_told_with_their_key() {
    let rows = [
        (
            "HAFNIUM__SETTINGS__PASSWORD",
            "vault:onlymount",
            "settings.password",
        ),
        (
            "HAFNIUM__SETTINGS__PASSWORD",
            "vault:kv/../sys/seal#k",
            "settings.password",
        ),
        (
            "HAFNIUM__SETTINGS__PASSWORD",
            "vault-db:ledger#password",
            "settings.password",
        ),
        (
            "HAFNIUM__VAULT__APPROLE__SECRET_ID",
            "vault:kv/app#k",
            "vault.approle.secret_id",
        ),
    ];
    for (variable, reference, key) in rows {
        let report = report(&[
            ("VAULT_ADDR", "http://127.0.0.1:8200"),
            ("HAFNIUM__VAULT__APPROLE__ROLE_ID", "ledger"),
            (variable, reference),
        ]);
        assert!(report.contains(key), "{report}");
    }
}

#[test]
fn an_address_is_a_url_without_a_login() {
    for address in [
        "vault.example:8200",
        "ftp://vault",
        "http://user:canary@vault:8200",
        "http://vault/?x=1",
    ] {
        let report = report(&[("VAULT_ADDR", address), ("VAULT_TOKEN", "t")]);
        assert!(report.contains("vault.address"), "{report}");
        assert!(!report.contains("canary"), "{report}");
    }
}
