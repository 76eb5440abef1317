//! TLS to the servers as a URL asks for it: `sslmode` and the files with certificates, and what is done where it asks
//! for nothing.
//!
//! Outside environment `dev` the default is `verify-full`: a password must not be told to whoever answers. In `dev` it
//! is `prefer`, as with libpq. A Unix socket is never encrypted, as with libpq.

use hafnium_core::config::Environment;
use sqlx::postgres::{PgConnectOptions, PgSslMode};

use super::certificates::Files;
use super::url::UrlError;

/// What a URL says of TLS.
#[derive(Clone, Default)]
pub(crate) struct Tls {
    mode: Option<PgSslMode>,
    root_cert: Option<String>,
    system_roots: bool,
    cert: Option<String>,
    key: Option<String>,
}

const NO_TLS_HERE: &str = "TLS is asked for, but this build lacks the feature `tls`";
const NO_TLS_BY_DEFAULT: &str = "outside environment dev the default is verify-full, but this build lacks the feature \
     `tls`: build with it, or say sslmode=disable where nobody else can read what is sent";

impl Tls {
    /// Takes a parameter of the URL; false for one that is not about TLS.
    pub(crate) fn parameter(&mut self, key: &str, value: &str) -> Result<bool, UrlError> {
        match key {
            "sslmode" => self.mode = Some(mode(value)?),
            // libpq's word for the roots that the system trusts; ours are those of the driver.
            "sslrootcert" if value == "system" => self.system_roots = true,
            "sslrootcert" => self.root_cert = Some(value.to_owned()),
            "sslcert" => self.cert = Some(value.to_owned()),
            "sslkey" => self.key = Some(value.to_owned()),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// With the default of `environment`, and what libpq makes of the rest.
    pub(crate) fn settle(&mut self, environment: Environment) -> Result<(), UrlError> {
        if self.cert.is_some() != self.key.is_some() {
            return refuse("sslcert", "sslcert and sslkey go together");
        }
        let weak = |mode| !matches!(mode, PgSslMode::VerifyFull);
        if self.system_roots && self.mode.is_some_and(weak) {
            return refuse(
                "sslrootcert",
                "\"system\" goes with sslmode=verify-full only: anyone can have a certificate of a public authority",
            );
        }
        let mode = match self.mode {
            Some(PgSslMode::Require) if self.root_cert.is_some() => PgSslMode::VerifyCa,
            Some(mode) => mode,
            None if self.system_roots || !environment.is_dev() => {
                if !cfg!(feature = "tls") {
                    return refuse("sslmode", NO_TLS_BY_DEFAULT);
                }
                PgSslMode::VerifyFull
            }
            None => PgSslMode::Prefer,
        };
        self.mode = Some(mode);
        Ok(())
    }

    /// What sqlx needs to know of it, for a host or a socket.
    pub(crate) fn apply(&self, mut options: PgConnectOptions, socket: bool) -> PgConnectOptions {
        if socket {
            return options.ssl_mode(PgSslMode::Disable);
        }
        if let Some(mode) = self.mode {
            options = options.ssl_mode(mode);
        }
        if let Some(path) = &self.root_cert {
            options = options.ssl_root_cert(path);
        }
        if let Some(path) = &self.cert {
            options = options.ssl_client_cert(path);
        }
        if let Some(path) = &self.key {
            options = options.ssl_client_key(path);
        }
        options
    }

    /// The files that a login needs: the authority's only where the server's certificate is checked.
    pub(crate) fn files(&self, socket: bool) -> Files {
        let root = match self.mode {
            _ if socket => return Files::default(),
            None | Some(PgSslMode::Disable) => return Files::default(),
            Some(PgSslMode::VerifyCa | PgSslMode::VerifyFull) => self.root_cert.as_deref(),
            Some(_) => None,
        };
        let named = [
            ("sslrootcert", root),
            ("sslcert", self.cert.as_deref()),
            ("sslkey", self.key.as_deref()),
        ];
        Files::new(
            named
                .into_iter()
                .filter_map(|(parameter, path)| Some((parameter, path?))),
        )
    }
}

fn refuse<T>(parameter: &'static str, reason: &'static str) -> Result<T, UrlError> {
    Err(UrlError::Parameter { parameter, reason })
}

fn mode(value: &str) -> Result<PgSslMode, UrlError> {
    let mode = match value {
        "disable" => return Ok(PgSslMode::Disable),
        "prefer" => return Ok(PgSslMode::Prefer),
        "allow" => {
            return refuse(
                "sslmode",
                "\"allow\" would never use TLS with this driver; say disable or prefer",
            );
        }
        "require" => PgSslMode::Require,
        "verify-ca" => PgSslMode::VerifyCa,
        "verify-full" => PgSslMode::VerifyFull,
        _ => {
            return refuse(
                "sslmode",
                "expected disable, prefer, require, verify-ca or verify-full",
            );
        }
    };
    if cfg!(feature = "tls") {
        Ok(mode)
    } else {
        refuse("sslmode", NO_TLS_HERE)
    }
}

/// What to do about a login that failed for want of TLS or of trust; the driver says only what it saw.
pub(crate) fn advice(error: &sqlx::Error) -> Option<&'static str> {
    let text = match error {
        sqlx::Error::Tls(error) => error.to_string(),
        sqlx::Error::Io(error) => error.to_string(),
        _ => return None,
    };
    let says = |words: &str| text.contains(words);
    if says("server does not support TLS") {
        Some(
            "switch it on there; or, where nobody else can read what is sent, say sslmode=disable in the URL (the default \
             outside environment dev is verify-full)",
        )
    } else if says("received fatal alert") {
        Some(
            "the server refuses the client's certificate: sslcert in the URL must name one that is valid and of an authority \
             that the server trusts",
        )
    } else if says("KeyMismatch") {
        Some("the key of sslkey is not that of the certificate in sslcert")
    } else if says("UnknownIssuer") {
        Some(
            "its authority is not trusted: name the file with the authority's certificate as sslrootcert in the URL (of \
             RDS, the region's bundle)",
        )
    } else if says("not valid for name") || says("NotValidForName") {
        Some(
            "connect by a name that the certificate has; sslmode=verify-ca trusts any server with a certificate of that \
             authority",
        )
    } else if says("Expired") || says("expired") {
        Some("the server needs a new certificate")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(parameters: &[(&str, &str)], environment: Environment) -> Result<PgSslMode, UrlError> {
        let mut tls = Tls::default();
        for (key, value) in parameters {
            assert!(tls.parameter(key, value)?);
        }
        tls.settle(environment)?;
        let options = tls.apply(PgConnectOptions::new_without_pgpass(), false);
        Ok(options.get_ssl_mode())
    }

    #[cfg(feature = "tls")]
    #[test]
    fn outside_dev_the_server_must_prove_who_it_is_unless_the_url_says_otherwise() {
        for environment in [Environment::Staging, Environment::Prod, Environment::Dr] {
            let mode = settled(&[], environment).unwrap();
            assert!(matches!(mode, PgSslMode::VerifyFull), "{mode:?}");
            let mode = settled(&[("sslmode", "disable")], environment).unwrap();
            assert!(matches!(mode, PgSslMode::Disable), "{mode:?}");
        }
        let mode = settled(&[], Environment::Dev).unwrap();
        assert!(matches!(mode, PgSslMode::Prefer), "{mode:?}");
    }

    #[cfg(not(feature = "tls"))]
    #[test]
    fn a_url_that_needs_tls_is_refused_by_a_build_without_it() {
        let error = settled(&[], Environment::Prod).unwrap_err().to_string();
        assert!(
            error.contains("feature `tls`") && error.contains("sslmode=disable"),
            "{error}"
        );
        let error = settled(&[("sslmode", "require")], Environment::Dev).unwrap_err();
        assert!(error.to_string().contains("feature `tls`"), "{error}");
        settled(&[("sslmode", "disable")], Environment::Prod).unwrap();
        settled(&[], Environment::Dev).unwrap();
    }

    #[cfg(feature = "tls")]
    #[test]
    fn a_certificate_file_is_used_as_libpq_uses_it() {
        let mode = settled(
            &[("sslmode", "require"), ("sslrootcert", "/ca")],
            Environment::Dev,
        )
        .unwrap();
        assert!(matches!(mode, PgSslMode::VerifyCa), "{mode:?}");
        let mode = settled(&[("sslrootcert", "system")], Environment::Dev).unwrap();
        assert!(matches!(mode, PgSslMode::VerifyFull), "{mode:?}");
        for parameters in [
            &[("sslrootcert", "system"), ("sslmode", "verify-ca")][..],
            &[("sslcert", "/c")],
            &[("sslkey", "/k")],
            &[("sslmode", "allow")],
        ] {
            assert!(settled(parameters, Environment::Dev).is_err(), "{parameters:?}");
        }
    }

    #[test]
    fn a_socket_is_never_encrypted() {
        let mut tls = Tls::default();
        tls.parameter("sslmode", "prefer").unwrap();
        tls.settle(Environment::Prod).unwrap();
        let options = tls.apply(PgConnectOptions::new_without_pgpass(), true);
        assert!(matches!(options.get_ssl_mode(), PgSslMode::Disable));
    }
}
