//! Values of CQL types: text forms, checks, order, tokens.
//!
//! A value is its CQL-serialised bytes from socket to disk and back; nothing here turns it into an
//! enum of values. `impl CqlType` is spread over the files of this module:
//!
//! | file | subject |
//! | --- | --- |
//! | `name` | type names: `parse`, `Display` |
//! | `validate` | is this a value of the type; `normalize` sorts sets and maps |
//! | `compare` | the order that ScyllaDB gives values of a type |
//! | `literal` | constants and collections of constants to bytes |
//! | `text` | bytes to text and JSON |
//! | `collection` | the layout of lists, sets, maps and tuples |
//! | `datetime`, `duration`, `number` | dates and times, durations, decimals and varints |

pub mod collection;
mod compare;
mod datetime;
pub mod duration;
mod literal;
pub mod murmur3;
mod name;
mod number;
pub mod ordered;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
mod text;
pub mod timeuuid;
mod validate;

pub use literal::Resolve;
