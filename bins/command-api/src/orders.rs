//! Commands to orders, as clients send them.
//!
//! ```text
//! POST /v1/orders               {"order_id"?, "customer_id", "currency", "items": [item, …]}
//! PUT  /v1/orders/{id}/items    {"items": [item, …]}
//! POST /v1/orders/{id}/confirm
//! POST /v1/orders/{id}/ship     {"carrier", "tracking_number"}
//! POST /v1/orders/{id}/deliver  {"signature"}
//! POST /v1/orders/{id}/cancel   {"reason"}
//! item: {"product_id", "quantity", "unit_price_minor"}
//! ```

use domain::value::{Amount, Currency, Item, Items, Quantity, Text};
use domain::{Order, OrderCommand};
use http_edge::bodies;
use http_edge::commands::{At, CommandBody, Commands, Id, InvalidValue, Object};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The commands to orders.
pub(crate) fn commands(order: Commands<Order>) -> Commands<Order> {
    order
        .create::<CreateOrder>()
        .put::<UpdateItems>("items")
        .post::<ConfirmOrder>("confirm")
        .post::<ShipOrder>("ship")
        .post::<DeliverOrder>("deliver")
        .post::<CancelOrder>("cancel")
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateOrder {
    order_id: Option<Id>,
    customer_id: Id,
    currency: String,
    items: Vec<Object<ItemBody>>,
}

/// Numbers are read wider than they may be: a quantity of 0 or of 2^31 is a number, but no quantity.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ItemBody {
    product_id: String,
    quantity: i64,
    unit_price_minor: i64,
}

fn items(bodies: Vec<Object<ItemBody>>) -> Result<Items, InvalidValue> {
    let item = |(place, Object(body)): (usize, Object<ItemBody>)| {
        let field = |name| format!("items[{place}].{name}");
        Ok(Item {
            product_id: Text::new(body.product_id).at(field("product_id"))?,
            quantity: Quantity::new(body.quantity).at(field("quantity"))?,
            unit_price: Amount::from_minor(body.unit_price_minor).at(field("unit_price_minor"))?,
        })
    };
    let items: Result<Vec<_>, InvalidValue> = bodies.into_iter().enumerate().map(item).collect();
    Items::new(items?).at("items")
}

impl CommandBody<Order> for CreateOrder {
    const NAME: &'static str = "create";

    fn named_id(&self) -> Option<Uuid> {
        self.order_id.map(|id| id.0)
    }

    fn into_command(self, _command_id: Uuid) -> Result<OrderCommand, InvalidValue> {
        Ok(OrderCommand::Create {
            customer_id: self.customer_id.0,
            currency: Currency::new(&self.currency).at("currency")?,
            items: items(self.items)?,
        })
    }
}

bodies! {
    for Order;
    UpdateItems = "update_items" { items: Vec<Object<ItemBody>> } =>
        OrderCommand::UpdateItems { items: self::items(items)? };
    ConfirmOrder = "confirm" {} => OrderCommand::Confirm;
    ShipOrder = "ship" { carrier: String, tracking_number: String } => OrderCommand::Ship {
        carrier: Text::new(carrier).at("carrier")?,
        tracking_number: Text::new(tracking_number).at("tracking_number")?,
    };
    DeliverOrder = "deliver" { signature: String } =>
        OrderCommand::Deliver { signature: Text::new(signature).at("signature")? };
    CancelOrder = "cancel" { reason: String } =>
        OrderCommand::Cancel { reason: Text::new(reason).at("reason")? };
}
