//! An order, from creation to delivery or cancellation.
//!
//! ```text
//! created ──► confirmed ──► shipped ──► delivered
//!    └────────────┴──► cancelled
//! ```
//!
//! Items change only while the order is created; nothing is cancelled once it is on its way.

mod command;
mod event;
mod samples;

pub use command::OrderCommand;
pub use event::{OrderEvent, OrderItem};

use crate::value::Items;
use kernel::{Aggregate, Decision, DecisionContext};

statuses! {
    /// Where an order stands.
    OrderStatus {
        /// Its items may still change.
        Created = "created",
        /// Settled, not yet sent.
        Confirmed = "confirmed",
        /// On its way.
        Shipped = "shipped",
        /// Arrived. Final.
        Delivered = "delivered",
        /// Called off before it was sent. Final.
        Cancelled = "cancelled",
    }
}

/// An order. `Default` is the state before the first event: no such order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Order(Option<Existing>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Existing {
    items: Vec<OrderItem>,
    stage: Stage,
}

/// The status with what led to it, by which a repeated command recognises its own effect.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Stage {
    Created,
    Confirmed,
    Shipped { carrier: String, tracking_number: String },
    Delivered { signature: String },
    Cancelled { reason: String },
}

impl Stage {
    fn status(&self) -> OrderStatus {
        match self {
            Self::Created => OrderStatus::Created,
            Self::Confirmed => OrderStatus::Confirmed,
            Self::Shipped { .. } => OrderStatus::Shipped,
            Self::Delivered { .. } => OrderStatus::Delivered,
            Self::Cancelled { .. } => OrderStatus::Cancelled,
        }
    }
}

/// Why a command to an order is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// There is no such order.
    #[error("there is no such order")]
    NotFound,
    /// There is an order of this id.
    #[error("an order of this id exists already")]
    AlreadyExists,
    /// Items change only while the order is created.
    #[error("the items of an order change only before it is confirmed; it is {status}")]
    ItemsFixed {
        /// Where it stands.
        status: OrderStatus,
    },
    /// Only a created order is confirmed.
    #[error("only a created order can be confirmed; it is {status}")]
    NotConfirmable {
        /// Where it stands.
        status: OrderStatus,
    },
    /// Only a confirmed order is shipped.
    #[error("only a confirmed order can be shipped; it is {status}")]
    NotShippable {
        /// Where it stands.
        status: OrderStatus,
    },
    /// Only a shipped order is delivered.
    #[error("only a shipped order can be delivered; it is {status}")]
    NotDeliverable {
        /// Where it stands.
        status: OrderStatus,
    },
    /// An order on its way is not cancelled any more.
    #[error("an order can be cancelled only before it is shipped; it is {status}")]
    NotCancellable {
        /// Where it stands.
        status: OrderStatus,
    },
    /// Shipped, delivered or cancelled before, with other data.
    #[error("the order is {status} already, with other data")]
    DoneDifferently {
        /// Where it stands.
        status: OrderStatus,
    },
}

kernel::error_codes! {
    OrderError {
        NotFound: NotFound "order_not_found",
        AlreadyExists: WrongState "order_already_exists",
        ItemsFixed: WrongState "order_items_fixed",
        NotConfirmable: WrongState "order_not_confirmable",
        NotShippable: WrongState "order_not_shippable",
        NotDeliverable: WrongState "order_not_deliverable",
        NotCancellable: WrongState "order_not_cancellable",
        DoneDifferently: WrongState "order_done_differently",
    }
}

impl Aggregate for Order {
    const TYPE: &'static str = "order";
    const TOPIC: &'static str = "orders.events";
    type Command = OrderCommand;
    type Event = OrderEvent;
    type Error = OrderError;

    fn decide(&self, command: OrderCommand, ctx: &DecisionContext) -> Decision<Self> {
        match (&self.0, command) {
            (None, OrderCommand::Create { customer_id, currency, items }) => {
                Ok(vec![OrderEvent::Created {
                    customer_id,
                    currency: currency.code().to_owned(),
                    items: event::stored(&items),
                    total_minor: items.total().minor(),
                    created_at: ctx.now,
                }])
            }
            (Some(_), OrderCommand::Create { .. }) => Err(OrderError::AlreadyExists),
            (None, _) => Err(OrderError::NotFound),
            (Some(order), OrderCommand::UpdateItems { items }) => order.update_items(&items, ctx),
            (Some(order), OrderCommand::Confirm) => order.confirm(ctx),
            (Some(order), OrderCommand::Ship { carrier, tracking_number }) => {
                order.ship(carrier.into_string(), tracking_number.into_string(), ctx)
            }
            (Some(order), OrderCommand::Deliver { signature }) => {
                order.deliver(signature.into_string(), ctx)
            }
            (Some(order), OrderCommand::Cancel { reason }) => {
                order.cancel(reason.into_string(), ctx)
            }
        }
    }

