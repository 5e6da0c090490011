//! What an order consists of, and what it costs.

use super::{Text, ValueError};

/// The most items that one order may have.
pub const ITEMS_MAX: usize = 200;

/// The largest quantity of one item.
pub const QUANTITY_MAX: i64 = i32::MAX as i64;

/// The largest amount, for a unit price as for a total, in minor units: 2^53 - 1, so that every
/// reader of JSON reads it exactly.
pub const AMOUNT_MINOR_MAX: i64 = (1 << 53) - 1;

/// How many of one product; at least 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quantity(u32);

impl Quantity {
    /// Checks a quantity.
    pub fn new(quantity: i64) -> Result<Self, ValueError> {
        let in_range = (1..=QUANTITY_MAX).contains(&quantity);
        let value = u32::try_from(quantity).ok().filter(|_| in_range);
        value.map(Self).ok_or(ValueError::Quantity(quantity))
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0
    }
}

/// An amount of money in minor units of the order's currency; zero for what is given away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Amount(i64);

impl Amount {
    /// Checks an amount.
    pub fn from_minor(minor: i64) -> Result<Self, ValueError> {
        if (0..=AMOUNT_MINOR_MAX).contains(&minor) {
            Ok(Self(minor))
        } else {
            Err(ValueError::Amount(minor))
        }
    }

    /// In minor units.
    #[must_use]
    pub fn minor(self) -> i64 {
        self.0
    }
}

/// One position of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// What is ordered, by the shop's own id of it.
    pub product_id: Text<64>,
    /// How many.
    pub quantity: Quantity,
    /// What one of them costs.
    pub unit_price: Amount,
}

/// The positions of one order: at least one, not too many, with a total that is an [`Amount`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Items {
    items: Vec<Item>,
    total: Amount,
}

impl Items {
    /// Checks the positions as a whole.
    pub fn new(items: Vec<Item>) -> Result<Self, ValueError> {
        if items.is_empty() {
            return Err(ValueError::NoItems);
        }
        if items.len() > ITEMS_MAX {
            return Err(ValueError::TooManyItems(items.len()));
        }
        let total = items.iter().try_fold(0_i64, |total, item| {
            let price = item.unit_price.minor().checked_mul(i64::from(item.quantity.get()))?;
            total.checked_add(price)
        });
        let total = total.and_then(|minor| Amount::from_minor(minor).ok());
        Ok(Self { items, total: total.ok_or(ValueError::TotalTooLarge)? })
    }

    /// The positions in the order in which they were given.
    #[must_use]
    pub fn as_slice(&self) -> &[Item] {
        &self.items
    }

    /// What they cost together.
    #[must_use]
    pub fn total(&self) -> Amount {
        self.total
    }
}
