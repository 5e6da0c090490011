//! Values that keep a rule: whoever holds one need not check it again.
//!
//! Commands are made of these. Events are not: an event is a fact, written in plain fields, and a
//! rule that becomes stricter later must not make old facts unreadable.

mod currency;
mod email;
mod items;
mod text;

pub use currency::Currency;
pub use email::{EMAIL_CHARS_MAX, Email};
pub use items::{AMOUNT_MINOR_MAX, Amount, ITEMS_MAX, Item, Items, QUANTITY_MAX, Quantity};
pub use text::{Country, PHONE_CHARS_MAX, Phone, Text};

/// Why a value is refused, whatever the state of an aggregate is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// Nothing but white space.
    #[error("must not be blank")]
    Blank,
    /// Too many characters.
    #[error("must have at most {max} characters, has {found}")]
    TooLong {
        /// Characters allowed.
        max: usize,
        /// Characters found.
        found: usize,
    },
    /// White space at the beginning or the end.
    #[error("must not begin or end with white space")]
    Padded,
    /// A control character or one that overrides the direction of writing.
    #[error("must not contain the character U+{:04X}", u32::from(*.0))]
    ForbiddenCharacter(char),
    /// Not a quantity that can be ordered.
    #[error("must be between 1 and {QUANTITY_MAX}, is {0}")]
    Quantity(i64),
    /// Not a price.
    #[error("must be between 0 and {AMOUNT_MINOR_MAX} minor units, is {0}")]
    Amount(i64),
    /// Not the code of a currency in use.
    #[error("must be an ISO 4217 currency code in upper case, for example EUR")]
    Currency,
    /// An order without items.
    #[error("must have at least one item")]
    NoItems,
    /// An order with too many items.
    #[error("must have at most {ITEMS_MAX} items, has {0}")]
    TooManyItems(usize),
    /// A total beyond what an amount may be.
    #[error("the items must cost at most {AMOUNT_MINOR_MAX} minor units together")]
    TotalTooLarge,
    /// Not an e-mail address.
    #[error(
        "must be an e-mail address like name@example.com, of at most {EMAIL_CHARS_MAX} characters"
    )]
    Email,
    /// Not a phone number.
    #[error(
        "must be a phone number of at most {PHONE_CHARS_MAX} digits, spaces and + - . / ( ) with at least three digits"
    )]
    Phone,
    /// Not a country code.
    #[error("must be an ISO 3166-1 country code of two upper-case letters, for example DE")]
    Country,
}

kernel::error_codes! {
    ValueError {
        Blank: InvalidValue "blank_text",
        TooLong: InvalidValue "text_too_long",
        Padded: InvalidValue "padded_text",
        ForbiddenCharacter: InvalidValue "forbidden_character",
        Quantity: InvalidValue "quantity_out_of_range",
        Amount: InvalidValue "amount_out_of_range",
        Currency: InvalidValue "unknown_currency",
        NoItems: InvalidValue "no_items",
        TooManyItems: InvalidValue "too_many_items",
        TotalTooLarge: InvalidValue "total_too_large",
        Email: InvalidValue "malformed_email",
        Phone: InvalidValue "malformed_phone",
        Country: InvalidValue "malformed_country",
    }
}

#[cfg(test)]
mod tests;