    fn apply(&mut self, event: &OrderEvent) {
        match (event, &mut self.0) {
            (OrderEvent::Created { items, .. }, order) => {
                *order = Some(Existing { items: items.clone(), stage: Stage::Created });
            }
            (_, None) => {}
            (OrderEvent::ItemsUpdated { items, .. }, Some(order)) => order.items.clone_from(items),
            (OrderEvent::Confirmed { .. }, Some(order)) => order.stage = Stage::Confirmed,
            (OrderEvent::Shipped { carrier, tracking_number, .. }, Some(order)) => {
                order.stage = Stage::Shipped {
                    carrier: carrier.clone(),
                    tracking_number: tracking_number.clone(),
                };
            }
            (OrderEvent::Delivered { signature, .. }, Some(order)) => {
                order.stage = Stage::Delivered { signature: signature.clone() };
            }
            (OrderEvent::Cancelled { reason, .. }, Some(order)) => {
                order.stage = Stage::Cancelled { reason: reason.clone() };
            }
        }
    }
}

impl Order {
    /// Where it stands, or `None` when there is no such order.
    #[must_use]
    pub fn status(&self) -> Option<OrderStatus> {
        self.0.as_ref().map(|order| order.stage.status())
    }
}

impl Existing {
    fn update_items(&self, items: &Items, ctx: &DecisionContext) -> Decision<Order> {
        if self.stage != Stage::Created {
            return Err(OrderError::ItemsFixed { status: self.stage.status() });
        }
        let total_minor = items.total().minor();
        let items = event::stored(items);
        if self.items == items {
            return Ok(Vec::new());
        }
        Ok(vec![OrderEvent::ItemsUpdated { items, total_minor, updated_at: ctx.now }])
    }

    fn confirm(&self, ctx: &DecisionContext) -> Decision<Order> {
        match &self.stage {
            Stage::Created => Ok(vec![OrderEvent::Confirmed { confirmed_at: ctx.now }]),
            Stage::Confirmed => Ok(Vec::new()),
            other => Err(OrderError::NotConfirmable { status: other.status() }),
        }
    }

    fn ship(&self, carrier: String, number: String, ctx: &DecisionContext) -> Decision<Order> {
        match &self.stage {
            Stage::Confirmed => Ok(vec![OrderEvent::Shipped {
                carrier,
                tracking_number: number,
                shipped_at: ctx.now,
            }]),
            Stage::Shipped { carrier: by, tracking_number } => {
                self.nothing_new(*by == carrier && *tracking_number == number)
            }
            other => Err(OrderError::NotShippable { status: other.status() }),
        }
    }

    fn deliver(&self, signature: String, ctx: &DecisionContext) -> Decision<Order> {
        match &self.stage {
            Stage::Shipped { .. } => {
                Ok(vec![OrderEvent::Delivered { signature, delivered_at: ctx.now }])
            }
            Stage::Delivered { signature: before } => self.nothing_new(*before == signature),
            other => Err(OrderError::NotDeliverable { status: other.status() }),
        }
    }

    fn cancel(&self, reason: String, ctx: &DecisionContext) -> Decision<Order> {
        match &self.stage {
            Stage::Created | Stage::Confirmed => {
                Ok(vec![OrderEvent::Cancelled { reason, cancelled_at: ctx.now }])
            }
            Stage::Cancelled { reason: before } => self.nothing_new(*before == reason),
            other => Err(OrderError::NotCancellable { status: other.status() }),
        }
    }

    /// What a command yields that finds the order where it wanted to bring it.
    fn nothing_new(&self, same_data: bool) -> Decision<Order> {
        if same_data {
            Ok(Vec::new())
        } else {
            Err(OrderError::DoneDifferently { status: self.stage.status() })
        }
    }
}

#[cfg(test)]
mod tests;
