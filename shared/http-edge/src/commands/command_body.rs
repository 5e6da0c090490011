//! What an application says of a command: its body, and how the body becomes the aggregate's command.

use super::body::check_kind;
use super::identity;
use super::json;
use crate::{Problem, codes};
use axum::http::HeaderMap;
use kernel::{Aggregate, DomainError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

/// What a client sends for one kind of command.
///
/// The type is read from JSON and written for the fingerprint, so it is to have `#[serde(deny_unknown_fields)]`; ids in
/// it are [`Id`](super::Id)s, objects in it [`Object`](super::Object)s.
pub trait CommandBody<A: Aggregate>: DeserializeOwned + Serialize + Send + 'static {
    /// The command's name, in metrics and fingerprints.
    const NAME: &'static str;
    /// Whether no body at all means an empty one.
    const MAY_BE_ABSENT: bool = false;

    /// The id that the client names for what it creates.
    fn named_id(&self) -> Option<Uuid> {
        None
    }

    /// Takes over an id of the path other than the aggregate's.
    fn take_path_id(&mut self, _id: Uuid) {}

    /// Checks the values. What the command makes besides the aggregate gets its id from
    /// [`id_of_new`](super::id_of_new), where the client names none.
    fn into_command(self, command_id: Uuid) -> Result<A::Command, InvalidValue>;
}

/// The commands of an aggregate.
pub type CommandOf<A> = <A as Aggregate>::Command;

/// A value that breaks a rule, and where it stands.
#[derive(Debug)]
pub struct InvalidValue {
    pub(super) field: String,
    pub(super) code: &'static str,
    pub(super) detail: String,
}

/// Says where a value stands that breaks a rule of the domain.
pub trait At<T> {
    /// `field` is a path as in `items[0].quantity`.
    fn at(self, field: impl Into<String>) -> Result<T, InvalidValue>;
}

impl<T, E: DomainError> At<T> for Result<T, E> {
    fn at(self, field: impl Into<String>) -> Result<T, InvalidValue> {
        self.map_err(|error| InvalidValue {
            field: field.into(),
            code: error.code(),
            detail: error.to_string(),
        })
    }
}

/// A body that was read, whatever its type.
pub(super) trait ReadBody<A: Aggregate>: Send {
    fn name(&self) -> &'static str;
    fn named_id(&self) -> Option<Uuid>;
    fn fingerprint(&self) -> String;
    fn into_command(self: Box<Self>, command_id: Uuid) -> Result<A::Command, InvalidValue>;
}

impl<A: Aggregate, B: CommandBody<A>> ReadBody<A> for B {
    fn name(&self) -> &'static str {
        B::NAME
    }

    fn named_id(&self) -> Option<Uuid> {
        CommandBody::named_id(self)
    }

    fn fingerprint(&self) -> String {
        identity::fingerprint(A::TYPE, B::NAME, self)
    }

    fn into_command(self: Box<Self>, command_id: Uuid) -> Result<A::Command, InvalidValue> {
        CommandBody::into_command(*self, command_id)
    }
}

/// Reads a body from its bytes and the ids of the path. `headers` are those of its request.
pub(super) type Read<A> = fn(&HeaderMap, &[u8], Vec<Uuid>) -> Result<Box<dyn ReadBody<A>>, Problem>;

/// See [`Read`].
pub(super) fn read<A: Aggregate, B: CommandBody<A>>(
    headers: &HeaderMap,
    bytes: &[u8],
    path_ids: Vec<Uuid>,
) -> Result<Box<dyn ReadBody<A>>, Problem> {
    let mut body: B = match bytes {
        [] if B::MAY_BE_ABSENT => json::parse(b"{}")?,
        [] => return Err(codes::MALFORMED_JSON.problem("the command needs a body")),
        bytes => {
            check_kind(headers)?;
            json::parse(bytes)?
        }
    };
    for id in path_ids {
        body.take_path_id(id);
    }
    Ok(Box::new(body))
}
