//! The aggregates of an application, as one value that everything else is derived from.

use crate::aggregate::{Aggregate, DomainError, ErrorCode};
use crate::codec::{self, CodecError};
use crate::event::{DomainEvent, EventKind};
use std::collections::BTreeSet;

/// What has to be known of an aggregate type beside the type itself.
#[derive(Debug, Clone, Copy)]
pub struct AggregateType {
    /// Its stored name, for example `order`.
    pub name: &'static str,
    /// The topic that its events are published to.
    pub topic: &'static str,
    /// Its events.
    pub kinds: &'static [EventKind],
    /// The codes of its refusals.
    pub refusals: &'static [ErrorCode],
    check: fn() -> Result<(), RegistrationError>,
    samples: fn() -> Result<Vec<StoredSample>, CodecError>,
    read_again: fn(&str, u32, &str) -> Result<String, CodecError>,
}

/// A sample of an event in its stored form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSample {
    /// Its stored name and schema version.
    pub kind: EventKind,
    /// Its stored data.
    pub data: String,
}

impl AggregateType {
    /// What has to be known of `A`.
    #[must_use]
    pub const fn of<A: Aggregate>() -> Self {
        Self {
            name: A::TYPE,
            topic: A::TOPIC,
            kinds: A::Event::KINDS,
            refusals: A::Error::CODES,
            check: check::<A>,
            samples: samples::<A::Event>,
            read_again: read_again::<A::Event>,
        }
    }

    /// The samples of its events in their stored form.
    pub fn samples(&self) -> Result<Vec<StoredSample>, CodecError> {
        (self.samples)()
    }

    /// Reads a stored event and gives the form in which it would be stored now.
    pub fn read_again(
        &self,
        event_type: &str,
        schema_version: u32,
        data: &str,
    ) -> Result<String, CodecError> {
        (self.read_again)(event_type, schema_version, data)
    }
}

/// All aggregates of an application.
///
/// ```text
/// pub const AGGREGATES: Aggregates =
///     Aggregates::new(&[AggregateType::of::<Account>(), AggregateType::of::<Transfer>()]);
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Aggregates(&'static [AggregateType]);

impl Aggregates {
    /// These aggregates.
    #[must_use]
    pub const fn new(types: &'static [AggregateType]) -> Self {
        Self(types)
    }

    /// Each of them, in the order in which they were named.
    pub fn iter(&self) -> std::slice::Iter<'static, AggregateType> {
        self.0.iter()
    }

    /// The aggregate type of this stored name; `None` for one that this release does not know.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&'static AggregateType> {
        self.0.iter().find(|known| known.name == name)
    }

    /// The topic that the events of an aggregate type are published to.
    #[must_use]
    pub fn topic_of(&self, aggregate_type: &str) -> Option<&'static str> {
        self.get(aggregate_type).map(|known| known.topic)
    }

    /// All topics, one per aggregate type.
    #[must_use]
    pub fn topics(&self) -> Vec<&'static str> {
        self.0.iter().map(|known| known.topic).collect()
    }

    /// Errs with what is registered incompletely or twice. Every process asks at its start, and the
    /// application's own tests do: what it finds would otherwise show at the first command.
    pub fn check(&self) -> Result<(), RegistrationError> {
        let mut taken = BTreeSet::new();
        for known in self.0 {
            for (what, name) in [("type", known.name), ("topic", known.topic)] {
                if name.is_empty() || name.chars().any(|c| c.is_whitespace() || c.is_control()) {
                    return Err(RegistrationError::Name { what, name });
                }
                if !taken.insert((what, name)) {
                    return Err(RegistrationError::Twice { what, name });
                }
            }
            (known.check)()?;
        }
        Ok(())
    }
}

