//! Certificates and keys: right or wrong only once every secret is there.

use hafnium_core::config::{Config, ConfigError};
use hafnium_core::http::HttpSettings;
use hafnium_core::upstream::UpstreamSettings;

use crate::declaration::Declarations;

/// # Errors
/// Everything that can't be used, each with its key and its origin.
pub(crate) fn check(config: &Config, declarations: &Declarations) -> Result<(), ConfigError> {
    let mut problems = HttpSettings::material_problems(config);
    for upstream in &declarations.upstreams {
        problems.extend(UpstreamSettings::material_problems(config, upstream.name()));
    }
    match problems.is_empty() {
        true => Ok(()),
        false => Err(config.refused(problems)),
    }
}
