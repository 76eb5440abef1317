//! Sections as crates declare them, and a directory with files.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]

use std::path::Path;

use hafnium_core::config::{
    Alias, ByteSize, Config, ConfigError, Duration, Loader, Problem, Ratio, Section, Sources,
};
use hafnium_core::secret::Secret;
use schemars::JsonSchema;
use serde::Deserialize;

/// What no output may ever hold.
pub const CANARY: &str = "c4n4ry-v4lue";

/// A section with one instance.
pub struct Http;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default)]
pub struct HttpSettings {
    pub port: u16,
    pub request_timeout: Duration,
    pub body_limit: ByteSize,
    pub shed: Ratio,
    pub compress: bool,
    pub weight: f64,
    pub origins: Vec<String>,
    pub protocol: Protocol,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, serde::Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// HTTP/1.1 only.
    Http1,
    /// HTTP/2 without TLS.
    H2c,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            port: 8080,
            request_timeout: Duration::from_secs(30),
            body_limit: ByteSize::from_mebibytes(2),
            shed: Ratio::from_percent(90),
            compress: false,
            weight: 1.0,
            origins: Vec::new(),
            protocol: Protocol::Http1,
        }
    }
}

impl Section for Http {
    const KEY: &'static str = "http";
    type Settings = HttpSettings;
    fn aliases() -> &'static [Alias] {
        &[Alias {
            variable: "PORT",
            key: "port",
        }]
    }
}

/// The section of the other listener.
pub struct Admin;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default)]
pub struct AdminSettings {
    pub port: u16,
}

impl Default for AdminSettings {
    fn default() -> Self {
        Self { port: 9090 }
    }
}

impl Section for Admin {
    const KEY: &'static str = "admin";
    type Settings = AdminSettings;
}

/// A section with named instances and secrets.
pub struct Database;

#[derive(Debug, Deserialize, JsonSchema)]
pub struct DatabaseSettings {
    #[schemars(extend("x-url-schemes" = ["postgres", "postgresql"]))]
    pub url: Secret,
    pub password: Option<Secret>,
    #[serde(default)]
    pub pool: Pool,
    #[schemars(extend("x-url-schemes" = ["http", "https"]))]
    pub collector: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Pool {
    pub size: u32,
    pub acquire_timeout: Duration,
}

impl Default for Pool {
    fn default() -> Self {
        Self {
            size: 10,
            acquire_timeout: Duration::from_secs(5),
        }
    }
}

impl Section for Database {
    const KEY: &'static str = "database";
    type Settings = DatabaseSettings;
    fn aliases() -> &'static [Alias] {
        &[Alias {
            variable: "DATABASE_URL",
            key: "url",
        }]
    }
}

/// A loader of one file in a directory of its own, and some variables.
pub struct Rig {
    pub directory: tempfile::TempDir,
    pub sources: Sources,
}

pub fn rig() -> Rig {
    let directory = tempfile::tempdir().unwrap();
    let sources = Sources::none().directory(directory.path());
    Rig { directory, sources }
}

impl Rig {
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn file(self, name: &str, text: &str) -> Self {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.sources = self.sources.variable(name, value);
        self
    }

    pub fn load(&self, loader: Loader) -> Result<Config, ConfigError> {
        loader.sources(self.sources.clone()).load()
    }

    /// The report of a load that must fail, after a look for the canary.
    pub fn report(&self, loader: Loader) -> String {
        let error = self.load(loader).unwrap_err();
        for text in [error.to_string(), format!("{error:?}"), error.summary()] {
            assert!(!text.contains(CANARY), "{text}");
        }
        error.to_string()
    }

    pub fn problems(&self, loader: Loader) -> Vec<Problem> {
        self.load(loader).unwrap_err().problems().to_vec()
    }
}

pub fn loader() -> Loader {
    Loader::new("risk-engine")
}

pub fn http() -> Loader {
    loader().section::<Http>()
}

pub fn ledger() -> Loader {
    loader().named::<Database>("ledger")
}