impl IntoIterator for Aggregates {
    type Item = &'static AggregateType;
    type IntoIter = std::slice::Iter<'static, AggregateType>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// What is wrong with the registration of an application.
#[derive(Debug, thiserror::Error)]
pub enum RegistrationError {
    /// A name that cannot be stored or used as a topic.
    #[error("{name:?} cannot be the {what} of an aggregate")]
    Name {
        /// What it should name.
        what: &'static str,
        /// The name.
        name: &'static str,
    },
    /// Two things share a name.
    #[error("{what} {name} is registered twice")]
    Twice {
        /// What it names.
        what: &'static str,
        /// The name.
        name: &'static str,
    },
    /// An event has no sample.
    #[error("aggregate {aggregate}: samples() has no {event}")]
    NoSample {
        /// The aggregate's type.
        aggregate: &'static str,
        /// The event's stored name.
        event: String,
    },
    /// An event is not listed.
    #[error("aggregate {aggregate}: KINDS does not list {event}")]
    NotListed {
        /// The aggregate's type.
        aggregate: &'static str,
        /// The event's stored name.
        event: String,
    },
    /// `KINDS` lists what is no event.
    #[error("aggregate {aggregate}: KINDS lists {event}, which is no variant of its events")]
    NoVariant {
        /// The aggregate's type.
        aggregate: &'static str,
        /// The listed name.
        event: String,
    },
    /// An event cannot be stored and read again.
    #[error("aggregate {aggregate}")]
    Codec {
        /// The aggregate's type.
        aggregate: &'static str,
        /// Why.
        #[source]
        source: CodecError,
    },
    /// An event that is stored and read again is another one.
    #[error("aggregate {aggregate}: {event} reads back as something else")]
    Changed {
        /// The aggregate's type.
        aggregate: &'static str,
        /// The event's stored name.
        event: &'static str,
    },
}

fn check<A: Aggregate>() -> Result<(), RegistrationError> {
    let aggregate = A::TYPE;
    let mut sampled = BTreeSet::new();
    for sample in A::Event::samples() {
        let kind = sample.kind();
        let failed = |source| RegistrationError::Codec { aggregate, source };
        let stored = codec::encode(&sample).map_err(failed)?;
        if !A::Event::KINDS.contains(&kind) {
            return Err(RegistrationError::NotListed { aggregate, event: kind.name.to_owned() });
        }
        let read: A::Event =
            codec::decode(kind.name, kind.schema_version, &stored).map_err(failed)?;
        if read != sample {
            return Err(RegistrationError::Changed { aggregate, event: kind.name });
        }
        sampled.insert(kind.name.to_owned());
    }
    let mut listed = BTreeSet::new();
    for kind in A::Event::KINDS {
        if !listed.insert(kind.name.to_owned()) {
            return Err(RegistrationError::Twice { what: "event", name: kind.name });
        }
    }
    let variants = variants::<A::Event>();
    let first = |a: &BTreeSet<String>, b: &BTreeSet<String>| a.difference(b).next().cloned();
    if let Some(event) = first(&variants, &listed) {
        return Err(RegistrationError::NotListed { aggregate, event });
    }
    if let Some(event) = first(&listed, &variants) {
        return Err(RegistrationError::NoVariant { aggregate, event });
    }
    match first(&listed, &sampled) {
        Some(event) => Err(RegistrationError::NoSample { aggregate, event }),
        None => Ok(()),
    }
}

/// The stored names that serde knows, as it lists them when it meets one that it does not know.
/// This list cannot forget a variant, as one written by hand can.
fn variants<E: DomainEvent>() -> BTreeSet<String> {
    let Err(CodecError::Decode { source, .. }) = codec::decode::<E>("?", 1, "{}") else {
        return BTreeSet::new();
    };
    let text = source.to_string();
    let list = text.split_once("expected").map_or("", |(_, list)| list);
    list.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn samples<E: DomainEvent>() -> Result<Vec<StoredSample>, CodecError> {
    let stored = |event: &E| Ok(StoredSample { kind: event.kind(), data: codec::encode(event)? });
    E::samples().iter().map(stored).collect()
}

fn read_again<E: DomainEvent>(
    event_type: &str,
    schema_version: u32,
    data: &str,
) -> Result<String, CodecError> {
    codec::encode(&codec::decode::<E>(event_type, schema_version, data)?)
}

#[cfg(test)]
mod tests;
