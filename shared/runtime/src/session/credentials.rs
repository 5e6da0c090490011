//! User name and password. A password in a file is read for each connection, so that a process outlives
//! its change.

use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use async_trait::async_trait;
use scylla::authentication::{
    AuthError, AuthenticatorProvider, AuthenticatorSession, PlainTextAuthenticator,
};

use super::ScyllaConfig;
use crate::config::Secret;

/// Errs when it is not clear what the password is, or whose.
pub(super) fn check(config: &ScyllaConfig) -> anyhow::Result<()> {
    let (here, file) = (!config.password.is_empty(), !config.password_file.is_empty());
    if here && file {
        bail!("scylla.password and scylla.password_file are both set, and only one can hold");
    }
    if config.username.is_empty() && (here || file) {
        let key = if here { "scylla.password" } else { "scylla.password_file" };
        bail!("{key} is set and scylla.username is not");
    }
    Ok(())
}

/// What the driver shall say when it is asked who it is; `None` if nothing is configured.
pub(super) fn of(config: &ScyllaConfig) -> anyhow::Result<Option<Arc<dyn AuthenticatorProvider>>> {
    let user = config.username.clone();
    if user.is_empty() {
        return Ok(None);
    }
    if config.password_file.is_empty() {
        let password = config.password.expose().to_owned();
        return Ok(Some(Arc::new(PlainTextAuthenticator::new(user, password))));
    }
    // A bad file is told at once and not by the driver after its own attempts.
    read(&config.password_file)?;
    Ok(Some(Arc::new(PasswordFile { user, path: config.password_file.clone() })))
}

struct PasswordFile {
    user: String,
    path: String,
}

#[async_trait]
impl AuthenticatorProvider for PasswordFile {
    async fn start_authentication_session(
        &self,
        authenticator: &str,
    ) -> Result<(Option<Vec<u8>>, Box<dyn AuthenticatorSession>), AuthError> {
        let password = read(&self.path).map_err(|error| format!("{error:#}"))?;
        PlainTextAuthenticator::new(self.user.clone(), password.expose().to_owned())
            .start_authentication_session(authenticator)
            .await
    }
}

/// The password, without the end of its line.
fn read(path: &str) -> anyhow::Result<Secret> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read scylla.password_file {path}"))?;
    let password = text.trim_end();
    ensure!(!password.is_empty(), "scylla.password_file {path} is empty");
    Ok(Secret::new(password))
}
