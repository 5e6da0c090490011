//! Text that a person typed.

use super::ValueError;
use std::fmt;

/// The longest phone number, in characters.
pub const PHONE_CHARS_MAX: usize = 32;

/// Text of 1 to `MAX` characters, kept exactly as it was given: not blank, no white space at
/// either end, no control characters, none that override the direction of writing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text<const MAX: usize>(String);

impl<const MAX: usize> Text<MAX> {
    /// Checks a text.
    pub fn new(text: impl Into<String>) -> Result<Self, ValueError> {
        let text = text.into();
        if text.trim().is_empty() {
            return Err(ValueError::Blank);
        }
        if let Some(character) = text.chars().find(|&c| c.is_control() || overrides_direction(c)) {
            return Err(ValueError::ForbiddenCharacter(character));
        }
        if text.trim().len() != text.len() {
            return Err(ValueError::Padded);
        }
        let found = text.chars().count();
        if found > MAX {
            return Err(ValueError::TooLong { max: MAX, found });
        }
        Ok(Self(text))
    }

    /// The text itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text itself.
    #[must_use]
    pub fn into_string(self) -> String {
        self.0
    }
}

impl<const MAX: usize> fmt::Display for Text<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Embeddings, overrides and isolates: they let a text look like another one.
fn overrides_direction(character: char) -> bool {
    matches!(character, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

/// A phone number, kept as it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Phone(String);

impl Phone {
    /// Checks a phone number.
    pub fn new(text: impl Into<String>) -> Result<Self, ValueError> {
        let text = text.into();
        let allowed = |c: char| c.is_ascii_digit() || " +-./()".contains(c);
        let digits = text.chars().filter(char::is_ascii_digit).count();
        if digits < 3
            || text.len() > PHONE_CHARS_MAX
            || text.trim().len() != text.len()
            || !text.chars().all(allowed)
        {
            return Err(ValueError::Phone);
        }
        Ok(Self(text))
    }

    /// The number itself.
    #[must_use]
    pub fn into_string(self) -> String {
        self.0
    }
}

/// A country by its ISO 3166-1 alpha-2 code. Only the form is checked: which countries exist
/// changes, and where goods may be sent is not decided here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Country(String);

impl Country {
    /// Checks a country code.
    pub fn new(code: impl Into<String>) -> Result<Self, ValueError> {
        let code = code.into();
        if code.len() == 2 && code.bytes().all(|byte| byte.is_ascii_uppercase()) {
            Ok(Self(code))
        } else {
            Err(ValueError::Country)
        }
    }

    /// The code itself.
    #[must_use]
    pub fn into_string(self) -> String {
        self.0
    }
}
