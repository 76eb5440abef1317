//! The files with certificates and keys that a URL names. The driver reads them at each login, so that they may be
//! replaced, and names none in its errors: which one is wrong is found out here.

use std::io::ErrorKind;
use std::sync::Arc;

use super::url::UrlError;

/// One file, and what it is for.
#[derive(Debug)]
struct File {
    parameter: &'static str,
    path: String,
    /// What must stand in it.
    holds: &'static str,
}

/// All that are needed for a login.
#[derive(Debug, Clone, Default)]
pub(crate) struct Files {
    files: Arc<[File]>,
}

impl Files {
    /// Each with its parameter.
    pub(crate) fn new<'a>(files: impl IntoIterator<Item = (&'static str, &'a str)>) -> Self {
        let file = |(parameter, path): (&'static str, &str)| File {
            parameter,
            path: path.to_owned(),
            holds: match parameter {
                "sslkey" => "PRIVATE KEY",
                _ => "CERTIFICATE",
            },
        };
        Self {
            files: files.into_iter().map(file).collect(),
        }
    }

    /// # Errors
    /// Names the first file that can't be read, or does not hold what it is for.
    pub(crate) fn check(&self) -> Result<(), UrlError> {
        self.files.iter().try_for_each(File::check)
    }

    /// `error` of a login; the file that is to blame for it, if it is one.
    pub(crate) fn explain(&self, error: sqlx::Error) -> sqlx::Error {
        let suspicious = match &error {
            sqlx::Error::Io(error) => matches!(
                error.kind(),
                ErrorKind::NotFound
                    | ErrorKind::PermissionDenied
                    | ErrorKind::IsADirectory
                    | ErrorKind::NotADirectory
                    | ErrorKind::InvalidData
            ),
            sqlx::Error::Tls(_) | sqlx::Error::Configuration(_) => true,
            _ => false,
        };
        match self.check() {
            Err(wrong) if suspicious => sqlx::Error::Configuration(wrong.into()),
            _ => error,
        }
    }
}

impl File {
    fn check(&self) -> Result<(), UrlError> {
        let wrong = |reason: String| UrlError::File {
            parameter: self.parameter,
            path: self.path.clone(),
            reason,
        };
        let content = std::fs::read(&self.path).map_err(|error| wrong(format!("can't be read: {error}")))?;
        let text = String::from_utf8_lossy(&content);
        let held = text.lines().any(|line| {
            line.starts_with("-----BEGIN ") && line.trim_end().ends_with(&format!("{}-----", self.holds))
        });
        match held {
            true => Ok(()),
            false => Err(wrong(format!("holds no {} in PEM", self.holds.to_lowercase()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(parameter: &'static str, content: &[u8]) -> Result<(), String> {
        let path = std::env::temp_dir().join(format!("hafnium-{}-{}", std::process::id(), fastrand::u64(..)));
        std::fs::write(&path, content).unwrap();
        let checked = Files::new([(parameter, path.to_str().unwrap())]).check();
        std::fs::remove_file(&path).unwrap();
        checked.map_err(|error| error.to_string())
    }

    #[test]
    fn a_file_that_is_not_what_it_is_for_is_named_with_its_parameter() {
        let certificate = b"subject=x\n-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n";
        checked("sslrootcert", certificate).unwrap();
        checked("sslcert", b"-----BEGIN TRUSTED CERTIFICATE-----\r\n").unwrap();
        checked("sslkey", b"-----BEGIN RSA PRIVATE KEY-----\n").unwrap();
        for (parameter, content, reason) in [
            ("sslkey", &certificate[..], "holds no private key in PEM"),
            (
                "sslcert",
                b"-----BEGIN PRIVATE KEY-----\n",
                "holds no certificate in PEM",
            ),
            ("sslrootcert", b"", "holds no certificate in PEM"),
            ("sslrootcert", &[0x30, 0x82, 0xff], "holds no certificate in PEM"),
        ] {
            let error = checked(parameter, content).unwrap_err();
            let begin = format!("url: parameter \"{parameter}\": /");
            assert!(error.starts_with(&begin) && error.ends_with(reason), "{error}");
        }
        let none = Files::new([("sslcert", "/nowhere/client.pem")])
            .check()
            .unwrap_err();
        let text = "url: parameter \"sslcert\": /nowhere/client.pem can't be read: ";
        assert!(none.to_string().starts_with(text), "{none}");
    }

    #[test]
    fn only_an_error_that_a_file_can_cause_is_explained_by_one() {
        let files = Files::new([("sslcert", "/nowhere/client.pem")]);
        let missing = files.explain(std::io::Error::from(ErrorKind::NotFound).into());
        assert!(missing.to_string().contains("/nowhere/client.pem"), "{missing}");
        let refused = files.explain(std::io::Error::from(ErrorKind::ConnectionRefused).into());
        assert!(matches!(refused, sqlx::Error::Io(_)));
        let other = Files::default().explain(std::io::Error::from(ErrorKind::NotFound).into());
        assert!(matches!(other, sqlx::Error::Io(_)));
    }
}
