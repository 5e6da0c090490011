//! Why the database did not let this process in, in terms of the configuration.
//!
//! The driver tells what went wrong on the wire. A person needs to know which key to look at.

use std::io;

use runtime::tls::{CertificateFault, TlsFault};
use rustls::Error as TlsError;
use scylla::errors::{
    BrokenConnectionError, BrokenConnectionErrorKind, ConnectionError, ConnectionPoolError,
    ConnectionSetupRequestErrorKind, DbError, FrameHeaderParseError, MetadataError,
    NewSessionError,
};

use super::ScyllaConfig;

/// The error, with the key to look at before it where one can be named.
pub(super) fn explained(config: &ScyllaConfig, error: NewSessionError) -> anyhow::Error {
    match advice(config, &error) {
        Some(advice) => anyhow::Error::new(error).context(advice),
        None => error.into(),
    }
}

fn advice(config: &ScyllaConfig, error: &NewSessionError) -> Option<&'static str> {
    let NewSessionError::MetadataError(MetadataError::ConnectionPoolError(
        ConnectionPoolError::Broken { last_connection_error: error },
    )) = error
    else {
        return None;
    };
    match error {
        ConnectionError::IoError(error) => of_io(config, error),
        ConnectionError::BrokenConnection(error) => of_broken(config, error),
        ConnectionError::ConnectionSetupRequestError(error) => match error.get_error() {
            ConnectionSetupRequestErrorKind::DbError(DbError::AuthenticationError, _) => Some(
                "the database refuses scylla.username with the password of scylla.password or \
                 scylla.password_file",
            ),
            ConnectionSetupRequestErrorKind::MissingAuthentication => {
                Some("the database asks for a password, and scylla.username is empty")
            }
            ConnectionSetupRequestErrorKind::StartAuthSessionError(_) => {
                Some("scylla.password_file cannot be used")
            }
            ConnectionSetupRequestErrorKind::BrokenConnection(error) => of_broken(config, error),
            _ => None,
        },
        _ => None,
    }
}

fn of_broken(config: &ScyllaConfig, error: &BrokenConnectionError) -> Option<&'static str> {
    match error.downcast_ref()? {
        BrokenConnectionErrorKind::FrameHeaderParseError(
            FrameHeaderParseError::HeaderIoError(error)
            | FrameHeaderParseError::BodyChunkIoError(_, error),
        )
        | BrokenConnectionErrorKind::WriteError(error) => of_io(config, error),
        // Bytes that are not of this protocol, or an end whose reason the driver has lost.
        BrokenConnectionErrorKind::FrameHeaderParseError(_)
        | BrokenConnectionErrorKind::ChannelError => Some(hung_up(config)),
        _ => None,
    }
}

fn of_io(config: &ScyllaConfig, error: &io::Error) -> Option<&'static str> {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>());
    match (inner, error.kind()) {
        (Some(error), _) => Some(of_tls(config, error)),
        (
            None,
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe,
        ) => Some(hung_up(config)),
        (None, _) => None,
    }
}

fn of_tls(config: &ScyllaConfig, error: &TlsError) -> &'static str {
    match TlsFault::of_tls(error) {
        Some(TlsFault::Certificate(CertificateFault::OtherName)) => {
            "the certificate of the node is neither for its address nor for a host name of \
             scylla.nodes"
        }
        Some(TlsFault::Certificate(CertificateFault::NotNow)) => {
            "the certificate of the node, or one in scylla.tls_ca_file, is not valid at this time"
        }
        Some(TlsFault::Certificate(CertificateFault::OtherAuthority)) => {
            "the certificate of the node is of no authority in scylla.tls_ca_file"
        }
        Some(TlsFault::Demanded) => "the node demands a certificate: scylla.tls_cert_file",
        Some(TlsFault::Refused) => "the node refuses the certificate in scylla.tls_cert_file",
        Some(TlsFault::OtherProtocol) => "the node does not speak TLS there: scylla.tls",
        None => hung_up(config),
    }
}

/// Nothing is known but that the node did not go on.
fn hung_up(config: &ScyllaConfig) -> &'static str {
    match (config.tls, config.tls_cert_file.is_empty()) {
        (false, _) => "the node hung up; it may speak only TLS: scylla.tls",
        (true, true) => {
            "the node hung up; it may not speak TLS (scylla.tls), or demand a certificate \
             (scylla.tls_cert_file)"
        }
        (true, false) => {
            "the node hung up; it may not speak TLS (scylla.tls), or refuse the certificate in \
             scylla.tls_cert_file"
        }
    }
}
