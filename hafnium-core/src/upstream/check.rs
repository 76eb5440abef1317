//! What can be said of the settings of an upstream before it is called.

use super::settings::UpstreamSettings;
use super::target::Target;
use crate::config::{Config, Problem, Section};

/// Stands for a URL that can't be read, so that the keys beside it can be.
const ANYWHERE: &str = "http://upstream";

impl UpstreamSettings {
    /// What the types alone can't say is wrong with `upstream.<name>`; give it to
    /// [`Loader::check`](crate::config::Loader::check).
    pub fn problems(config: &Config, name: &str) -> Vec<Problem> {
        let Some(partial) = config.partial_named::<Self>(name, &[("url", ANYWHERE)]) else {
            return Vec::new();
        };
        let settings = &partial.settings;
        let mut found = Vec::new();
        match Target::parse(&settings.url) {
            Err(wrong) => found.push(("url".to_owned(), wrong.0)),
            Ok(_) if partial.lacks("url") => {}
            Ok(target) if target.scheme.as_str() == "http" => {
                if config.is_set(&format!("{}.{name}.tls", Self::KEY)) {
                    found.push(("tls".to_owned(), IN_PLAIN_TEXT));
                }
            }
            Ok(_) if !cfg!(feature = "tls") => found.push(("url".to_owned(), NO_TLS)),
            Ok(_) => {}
        }
        let tls = settings.tls.faults().into_iter();
        found.extend(tls.map(|(key, reason)| (format!("tls.{key}"), reason)));
        partial.problems(found)
    }

    /// What is wrong with the certificates and the key of `upstream.<name>` themselves, once every secret is there; for
    /// [`Config::refused`]. No [`Loader::check`](crate::config::Loader::check): files of a pair that are just being
    /// replaced must not make a reload fail.
    pub fn material_problems(config: &Config, name: &str) -> Vec<Problem> {
        #[cfg(feature = "tls")]
        if let Ok(settings) = config.named::<Self>(name)
            && settings.url.starts_with("https:")
            && let Err(error) = crate::tls::client::TlsClient::new(&settings.tls)
        {
            let key = format!("{}.{name}.tls.{}", Self::KEY, error.key);
            return vec![Problem::new(key, error.reason)];
        }
        #[cfg(not(feature = "tls"))]
        let _ = (config, name);
        Vec::new()
    }
}

pub(super) const IN_PLAIN_TEXT: &str = "is set, and the URL is `http`";
pub(super) const NO_TLS: &str = "`https` needs the feature `tls`";
