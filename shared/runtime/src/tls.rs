//! What all encrypted connections have in common: PEM files, and what may be wrong with a certificate.
//!
//! The provider of the cryptography is named here and not taken from the process, where nobody may have
//! set one.

mod client;
mod fault;
mod pinned;

use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, ClientConfig, ClientConnection, Error, RootCertStore};

pub use client::ClientTls;
pub use fault::TlsFault;
pub(crate) use pinned::to_oneself;

/// The cryptography of all connections.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// All certificates of a PEM file, of which there must be one. Errs with the `key` that names the file.
pub(crate) fn certificates(key: &str, path: &str) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| format!("cannot read {key} {path}"))?;
    ensure!(!certificates.is_empty(), "{key} {path} holds no certificate");
    Ok(certificates)
}

/// The authorities of a PEM file.
pub fn authorities(key: &str, path: &str) -> anyhow::Result<RootCertStore> {
    let mut authorities = RootCertStore::empty();
    for authority in certificates(key, path)? {
        authorities.add(authority).with_context(|| format!("{key} {path}"))?;
    }
    Ok(authorities)
}

/// A certificate and its private key, of two PEM files. Errs with the key that names the file at fault.
pub fn certified_key(
    [cert_key, key_key]: [&str; 2],
    [cert, key]: [&str; 2],
    provider: &CryptoProvider,
) -> anyhow::Result<CertifiedKey> {
    let chain = certificates(cert_key, cert)?;
    let private = PrivateKeyDer::from_pem_file(key)
        .with_context(|| format!("{key_key} {key} holds no private key"))?;
    CertifiedKey::from_der(chain, private, provider)
        .with_context(|| format!("{cert_key} {cert} and {key_key} {key} do not fit"))
}

/// What is wrong with a certificate that somebody showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateFault {
    /// It is good but for its names.
    OtherName,
    /// It, or the one of its authority, is not valid yet or not any more.
    NotNow,
    /// None of our authorities stands behind it, or it is no good for this use.
    OtherAuthority,
}

impl CertificateFault {
    /// `None` if the error is not about the certificate that the other side showed.
    pub fn of(error: &Error) -> Option<Self> {
        use CertificateError as Fault;
        let Error::InvalidCertificate(fault) = error else { return None };
        Some(match fault {
            Fault::NotValidForName | Fault::NotValidForNameContext { .. } => Self::OtherName,
            Fault::Expired
            | Fault::ExpiredContext { .. }
            | Fault::NotValidYet
            | Fault::NotValidYetContext { .. } => Self::NotNow,
            _ => Self::OtherAuthority,
        })
    }

    /// Looks at the certificate that is shown at `address` (`host:port`), with the authorities of a PEM file.
    /// `None` if nothing is wrong with it, or none was shown. Blocks; `patience` is for each step of
    /// the network. For who is refused by a library that does not say why.
    pub fn at(address: &str, ca_file: &str, patience: Duration) -> Option<Self> {
        let error = shake_hands(address, ca_file, patience).err()?;
        let error = error.downcast_ref::<io::Error>()?;
        Self::of(error.get_ref()?.downcast_ref()?)
    }
}

fn shake_hands(address: &str, ca_file: &str, patience: Duration) -> anyhow::Result<()> {
    let (host, _) = address.rsplit_once(':').context("no port")?;
    let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())?;
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(authorities("authorities", ca_file)?)
        .with_no_client_auth();
    let mut connection = ClientConnection::new(Arc::new(config), name)?;
    let place = address.to_socket_addrs()?.next().context("no address")?;
    let mut socket = TcpStream::connect_timeout(&place, patience)?;
    socket.set_read_timeout(Some(patience))?;
    socket.set_write_timeout(Some(patience))?;
    while connection.is_handshaking() {
        connection.complete_io(&mut socket)?;
    }
    Ok(())
}
