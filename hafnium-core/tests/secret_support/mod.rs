//! A source of secrets that does as it is told, and a store that asks it.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hafnium_core::config::{Config, Loader, Sources};
use hafnium_core::secret::{
    Address, FetchError, FetchErrorKind, Fetched, Login, Material, Provider, Secret, Secrets,
    SecretsSettings, Version,
};
use hafnium_core::{BoxFuture, Context, Deadline};
use schemars::JsonSchema;
use serde::Deserialize;

/// What no output may ever hold.
pub const CANARY: &str = "c4n4ry-v4lue";

/// Answers `vault:` references from memory.
#[derive(Default)]
pub struct Script {
    answers: Mutex<BTreeMap<String, Answer>>,
    pub asked: AtomicUsize,
    pub held: Mutex<Vec<Option<Version>>>,
    pub released: AtomicBool,
    pub delay: Mutex<Duration>,
}

#[derive(Clone)]
pub struct Answer {
    pub material: Material,
    pub version: String,
    pub refresh_after: Option<Duration>,
    pub expires_after: Option<Duration>,
    pub failure: Option<FetchErrorKind>,
}

impl Answer {
    pub fn text(text: &str, version: &str) -> Self {
        Self {
            material: Material::Text(text.into()),
            version: version.to_owned(),
            refresh_after: None,
            expires_after: None,
            failure: None,
        }
    }

    pub fn login(user: &str, password: &str, version: &str) -> Self {
        Self {
            material: Material::Login {
                user: user.to_owned(),
                password: password.into(),
            },
            ..Self::text("", version)
        }
    }

    pub fn fails(kind: FetchErrorKind) -> Self {
        Self {
            failure: Some(kind),
            ..Self::text("", "")
        }
    }

    pub fn refresh_after(mut self, seconds: u64) -> Self {
        self.refresh_after = Some(Duration::from_secs(seconds));
        self
    }

    pub fn expires_after(mut self, seconds: u64) -> Self {
        self.expires_after = Some(Duration::from_secs(seconds));
        self
    }
}

impl Script {
    pub fn answer(&self, reference: &str, answer: Answer) {
        self.answers.lock().unwrap().insert(reference.to_owned(), answer);
    }

    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Provider for Script {
    fn schemes(&self) -> &'static [&'static str] {
        &["vault", "vault-db"]
    }

    fn fetch<'a>(
        &'a self,
        address: &'a Address,
        held: Option<&'a Version>,
    ) -> BoxFuture<'a, Result<Fetched, FetchError>> {
        Box::pin(async move {
            self.asked.fetch_add(1, Ordering::SeqCst);
            self.held.lock().unwrap().push(held.cloned());
            let delay = *self.delay.lock().unwrap();
            tokio::time::sleep(delay).await;
            let answer = self.answers.lock().unwrap().get(&address.to_string()).cloned();
            let answer = answer.unwrap_or_else(|| Answer::fails(FetchErrorKind::Missing));
            match answer.failure {
                Some(kind) => Err(FetchError {
                    kind,
                    message: format!("{address}: {kind:?}, says the script"),
                }),
                None => Ok(Fetched {
                    material: answer.material,
                    version: Version(answer.version),
                    refresh_after: answer.refresh_after,
                    expires_after: answer.expires_after,
                    changed: None,
                }),
            }
        })
    }

    fn release(&self, _: Deadline) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.released.store(true, Ordering::SeqCst);
        })
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default)]
#[derive(Default)]
pub struct Settings {
    pub password: Option<Secret>,
    pub again: Option<Secret>,
    pub login: Option<Login>,
    #[schemars(extend("x-url-schemes" = ["postgres"]))]
    pub url: Option<Secret>,
    pub certificate: Option<Secret>,
    pub key: Option<Secret>,
}

/// A configuration whose keys below `settings` hold these references.
pub fn config(keys: &[(&str, &str)]) -> Config {
    loader(keys).load().unwrap()
}

pub fn loader(keys: &[(&str, &str)]) -> Loader {
    let mut sources = Sources::none();
    for (key, reference) in keys {
        let name = format!("HAFNIUM__{}", key.replace('.', "__").to_uppercase());
        sources = sources.variable(name, *reference);
    }
    Loader::new("risk-engine")
        .settings::<Settings>()
        .section::<SecretsSettings>()
        .sources(sources)
}

/// A store over `script`, which holds the secrets of `config` and follows them.
pub async fn follow(script: &Arc<Script>, config: &Config, cx: &Context) -> Secrets {
    let secrets = store(script, config);
    secrets
        .open(config, Deadline::after(Duration::from_secs(30)))
        .await
        .unwrap();
    secrets.follow(cx);
    secrets
}

pub fn store(script: &Arc<Script>, config: &Config) -> Secrets {
    let settings = config.get::<SecretsSettings>().unwrap();
    Secrets::new(settings, vec![script.clone()])
}

pub fn script() -> Arc<Script> {
    Arc::new(Script::default())
}

pub fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(30))
}

pub async fn wait(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}
