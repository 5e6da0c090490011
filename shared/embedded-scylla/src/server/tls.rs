//! TLS of the CQL port.
//!
//! The provider of the cryptography is named here and not taken from the process, where nobody may have set
//! one. Sessions are not resumed: a connection lives long, and each one is to show a certificate that is
//! good now.

use super::security::TlsFiles;
use anyhow::{Context as _, ensure};
use reloaded::Reloaded;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use std::io;
use std::path::Path;
use std::sync::Arc;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Accepts clients with the certificate that the files hold now.
#[derive(Debug)]
pub(super) struct Tls {
    config: Reloaded<ServerConfig>,
}

impl Tls {
    /// Reads the files.
    pub(super) fn open(files: TlsFiles) -> anyhow::Result<Self> {
        let watched = [&files.cert, &files.key].into_iter().chain(&files.client_ca).cloned();
        let watched = watched.collect();
        let config = Reloaded::open("TLS files", watched, move || server_config(&files))
            .context("read the TLS files")?;
        Ok(Self { config })
    }

    /// Shakes hands; there is no deadline. When that fails the client was told why, nothing more is
    /// written, and the socket is given back.
    pub(super) async fn accept(
        &self,
        socket: TcpStream,
    ) -> Result<TlsStream<TcpStream>, (io::Error, TcpStream)> {
        let acceptor = TlsAcceptor::from(self.config.get());
        match acceptor.accept(socket).into_fallible().await {
            Ok(stream) => Ok(stream),
            Err((error, mut socket)) => {
                if let Err(error) = socket.shutdown().await {
                    tracing::debug!(%error, "the client of a failed TLS handshake is gone");
                }
                Err((error, socket))
            }
        }
    }
}

fn server_config(files: &TlsFiles) -> anyhow::Result<ServerConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .context("choose the versions of TLS")?;
    let builder = match &files.client_ca {
        None => builder.with_no_client_auth(),
        Some(file) => {
            let mut authorities = RootCertStore::empty();
            for authority in certificates(file)? {
                authorities.add(authority).with_context(|| file.display().to_string())?;
            }
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), provider);
            let verifier = verifier.build().with_context(|| file.display().to_string())?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .with_context(|| format!("{} holds no private key", files.key.display()))?;
    let mut config =
        builder.with_single_cert(certificates(&files.cert)?, key).with_context(|| {
            format!("{} and {} do not fit", files.cert.display(), files.key.display())
        })?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// All certificates of a PEM file, of which there must be one.
fn certificates(file: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let certificates = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| format!("{} is not PEM", file.display()))?;
    ensure!(!certificates.is_empty(), "{} holds no certificate", file.display());
    Ok(certificates)
}
