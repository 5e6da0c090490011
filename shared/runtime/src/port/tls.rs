//! TLS of a port, 1.2 or newer.
//!
//! Certificates are looked at again for each connection; connections that are there stay as they are. With
//! `client_ca_file` a client has to show a certificate of one of these authorities, each time anew: its
//! sessions are not resumed.

use std::sync::Arc;

use anyhow::Context;
use reloaded::Reloaded;
use rustls::ServerConfig;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use tokio_rustls::TlsAcceptor;

use super::PortConfig;
use crate::config::check_port_files;
use crate::tls::{authorities, certified_key, provider};

/// Lets clients in with the certificates that the files hold now.
#[derive(Debug)]
pub(super) struct Tls {
    config: Reloaded<ServerConfig>,
}

impl Tls {
    /// Reads the files; `None` if none are configured. Errs with the key of a file that cannot be used, and when
    /// the keys contradict each other.
    pub(super) fn open(config: &PortConfig) -> anyhow::Result<Option<Self>> {
        let section = config.section;
        let [cert, key, client_ca] =
            [&config.tls_cert_file, &config.tls_key_file, &config.client_ca_file].map(Clone::clone);
        check_port_files(section, [&cert, &key, &client_ca]).map_err(|bad| bad.within(section))?;
        if cert.is_empty() {
            return Ok(None);
        }
        let files = [&cert, &key, &client_ca].into_iter().filter(|file| !file.is_empty());
        let files = files.map(Into::into).collect();
        let make = move || server_config(section, &cert, &key, &client_ca);
        Ok(Some(Self { config: Reloaded::open("certificates", files, make)? }))
    }

    /// For one connection.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.config.get())
    }
}

fn server_config(
    section: &str,
    cert: &str,
    key: &str,
    client_ca: &str,
) -> anyhow::Result<ServerConfig> {
    let provider = provider();
    let named = |key: &str| format!("{section}.{key}");
    let keys = [named("tls_cert_file"), named("tls_key_file")];
    let own = certified_key(keys.each_ref().map(String::as_str), [cert, key], &provider)?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .context("choose the versions of TLS")?;
    let builder = if client_ca.is_empty() {
        builder.with_no_client_auth()
    } else {
        let key = named("client_ca_file");
        let authorities = authorities(&key, client_ca)?;
        let verifier = WebPkiClientVerifier::builder_with_provider(authorities.into(), provider);
        let verifier = verifier.build().with_context(|| format!("{key} {client_ca}"))?;
        builder.with_client_cert_verifier(verifier)
    };
    let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(own)));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    if !client_ca.is_empty() {
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    Ok(config)
}

#[cfg(test)]
mod tests;
