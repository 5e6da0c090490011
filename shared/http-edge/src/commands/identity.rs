//! Names commands: the same request has the same command id and fingerprint wherever and whenever
//! it arrives, so these forms must never change.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::fmt::Write;
use uuid::Uuid;

use http_server::context::parse_id;

/// The namespace of command ids.
const COMMANDS: Uuid = Uuid::from_u128(0x7c1b_9a52_6c0f_4d0e_9b7e_3f0a_51d2_c8e4);

/// An id in a body: a UUID in its usual form of 36 characters and no other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Id(pub Uuid);

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_id(&text).map(Self).ok_or_else(|| {
            let unexpected = serde::de::Unexpected::Str(&text);
            serde::de::Error::invalid_value(unexpected, &"a UUID of 36 characters")
        })
    }
}

/// The id of a command: it derives from its aggregate, where the client names one, and the client's key.
pub(super) fn command_id(aggregate_type: &str, aggregate_id: Option<Uuid>, key: &str) -> Uuid {
    let id = aggregate_id.map(|id| id.to_string()).unwrap_or_default();
    // Neither a type nor a key has a line break in it, so no two triples give the same text.
    Uuid::new_v5(&COMMANDS, format!("{aggregate_type}\n{id}\n{key}").as_bytes())
}

/// The id of what a command makes, when the client names none.
#[must_use]
pub fn id_of_new(what: &str, command_id: Uuid) -> Uuid {
    Uuid::new_v5(&command_id, what.as_bytes())
}

/// SHA-256 over the command's name and its canonical JSON, in lower-case hex.
pub(super) fn fingerprint<T: Serialize>(aggregate_type: &str, name: &str, asked: &T) -> String {
    let value = serde_json::to_value(asked).expect("a body is plain data");
    let mut text = format!("{aggregate_type}.{name}\n");
    write_canonical(&value, &mut text);
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(text.as_bytes()) {
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

/// Members sorted by name, without spaces, and without those that are null: a field that a later
/// release adds leaves the fingerprints of requests without it as they were.
fn write_canonical(value: &Value, text: &mut String) {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> =
                members.iter().filter(|(_, value)| !value.is_null()).collect();
            members.sort_by_key(|(name, _)| *name);
            text.push('{');
            for (place, (name, value)) in members.into_iter().enumerate() {
                if place > 0 {
                    text.push(',');
                }
                let _ = write!(text, "{}:", Value::from(name.as_str()));
                write_canonical(value, text);
            }
            text.push('}');
        }
        Value::Array(values) => {
            text.push('[');
            for (place, value) in values.iter().enumerate() {
                if place > 0 {
                    text.push(',');
                }
                write_canonical(value, text);
            }
            text.push(']');
        }
        scalar => {
            let _ = write!(text, "{scalar}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const ID: Uuid = Uuid::from_u128(1);

    #[test]
    fn ids_and_fingerprints_are_what_they_always_were() {
        assert_eq!(
            command_id("order", None, "key").to_string(),
            "63e13ed5-f0c2-5c9b-8115-f68984e44a76"
        );
        assert_eq!(
            command_id("order", Some(ID), "key").to_string(),
            "4fce0377-010f-5808-ad70-3ea7517c2ee4"
        );
        assert_eq!(id_of_new("order", ID).to_string(), "ca7ada47-bf24-50dc-980c-9ac0aa5b3729");
        let body = json!({"b": [1, {"d": "x\"\n", "c": null}], "a": true});
        assert_eq!(
            fingerprint("order", "create", &body),
            "b3939620f3f96d61c6a5e2e29bff7cbc1119e2d10788072986c430820b1906c5"
        );
    }

    #[test]
    fn the_canonical_form_depends_on_the_content_only() {
        let mut text = String::new();
        write_canonical(&json!({"b": [1, {"d": "ü\"\n", "c": null}], "a": {}}), &mut text);
        assert_eq!(text, r#"{"a":{},"b":[1,{"d":"ü\"\n"}]}"#);
        let print = |name, value: Value| fingerprint("order", name, &value);
        assert_eq!(print("x", json!({"a": 1, "b": 2})), print("x", json!({"b": 2, "a": 1})));
        assert_ne!(print("x", json!({"a": [1, 2]})), print("x", json!({"a": [2, 1]})));
        assert_ne!(print("x", json!({"a": "1"})), print("x", json!({"a": 1})));
        assert_ne!(print("x", json!({})), print("y", json!({})));
    }

    #[test]
    fn a_key_is_told_apart_by_type_and_id() {
        let ids = [
            command_id("order", None, "key"),
            command_id("customer", None, "key"),
            command_id("order", Some(ID), "key"),
            command_id("order", Some(Uuid::from_u128(2)), "key"),
            command_id("order", None, "kez"),
        ];
        for (place, id) in ids.iter().enumerate() {
            assert!(!ids[..place].contains(id), "{place}");
        }
    }

    #[test]
    fn an_id_has_one_form() {
        let id = "01900000-0000-7000-8000-000000000001";
        assert_eq!(parse_id(id).map(|id| id.to_string()).as_deref(), Some(id));
        assert!(parse_id(&id.to_uppercase()).is_some());
        for text in [
            "",
            "01900000000070008000000000000001",
            "{01900000-0000-7000-8000-000000000001}",
            "urn:uuid:01900000-0000-7000-8000-000000000001",
            "01900000-0000-7000-8000-00000000000g",
            " 1900000-0000-7000-8000-000000000001",
        ] {
            assert_eq!(parse_id(text), None, "{text:?}");
        }
    }
}
