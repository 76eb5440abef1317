//! What can be said of the settings of the listener before it is there.

use super::settings::HttpSettings;
use crate::config::{ByteSize, Config, Problem, Section};

/// hyper takes no smaller limit of a head.
const LEAST_HEADER_LIMIT: ByteSize = ByteSize::from_bytes(8 << 10);

impl HttpSettings {
    /// What the types alone can't say is wrong; give it to [`Loader::check`](crate::config::Loader::check).
    pub fn problems(config: &Config) -> Vec<Problem> {
        match config.partial::<Self>(&[]) {
            Some(partial) => partial.problems(partial.settings.faults()),
            None => Vec::new(),
        }
    }

    /// What is wrong with the certificates and keys themselves, once every secret is there; for
    /// [`Config::refused`]. No [`Loader::check`](crate::config::Loader::check): files of a pair that are just being
    /// replaced must not make a reload fail.
    ///
    /// None without TLS, and where the section can't be read.
    pub fn material_problems(config: &Config) -> Vec<Problem> {
        let Ok(settings) = config.get::<Self>() else {
            return Vec::new();
        };
        let faults = settings.tls.material_faults().into_iter();
        let problems = faults.map(|(key, reason)| Problem::new(format!("{}.{key}", Self::KEY), reason));
        problems.collect()
    }

    /// Each key below `http` with the reason.
    pub(super) fn faults(&self) -> Vec<(&'static str, String)> {
        let mut faults = Vec::new();
        if self.header_limit < LEAST_HEADER_LIMIT {
            let reason = format!("must be at least {LEAST_HEADER_LIMIT}: HTTP/1.1 takes no smaller limit");
            faults.push(("header_limit", reason));
        }
        faults.extend(self.tls.faults());
        faults
    }
}
