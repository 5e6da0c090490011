//! Who may connect, and what others on the network see of it.

use super::passwords::Passwords;
use super::tls::Tls;
use anyhow::Context as _;
use reloaded::Reloaded;
use std::path::PathBuf;
use std::sync::Arc;

/// TLS and passwords of the CQL port. Nothing of either lets everybody in and everybody listen. All
/// files are read again when they change; connections that are there stay as they are.
#[derive(Debug, Clone, Default)]
pub struct SecurityConfig {
    /// Clients must speak TLS.
    pub tls: Option<TlsFiles>,
    /// Clients must give a password: a file of lines `user:password`.
    pub password_file: Option<PathBuf>,
}

/// The files of TLS, all PEM.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The server's certificate, and after it those up to the authority.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Authorities of clients: with them every client must have a certificate from one.
    pub client_ca: Option<PathBuf>,
}

/// What was made of a [`SecurityConfig`].
#[derive(Debug, Default)]
pub(super) struct Security {
    pub(super) tls: Option<Tls>,
    passwords: Option<Reloaded<Passwords>>,
}

impl Security {
    /// Reads all files; errs with the path of one that is not there or makes no sense.
    pub(super) fn open(config: SecurityConfig) -> anyhow::Result<Self> {
        let tls = config.tls.map(Tls::open).transpose()?;
        let passwords = config.password_file.map(|file| {
            let path = file.clone();
            let make = move || {
                let read = Passwords::read(&path);
                read.map_err(|error| error.context(path.display().to_string()))
            };
            Reloaded::open("password file", vec![file], make).context("read the password file")
        });
        Ok(Self { tls, passwords: passwords.transpose()? })
    }

    /// Those who may come in now; `None` lets everybody in.
    pub(super) fn passwords(&self) -> Option<Arc<Passwords>> {
        self.passwords.as_ref().map(Reloaded::get)
    }
}
