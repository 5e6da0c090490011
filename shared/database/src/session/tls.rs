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

use anyhow::Context;
use reloaded::Reloaded;
use runtime::tls::{CertificateFault, authorities, certified_key, provider};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};

use super::ScyllaConfig;

/// What the driver shall encrypt with. Errs with the key of a file that cannot be used.
pub(super) fn client_config(config: &ScyllaConfig) -> anyhow::Result<Arc<ClientConfig>> {
    let provider = provider();
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
            let authorities = authorities("scylla.tls_ca_file", &path)?;
            WebPkiServerVerifier::builder_with_provider(authorities.into(), Arc::clone(&provider))
                .build()
                .with_context(|| format!("scylla.tls_ca_file {path}"))
        };
        let names = config.nodes.iter().filter_map(|node| host_name(node)).collect();
        Ok(Self {
            authorities: Reloaded::open(
                "authorities",
                vec![config.tls_ca_file.clone().into()],
                make,
            )?,
            names,
        })
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
            Err(error) if CertificateFault::of(&error) == Some(CertificateFault::OtherName) => {
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
            certified_key(["scylla.tls_cert_file", "scylla.tls_key_file"], [&cert, &key], &provider)
        };
        let files = vec![config.tls_cert_file.clone().into(), config.tls_key_file.clone().into()];
        Ok(Self { current: Reloaded::open("certificate", files, make)? })
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
