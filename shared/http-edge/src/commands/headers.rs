//! The headers of a command.

use crate::{Problem, codes};
use axum::http::{HeaderMap, HeaderName, header};
use kernel::Version;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The longest idempotency key, in bytes.
const KEY_BYTES_MAX: usize = 255;

/// What the headers of a command say.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CommandHeaders {
    /// What tells this command from every other one of its client.
    pub(super) idempotency_key: String,
    /// The version that the client decided upon.
    pub(super) expected_version: Option<Version>,
}

impl CommandHeaders {
    /// Reads and checks them.
    pub(super) fn read(headers: &HeaderMap) -> Result<Self, Problem> {
        Ok(Self {
            idempotency_key: idempotency_key(headers)?,
            expected_version: expected_version(headers)?,
        })
    }
}

fn idempotency_key(headers: &HeaderMap) -> Result<String, Problem> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else {
        return Err(codes::MISSING_IDEMPOTENCY_KEY.problem(
            "every command needs an Idempotency-Key, by which sending it again has no second effect",
        ));
    };
    match key(value.as_bytes()) {
        Some(key) if values.next().is_none() => Ok(key.to_owned()),
        _ => Err(invalid_key()),
    }
}

/// A key of the permitted form.
pub(super) fn key(bytes: &[u8]) -> Option<&str> {
    let fits = (1..=KEY_BYTES_MAX).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic);
    std::str::from_utf8(bytes).ok().filter(|_| fits)
}

/// 400: not such a key.
pub(super) fn invalid_key() -> Problem {
    codes::INVALID_IDEMPOTENCY_KEY.problem(format!(
        "the Idempotency-Key must be one value of 1 to {KEY_BYTES_MAX} visible ASCII"
    ))
}

fn expected_version(headers: &HeaderMap) -> Result<Option<Version>, Problem> {
    let mut values = headers.get_all(header::IF_MATCH).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let version = value.to_str().ok().and_then(entity_tag);
    match version {
        Some(version) if values.next().is_none() => Ok(Some(version)),
        _ => Err(codes::MALFORMED_IF_MATCH
            .problem("If-Match must be one version in quotes, as the ETag of an answer has it")),
    }
}

/// A version as an ETag has it: `"7"`.
fn entity_tag(value: &str) -> Option<Version> {
    let digits = value.strip_prefix('"')?.strip_suffix('"')?;
    let canonical = digits.bytes().all(|byte| byte.is_ascii_digit())
        && (digits == "0" || !digits.starts_with('0'));
    // The column is a signed 64-bit number.
    let version = digits.parse::<u64>().ok().filter(|&version| i64::try_from(version).is_ok())?;
    canonical.then_some(Version(version))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &[u8])]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.to_vec().try_into().expect("a header value"));
        }
        headers
    }

    #[track_caller]
    fn refused(pairs: &[(&'static str, &[u8])], code: &str) {
        let problem = CommandHeaders::read(&headers(pairs)).expect_err("must be refused");
        assert_eq!((problem.status().as_u16(), problem.code()), (400, code), "{pairs:?}");
    }

    #[test]
    fn a_key_is_one_value_of_visible_ascii() {
        let longest = [b'k'; 255];
        for key in [&b"k"[..], b"\"quoted\"", b"!~", &longest] {
            let read = CommandHeaders::read(&headers(&[("idempotency-key", key)])).expect("a key");
            assert_eq!(read.idempotency_key.as_bytes(), key);
        }
        refused(&[], "missing_idempotency_key");
        let code = "invalid_idempotency_key";
        for key in [&b""[..], b"a b", b"a\tb", "schlüssel".as_bytes(), b"\xff", &[b'k'; 256]] {
            refused(&[("idempotency-key", key)], code);
        }
        refused(&[("idempotency-key", b"a"), ("idempotency-key", b"a")], code);
    }

    #[test]
    fn an_expected_version_is_an_entity_tag() {
        for (tag, version) in [("\"0\"", 0), ("\"12\"", 12), ("\"9223372036854775807\"", i64::MAX)]
        {
            let pairs = [("idempotency-key", &b"k"[..]), ("if-match", tag.as_bytes())];
            let read = CommandHeaders::read(&headers(&pairs)).expect("a version");
            assert_eq!(read.expected_version.map(|v| v.0), u64::try_from(version).ok());
        }
        let key = ("idempotency-key", &b"k"[..]);
        for tag in [
            "",
            "*",
            "1",
            "\"",
            "\"\"",
            "\"1",
            "\"-1\"",
            "\"+1\"",
            "\"01\"",
            "\" 1\"",
            "W/\"1\"",
            "\"1\", \"2\"",
            "\"1.0\"",
            "\"9223372036854775808\"",
            "\"99999999999999999999\"",
        ] {
            refused(&[key, ("if-match", tag.as_bytes())], "malformed_if_match");
        }
        refused(&[key, ("if-match", b"\"1\""), ("if-match", b"\"1\"")], "malformed_if_match");
    }
}
