//! Who may come in, and how they prove it: SASL PLAIN against a file of `user:password` lines.
//!
//! The passwords are held as they are in the file, because this is a server for development and tests. They
//! are shown nowhere: not by `Debug`, not in an error, not in the log.

use crate::error::{CqlError, ErrorKind, Result};
use anyhow::{Context as _, ensure};
use std::collections::HashMap;
use std::fmt;
use std::hint::black_box;
use std::path::Path;

/// Users with their passwords.
pub(super) struct Passwords {
    by_user: HashMap<String, String>,
}

impl fmt::Debug for Passwords {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Passwords({} users)", self.by_user.len())
    }
}

impl Passwords {
    /// Reads a file. Empty lines and those that begin with `#` do not count; a password may hold
    /// colons, a user name may not.
    pub(super) fn read(file: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(file)?;
        let mut by_user = HashMap::new();
        for (index, line) in text.lines().enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let number = index + 1;
            let (user, password) = line
                .split_once(':')
                .with_context(|| format!("line {number} is not of the form user:password"))?;
            ensure!(!user.is_empty(), "line {number} names no user");
            ensure!(!password.is_empty(), "line {number} has no password");
            let earlier = by_user.insert(user.to_owned(), password.to_owned());
            ensure!(earlier.is_none(), "line {number} names a user again");
        }
        ensure!(!by_user.is_empty(), "there is no user in it");
        Ok(Self { by_user })
    }

    /// Judges a token, `authzid NUL user NUL password`, of which the first part is not looked at.
    pub(super) fn check(&self, token: &[u8]) -> Result<()> {
        let mut parts = token.rsplitn(3, |byte| *byte == 0);
        let (password, user, authzid) = (parts.next(), parts.next(), parts.next());
        let (Some(password), Some(user), Some(_)) = (password, user, authzid) else {
            return Err(refused("Authentication ID must not be null"));
        };
        if password.is_empty() {
            return Err(refused("Password must not be null"));
        }
        let stored = std::str::from_utf8(user).ok().and_then(|user| self.by_user.get(user));
        // A user that is not there costs a comparison too.
        let expected = stored.map_or(password, |stored| stored.as_bytes());
        if equal(password, expected) && stored.is_some() {
            Ok(())
        } else {
            Err(refused("Username and/or password are incorrect"))
        }
    }
}

fn refused(message: &str) -> CqlError {
    CqlError::new(ErrorKind::BadCredentials, message)
}

/// Looks at every byte, wherever the first difference is.
fn equal(one: &[u8], other: &[u8]) -> bool {
    let difference = one.iter().zip(other).fold(0, |found, (a, b)| black_box(found | (a ^ b)));
    one.len() == other.len() && difference == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> anyhow::Result<Passwords> {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), text).expect("written");
        Passwords::read(file.path())
    }

    #[test]
    fn a_token_is_judged_by_user_and_password() {
        let passwords = read("# people\n\nann:s3cret:with colon\nbob:other\n").expect("sound");
        for (token, expected) in [
            ("\0ann\0s3cret:with colon", None),
            ("ann\0bob\0other", None),
            ("\0ann\0other", Some("Username and/or password are incorrect")),
            ("\0ann\0s3cret:with colon ", Some("Username and/or password are incorrect")),
            ("\0eve\0s3cret:with colon", Some("Username and/or password are incorrect")),
            ("\0# people\0x", Some("Username and/or password are incorrect")),
            ("\0ann\0", Some("Password must not be null")),
            ("ann\0other", Some("Authentication ID must not be null")),
            ("", Some("Authentication ID must not be null")),
        ] {
            let judged = passwords.check(token.as_bytes()).map_err(|error| {
                assert_eq!(error.kind, ErrorKind::BadCredentials);
                error.message
            });
            assert_eq!(judged.err().as_deref(), expected, "{token:?}");
        }
    }

    #[test]
    fn a_bad_file_is_refused_by_its_line_and_shows_no_password() {
        for (text, expected) in [
            ("ann:canary\ncanary", "line 2 is not of the form user:password"),
            (":canary", "line 1 names no user"),
            ("ann:", "line 1 has no password"),
            ("ann:canary\nann:canary", "line 2 names a user again"),
            ("# canary", "there is no user in it"),
        ] {
            assert_eq!(read(text).expect_err("bad").to_string(), expected, "{text:?}");
        }
        let shown = format!("{:?}", read("ann:canary").expect("sound"));
        assert_eq!(shown, "Passwords(1 users)");
    }
}
