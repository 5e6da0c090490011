//! E-mail addresses.

use super::ValueError;

/// The longest e-mail address, in characters (RFC 5321 counts the path's 256 with its brackets).
pub const EMAIL_CHARS_MAX: usize = 254;

/// The longest part before the `@` (RFC 5321).
const LOCAL_BYTES_MAX: usize = 64;

/// The longest label of a domain name (RFC 1035).
const LABEL_BYTES_MAX: usize = 63;

/// An e-mail address, kept as it was given. Whether anybody reads it is not known here; the check
/// catches what cannot be one. Quoted local parts and address literals are refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Email(String);

impl Email {
    /// Checks an address.
    pub fn new(address: impl Into<String>) -> Result<Self, ValueError> {
        let address = address.into();
        let fits = address.chars().count() <= EMAIL_CHARS_MAX
            && address
                .split_once('@')
                .is_some_and(|(local, domain)| is_local_part(local) && is_domain(domain));
        if fits { Ok(Self(address)) } else { Err(ValueError::Email) }
    }

    /// The address itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The address itself.
    #[must_use]
    pub fn into_string(self) -> String {
        self.0
    }
}

fn is_local_part(local: &str) -> bool {
    let allowed =
        |c: char| c.is_ascii_alphanumeric() || is_letter_beyond_ascii(c) || ATOM_MARKS.contains(c);
    !local.is_empty()
        && local.len() <= LOCAL_BYTES_MAX
        && local.split('.').all(|atom| !atom.is_empty() && atom.chars().all(allowed))
}

/// What RFC 5322 allows in an atom besides letters and digits.
const ATOM_MARKS: &str = "!#$%&'*+-/=?^_`{|}~";

fn is_domain(domain: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty()
            && label.len() <= LABEL_BYTES_MAX
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '-' || is_letter_beyond_ascii(c))
    };
    domain.contains('.') && domain.split('.').all(is_label)
}

fn is_letter_beyond_ascii(character: char) -> bool {
    !character.is_ascii() && character.is_alphanumeric()
}
