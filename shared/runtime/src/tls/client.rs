//! The client's end of an encrypted connection: to our own ports, and to the collector of traces.

use std::io;
use std::sync::Arc;

use anyhow::Context;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{authorities, certified_key, provider};

/// Whom to believe, and what to show of oneself. The files are read once. Cheap to clone.
#[derive(Clone)]
pub struct ClientTls {
    connector: TlsConnector,
}

impl ClientTls {
    /// Reads the PEM files of authorities, own certificate and private key; without the last two, both empty,
    /// none is shown. Errs with the one of `keys` that names the file at fault.
    pub fn open(keys: [&str; 3], files: [&str; 3]) -> anyhow::Result<Self> {
        let ([ca_key, cert_key, key_key], [ca, cert, key]) = (keys, files);
        let provider = provider();
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .context("choose the versions of TLS")?
            .with_root_certificates(authorities(ca_key, ca)?);
        let mut config = if cert.is_empty() {
            builder.with_no_client_auth()
        } else {
            let own = certified_key([cert_key, key_key], [cert, key], &provider)?;
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(own)))
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { connector: TlsConnector::from(Arc::new(config)) })
    }

    /// Shakes hands over `stream` with who must show a certificate for `host`, a name or an address. Why it
    /// fails is for [`TlsFault::of`](super::TlsFault::of) to tell.
    pub async fn encrypt<S>(&self, host: &str, stream: S) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        self.connector.connect(name, stream).await
    }
}
