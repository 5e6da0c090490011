//! Tests of the storage against real directories.

mod bit_rot;
mod commits;
mod crashes;
mod formats;
mod housekeeping;
mod merging;
mod reading;
