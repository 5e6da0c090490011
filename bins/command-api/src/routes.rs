//! Which commands are there: one line per aggregate.

use crate::{customers, orders};
use http_edge::commands::{CommandRoutes, Store};

/// The commands of the shop.
pub(crate) fn routes<S: Store>() -> CommandRoutes<S> {
    CommandRoutes::new()
        .aggregate("orders", orders::commands)
        .aggregate("customers", customers::commands)
}
