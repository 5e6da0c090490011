//! Why an encrypted connection does not come about.

use std::error::Error;
use std::io;

use rustls::{AlertDescription, Error as TlsError};

use super::CertificateFault;

/// What a person has to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsFault {
    /// The certificate that the other side showed.
    Certificate(CertificateFault),
    /// The other side demands a certificate, and we showed none.
    Demanded,
    /// The other side refuses the certificate that we showed.
    Refused,
    /// What the other side speaks is not TLS.
    OtherProtocol,
}

impl TlsFault {
    /// Finds it among an error and its causes; `None` if none of them is of TLS, or says no more than that it is
    /// over.
    pub fn of(error: &(dyn Error + 'static)) -> Option<Self> {
        std::iter::successors(Some(error), |&error| error.source()).find_map(|error| {
            let io = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
            let tls = io.and_then(|inner| inner.downcast_ref()).or_else(|| error.downcast_ref());
            Self::of_tls(tls?)
        })
    }

    /// The same of the error of TLS itself.
    pub fn of_tls(error: &TlsError) -> Option<Self> {
        if let Some(fault) = CertificateFault::of(error) {
            return Some(Self::Certificate(fault));
        }
        match error {
            TlsError::AlertReceived(AlertDescription::CertificateRequired) => Some(Self::Demanded),
            TlsError::AlertReceived(
                AlertDescription::AccessDenied
                | AlertDescription::BadCertificate
                | AlertDescription::CertificateExpired
                | AlertDescription::CertificateRevoked
                | AlertDescription::CertificateUnknown
                | AlertDescription::DecryptError
                | AlertDescription::UnknownCA
                | AlertDescription::UnsupportedCertificate,
            ) => Some(Self::Refused),
            TlsError::InvalidMessage(_) => Some(Self::OtherProtocol),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::CertificateError;

    #[derive(Debug, thiserror::Error)]
    #[error("send a request")]
    struct Outer(#[source] io::Error);

    #[test]
    fn a_fault_is_found_below_other_errors() {
        let below = |error: TlsError| TlsFault::of(&Outer(io::Error::other(error)));
        let unknown = TlsError::InvalidCertificate(CertificateError::UnknownIssuer);
        let expected = TlsFault::Certificate(CertificateFault::OtherAuthority);
        assert_eq!(TlsFault::of(&unknown), Some(expected));
        assert_eq!(below(unknown), Some(expected));
        let demanded = TlsError::AlertReceived(AlertDescription::CertificateRequired);
        assert_eq!(below(demanded), Some(TlsFault::Demanded));
        let over = TlsError::AlertReceived(AlertDescription::InternalError);
        assert_eq!(below(over), None);
        assert_eq!(TlsFault::of(&Outer(io::Error::other("reset"))), None);
    }
}
