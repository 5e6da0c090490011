//! From a plan and values to an answer.
//!
//! | file | subject |
//! | --- | --- |
//! | `bindings`, `compare`, `functions` | values, comparisons and functions |
//! | `keys`, `slices` | which partitions and rows a `WHERE` clause means |
//! | `select`, `scan`, `paging`, `project`, `aggregates`, `row` | SELECT |
//! | `modify`, `lwt`, `later` | INSERT, UPDATE, DELETE, batches and lightweight transactions |

pub(crate) mod aggregates;
pub(crate) mod bindings;
pub(crate) mod compare;
pub(crate) mod functions;
pub(crate) mod keys;
pub(crate) mod later;
pub(crate) mod lwt;
pub(crate) mod modify;
pub(crate) mod paging;
pub(crate) mod project;
pub(crate) mod row;
mod scan;
pub(crate) mod select;
pub(crate) mod slices;
