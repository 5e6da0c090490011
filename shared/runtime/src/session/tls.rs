//! TLS to the nodes.
//!
//! The driver knows a node by its address alone, and asks for a certificate that is valid for this IP
//! address. Certificates of nodes often have only names, so here one is good too that is valid for a host
//! name of `scylla.nodes`: whichever of these names it is, because which node is meant by which name is
//! not known. An address or such a name must be in the certificate in any case.
//!
//! All files are looked at again for each connection, also of a session that is there. The provider of the
//! cryptography is named here and not taken from the process, where nobody may have set one.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

use super::ScyllaConfig;
use super::reloaded::Reloaded;

/// Errs when the keys contradict each other.
pub(super) fn check(config: &ScyllaConfig) -> anyhow::Result<()> {
    let files = [
        ("scylla.tls_ca_file", &config.tls_ca_file),
        ("scylla.tls_cert_file", &config.tls_cert_file),
        ("scylla.tls_key_file", &config.tls_key_file),
    ];
    if !config.tls {
        // Who names certificates does not expect to be readable by everybody.
        if let Some((key, _)) = files.iter().find(|(_, path)| !path.is_empty()) {
            bail!("{key} is set and scylla.tls is false");
        }
        return Ok(());
    }
    ensure!(!config.tls_ca_file.is_empty(), "scylla.tls = true needs scylla.tls_ca_file");
    ensure!(
        config.tls_cert_file.is_empty() == config.tls_key_file.is_empty(),
        "scylla.tls_cert_file and scylla.tls_key_file must be both set or neither"
    );
    Ok(())
}

/// What the driver shall encrypt with. Errs with the key of a file that cannot be used.
pub(super) fn client_config(config: &ScyllaConfig) -> anyhow::Result<Arc<ClientConfig>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = NodeVerifier::open(config, Arc::clone(&provider))?;
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .context("choose the versions of TLS")?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut tls = if config.tls_cert_file.is_empty() {
        builder.with_no_client_auth()
    } else {
        builder.with_client_cert_resolver(Arc::new(OwnCertificate::open(config, provider)?))
    };
    // A resumed session would rest on certificates of the past.
    tls.resumption = Resumption::disabled();
    Ok(Arc::new(tls))
}

/// Judges the certificates of nodes.
#[derive(Debug)]
struct NodeVerifier {
    authorities: Reloaded<Arc<WebPkiServerVerifier>>,
    /// Host names of the contact points.
    names: Vec<ServerName<'static>>,
}

impl NodeVerifier {
    fn open(config: &ScyllaConfig, provider: Arc<CryptoProvider>) -> anyhow::Result<Self> {
        let path = config.tls_ca_file.clone();
        let make = move || {
            let mut authorities = RootCertStore::empty();
            for authority in certificates("scylla.tls_ca_file", &path)? {
                authorities.add(authority).with_context(|| format!("scylla.tls_ca_file {path}"))?;
            }
            WebPkiServerVerifier::builder_with_provider(authorities.into(), Arc::clone(&provider))
                .build()
                .with_context(|| format!("scylla.tls_ca_file {path}"))
        };
        let names = config.nodes.iter().filter_map(|node| host_name(node)).collect();
        Ok(Self { authorities: Reloaded::open(&[&config.tls_ca_file], make)?, names })
    }
}

impl ServerCertVerifier for NodeVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        address: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let authorities = self.authorities.get();
        let valid_for = |name: &ServerName<'_>| {
            authorities.verify_server_cert(end_entity, intermediates, name, ocsp, now)
        };
        match valid_for(address) {
            Err(error) if is_of_another_name(&error) => {
                self.names.iter().find_map(|name| valid_for(name).ok()).ok_or(error)
            }
            judged => judged,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities.get().verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities.get().verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.authorities.get().supported_verify_schemes()
    }
}

/// Whether a certificate is good but for its names.
pub(super) fn is_of_another_name(error: &Error) -> bool {
    use CertificateError::{NotValidForName, NotValidForNameContext};
    matches!(error, Error::InvalidCertificate(NotValidForName | NotValidForNameContext { .. }))
}

/// The host name of a contact point; `None` if it is an address.
fn host_name(node: &str) -> Option<ServerName<'static>> {
    if node.parse::<SocketAddr>().is_ok() || node.parse::<IpAddr>().is_ok() {
        return None;
    }
    let host = node.rsplit_once(':').map_or(node, |(host, _)| host);
    // What is no name cannot be resolved either, and the driver says so.
    ServerName::try_from(host.to_owned()).ok()
}

/// What this process shows of itself.
#[derive(Debug)]
struct OwnCertificate {
    current: Reloaded<CertifiedKey>,
}

impl OwnCertificate {
    fn open(config: &ScyllaConfig, provider: Arc<CryptoProvider>) -> anyhow::Result<Self> {
        let (cert, key) = (config.tls_cert_file.clone(), config.tls_key_file.clone());
        let make = move || {
            let chain = certificates("scylla.tls_cert_file", &cert)?;
            let private = PrivateKeyDer::from_pem_file(&key)
                .with_context(|| format!("scylla.tls_key_file {key} holds no private key"))?;
            CertifiedKey::from_der(chain, private, &provider).with_context(|| {
                format!("scylla.tls_cert_file {cert} and scylla.tls_key_file {key} do not fit")
            })
        };
        let files = [config.tls_cert_file.as_str(), config.tls_key_file.as_str()];
        Ok(Self { current: Reloaded::open(&files, make)? })
    }
}

impl ResolvesClientCert for OwnCertificate {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.current.get())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// All certificates of a PEM file, of which there must be one.
fn certificates(key: &str, path: &str) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| format!("cannot read {key} {path}"))?;
    ensure!(!certificates.is_empty(), "{key} {path} holds no certificate");
    Ok(certificates)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contact_points_by_name_are_names_to_verify() {
        for (node, expected) in [
            ("node-1.example:9042", Some("node-1.example")),
            ("node-1.example", Some("node-1.example")),
            ("10.0.0.1:9042", None),
            ("10.0.0.1", None),
            ("[2001:db8::1]:9042", None),
            ("2001:db8::1", None),
            ("no name:9042", None),
        ] {
            let name = host_name(node).map(|name| name.to_str().into_owned());
            assert_eq!(name.as_deref(), expected, "{node}");
        }
    }
}
