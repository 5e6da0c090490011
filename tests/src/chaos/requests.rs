//! Chooses the next command for an aggregate.

use super::board::Known;
use crate::history::{Command, Kind};
use dev_stack::demo::{create_order, items};
use rand::Rng;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use uuid::Uuid;

/// A command, and the stage that an order is in after it.
pub(super) struct Request {
    pub(super) command: Command,
    pub(super) stage: u8,
}

/// Ids of a run come from its seed.
pub(super) fn id(random: &mut StdRng) -> Uuid {
    uuid::Builder::from_random_bytes(random.random()).into_uuid()
}

/// The first command of an aggregate.
pub(super) fn create(known: &Known, random: &mut StdRng) -> Request {
    let body = match known.kind {
        Kind::Order => {
            let mut body = create_order(id(random), items(quantity(random)));
            body["order_id"] = json!(known.id);
            body
        }
        Kind::Customer => json!({
            "customer_id": known.id,
            "name": word(random),
            "email": format!("{}@example.org", word(random)),
        }),
    };
    request(known, random, "POST", None, body, 0)
}

/// A further one, which mostly fits.
pub(super) fn next(known: &Known, is_hot: bool, random: &mut StdRng) -> Request {
    match known.kind {
        Kind::Order if is_hot => change_items(known, random),
        Kind::Order => of_order(known, random),
        Kind::Customer => of_customer(known, random),
    }
}

fn of_order(known: &Known, random: &mut StdRng) -> Request {
    match (known.stage, random.random_range(0..10)) {
        (0, 0..=5) => change_items(known, random),
        (0, 6..=8) => request(known, random, "POST", Some("confirm"), json!({}), 1),
        (1, 0..=7) => {
            let body = json!({"carrier": word(random), "tracking_number": word(random)});
            request(known, random, "POST", Some("ship"), body, 2)
        }
        (2, _) => {
            let body = json!({"signature": word(random)});
            request(known, random, "POST", Some("deliver"), body, 3)
        }
        _ => {
            let body = json!({"reason": word(random)});
            request(known, random, "POST", Some("cancel"), body, 3)
        }
    }
}

/// Changes an order's items.
pub(super) fn change_items(known: &Known, random: &mut StdRng) -> Request {
    let body = json!({"items": items(quantity(random))});
    request(known, random, "PUT", Some("items"), body, 0)
}

fn of_customer(known: &Known, random: &mut StdRng) -> Request {
    match random.random_range(0..20) {
        0..=8 => {
            let body = json!({"name": word(random), "phone": "+49 30 123"});
            request(known, random, "PUT", Some("profile"), body, 0)
        }
        9..=16 => {
            let body = json!({"email": format!("{}@example.org", word(random))});
            request(known, random, "PUT", Some("email"), body, 0)
        }
        17 => {
            let body = json!({"street": word(random), "city": word(random), "country": "DE"});
            request(known, random, "POST", Some("addresses"), body, 0)
        }
        18 => {
            let body = json!({"reason": word(random)});
            request(known, random, "POST", Some("suspend"), body, 0)
        }
        _ => request(known, random, "POST", Some("reactivate"), json!({}), 0),
    }
}

fn request(
    known: &Known,
    random: &mut StdRng,
    method: &str,
    what: Option<&str>,
    body: Value,
    stage: u8,
) -> Request {
    let kind = known.kind;
    let path = match what {
        None => format!("/v1/{}", kind.path()),
        Some(what) => format!("/v1/{}/{}/{what}", kind.path(), known.id),
    };
    let expected =
        (what.is_some() && known.version > 0 && random.random_bool(0.1)).then_some(known.version);
    let command = Command {
        kind,
        aggregate_id: known.id,
        key: id(random).to_string(),
        correlation_id: id(random),
        method: method.to_owned(),
        path,
        body,
        expected,
    };
    Request { command, stage }
}

fn quantity(random: &mut StdRng) -> u32 {
    random.random_range(1..1_000_000)
}

fn word(random: &mut StdRng) -> String {
    let word = id(random).simple().to_string();
    format!("w{}", &word[..12])
}
