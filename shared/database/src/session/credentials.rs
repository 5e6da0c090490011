//! User name and password. A password in a file is read for each connection, so that a process outlives
//! its change.

use std::sync::Arc;

use async_trait::async_trait;
use runtime::config::{BadValue, Secret};
use scylla::authentication::{
    AuthError, AuthenticatorProvider, AuthenticatorSession, PlainTextAuthenticator,
};

use super::ScyllaConfig;

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
        let password = read(&self.path).map_err(|error| error.to_string())?;
        PlainTextAuthenticator::new(self.user.clone(), password.expose().to_owned())
            .start_authentication_session(authenticator)
            .await
    }
}

fn read(path: &str) -> Result<Secret, BadValue> {
    Secret::read("scylla.password_file", path)
}
