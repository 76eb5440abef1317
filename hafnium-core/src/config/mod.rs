//! Typed configuration in layers, with the origin of every value.
//!
//! A service declares what it can be told ([`Section`]s and its own settings), and [`Loader`] reads it. Layers, last
//! wins: defaults of the types → `hafnium.toml` → `hafnium.<environment>.toml` → the mounted config tree
//! (`HAFNIUM_CONFIG_DIR`) → `HAFNIUM__A__B` variables → well-known variables such as `DATABASE_URL` → `--set a.b=c`.
//!
//! The merged tree is checked against the JSON Schemas of the declared types before anything is deserialised, so a
//! [`ConfigError`] holds *every* problem with its key and its origin. What comes as text (variables, `--set`, files of
//! the tree) takes the type its key has; it is never guessed from what the text looks like.
//!
//! [`Live`] is the configuration in force while a service runs, and [`Reloader`] keeps it at what the sources say: the
//! keys marked `x-reloadable` in their schema change without a restart.
//!
//! ```
//! use hafnium_core::config::{Duration, Loader, Sources};
//!
//! #[derive(serde::Deserialize, schemars::JsonSchema)]
//! struct RiskSettings {
//!     #[serde(default = "window")]
//!     window: Duration,
//! }
//! fn window() -> Duration {
//!     Duration::from_secs(60)
//! }
//!
//! let sources = Sources::none().variable("HAFNIUM__SETTINGS__WINDOW", "90s");
//! let config = Loader::new("risk-engine").settings::<RiskSettings>().sources(sources).load()?;
//! assert_eq!(config.settings::<RiskSettings>()?.window, Duration::from_secs(90));
//! # Ok::<(), hafnium_core::config::ConfigError>(())
//! ```

mod adopt;
mod catalogue;
mod check;
mod checks;
mod de;
mod declaration;
mod effective;
mod entry;
mod environment;
mod fingerprint;
mod lax;
mod layer;
mod live;
mod loader;
mod origin;
mod partial;
mod pending;
mod place;
mod ports;
mod problem;
mod reference;
mod reload;
mod render;
mod section;
mod show;
mod sources;
mod tree;
mod units;
pub(crate) mod url;

pub use effective::Config;
pub use entry::Entry;
pub use environment::{Basis, Environment, Platform};
pub use live::{Changes, Live, Reloaded, Standing};
pub use loader::Loader;
pub use origin::Origin;
pub use partial::Partial;
pub use place::{Place, Role};
pub use problem::{ConfigError, Problem, ProblemKind};
pub use reload::{ReloadSettings, Reloader};
pub use section::{Alias, ComposeError, Composed, Parts, Section};
pub use sources::Sources;
pub use units::{ByteSize, Duration, Ratio, UnitError};
