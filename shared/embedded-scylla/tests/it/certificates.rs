//! Authorities and certificates, made when a test needs them. The tests of `runtime` and `database` compile this file too.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Who signs certificates.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Certificate and key as PEM, for these host names and addresses.
    pub(crate) fn issue(&self, names: &[&str]) -> (String, String) {
        self.sign(names, |_| {})
    }

    /// The same, but of long ago.
    pub(crate) fn issue_expired(&self, names: &[&str]) -> (String, String) {
        self.sign(names, |params| {
            params.not_before = date_time_ymd(2000, 1, 1);
            params.not_after = date_time_ymd(2001, 1, 1);
        })
    }

    fn sign(&self, names: &[&str], adjust: impl Fn(&mut CertificateParams)) -> (String, String) {
        let names = names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let mut params = CertificateParams::new(names).expect("sound names");
        params.distinguished_name.push(DnType::CommonName, "holder");
        adjust(&mut params);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        (certificate.pem(), key.serialize_pem())
    }
}

/// A folder of PEM files.
pub(crate) struct Folder {
    dir: TempDir,
}

impl Folder {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a temporary directory") }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Puts a file into its place in one step, as who renews certificates should.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let (new, place) = (self.path().join("new"), self.path().join(name));
        std::fs::write(&new, text).expect("written");
        std::fs::rename(&new, &place).expect("renamed");
        place
    }

    pub(crate) fn authority(&self, name: &str, authority: &Authority) -> PathBuf {
        self.write(name, &authority.pem)
    }

    /// Writes `<name>.crt` and `<name>.key`.
    pub(crate) fn identity(
        &self,
        name: &str,
        (certificate, key): &(String, String),
    ) -> [PathBuf; 2] {
        [self.write(&format!("{name}.crt"), certificate), self.write(&format!("{name}.key"), key)]
    }
}
