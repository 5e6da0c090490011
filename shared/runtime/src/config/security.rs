//! Keys that the sections of several connections and ports have in common.

use super::{BadValue, Secret};

/// Errs when the TLS keys of `[section]` contradict each other; the files are those of `tls_ca_file`,
/// `tls_cert_file` and `tls_key_file`.
pub fn check_tls(section: &str, tls: bool, files: [&str; 3]) -> Result<(), BadValue> {
    let named = tls_files(files);
    if !tls {
        // Who names certificates does not expect to be readable by everybody.
        return match named.iter().find(|(_, path)| !path.is_empty()) {
            Some((key, _)) => {
                Err(BadValue::new(*key, format!("is set and {section}.tls is false")))
            }
            None => Ok(()),
        };
    }
    let [ca, cert, key] = files;
    if ca.is_empty() {
        let reason = format!("must be named where {section}.tls is true");
        return Err(BadValue::new("tls_ca_file", reason));
    }
    check_certificate(section, cert, key)
}

/// Errs when `tls_cert_file` of `[section]` is named without `tls_key_file`, or the other way round.
pub(super) fn check_certificate(section: &str, cert: &str, key: &str) -> Result<(), BadValue> {
    let (missing, named) = match (cert.is_empty(), key.is_empty()) {
        (true, false) => ("tls_cert_file", "tls_key_file"),
        (false, true) => ("tls_key_file", "tls_cert_file"),
        _ => return Ok(()),
    };
    Err(BadValue::new(missing, format!("must be named where {section}.{named} is")))
}

/// The same of a port, whose `client_ca_file` is the third.
pub fn check_port_files(section: &str, files: [&str; 3]) -> Result<(), BadValue> {
    let [cert, key, client_ca] = files;
    check_certificate(section, cert, key)?;
    // Who names authorities does not expect to let everybody in.
    if cert.is_empty() && !client_ca.is_empty() {
        let reason = format!("must be named where {section}.client_ca_file is");
        return Err(BadValue::new("tls_cert_file", reason));
    }
    Ok(())
}

/// Errs when one of the files that [`check_tls`] is about is named and cannot be read.
pub fn check_tls_files(files: [&str; 3]) -> Result<(), BadValue> {
    check_files(&tls_files(files))
}

/// Errs with the key of a file that is named and cannot be read. What is in it is looked at for each connection.
pub fn check_files(files: &[(&'static str, &str)]) -> Result<(), BadValue> {
    for (key, path) in files.iter().filter(|(_, path)| !path.is_empty()) {
        std::fs::read(path)
            .map_err(|error| BadValue::new(*key, format!("cannot read {path}: {error}")))?;
    }
    Ok(())
}

fn tls_files([ca, cert, key]: [&str; 3]) -> [(&'static str, &str); 3] {
    [("tls_ca_file", ca), ("tls_cert_file", cert), ("tls_key_file", key)]
}

/// Errs when it is not clear from `[section]` what the password is, or whose.
pub fn check_credentials(
    section: &str,
    username: &str,
    password: &Secret,
    password_file: &str,
) -> Result<(), BadValue> {
    let (here, file) = (!password.is_empty(), !password_file.is_empty());
    if here && file {
        let reason = format!("is set, and so is {section}.password: only one can hold");
        return Err(BadValue::new("password_file", reason));
    }
    if username.is_empty() && (here || file) {
        let key = if here { "password" } else { "password_file" };
        return Err(BadValue::new(key, format!("is set and {section}.username is not")));
    }
    Ok(())
}

/// Errs when there is a password file, and no password in it.
pub fn check_password_file(path: &str) -> Result<(), BadValue> {
    if path.is_empty() {
        return Ok(());
    }
    Secret::read("password_file", path).map(drop)
}
