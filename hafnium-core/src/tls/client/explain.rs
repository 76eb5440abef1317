//! What a failed handshake means to a person who is to mend it.

use std::io;

use rustls::{AlertDescription, CertificateError, Error};

/// The error of rustls inside an I/O error.
fn inside(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

/// Whether `error` is the other side's refusal of the handshake. With TLS 1.3 it may come after our side is done with
/// it and the first request is written; what was written is then never read.
fn refuses_handshake(error: &Error) -> bool {
    matches!(
        error,
        Error::AlertReceived(
            AlertDescription::CertificateRequired
                | AlertDescription::BadCertificate
                | AlertDescription::UnsupportedCertificate
                | AlertDescription::CertificateRevoked
                | AlertDescription::CertificateExpired
                | AlertDescription::CertificateUnknown
                | AlertDescription::UnknownCA
                | AlertDescription::AccessDenied
                | AlertDescription::DecryptError
                | AlertDescription::HandshakeFailure
                | AlertDescription::NoCertificate
        )
    )
}

/// The reason in words, if `error` is the other side's refusal of the handshake.
pub(crate) fn refusal(error: &io::Error) -> Option<String> {
    inside(error)
        .filter(|refusal| refuses_handshake(refusal))
        .map(|_| explain(error))
}

/// The reason in words, and where to look.
pub(super) fn explain(error: &io::Error) -> String {
    let Some(error) = inside(error) else {
        return match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
                "the server closed the connection; does it speak TLS on this port?".to_owned()
            }
            _ => "the connection broke".to_owned(),
        };
    };
    let words = match error {
        // A bad signature is what an authority of the same name with another key leads to.
        Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            "its certificate is not signed by a trusted authority (look at `tls.ca`)"
        }
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "its certificate is for other names (look at the URL's host and `tls.server_name`)",
        Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            "its certificate has expired"
        }
        Error::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
        ) => "its certificate is not valid yet (is the clock right?)",
        Error::AlertReceived(AlertDescription::CertificateRequired) => {
            "it asks for a certificate of ours (look at `tls.certificate` and `tls.key`)"
        }
        refused if refuses_handshake(refused) => "it refuses our certificate (look at `tls.certificate`)",
        Error::InvalidMessage(_) => "it does not speak TLS on this port",
        _ => "the handshake failed",
    };
    words.to_owned()
}
