//! Does the steps of one aggregate in one consumer: effect, then cursor, from the event store where
//! the log brought nothing.

use super::{Done, Step};
use crate::consumer::{self, ChangeConsumer, ErrorClass};
use crate::error::{EventError, StoreError};
use crate::source::{CursorStore, EventSource};
use kernel::{RecordedEvent, Version};
use uuid::Uuid;

/// One aggregate in one consumer, and where its events and its cursor are.
pub(crate) struct Handling<'a> {
    pub(crate) consumer: &'a dyn ChangeConsumer,
    pub(crate) aggregate_id: Uuid,
    pub(crate) events: &'a dyn EventSource,
    pub(crate) cursors: &'a dyn CursorStore,
    /// Events read at once; where one of them cannot be read, they are read one at a time.
    pub(crate) batch: u32,
}

impl Handling<'_> {
    /// Does a step that needs no letter.
    pub(crate) async fn perform(&self, step: &Step) -> Result<Done, EventError> {
        let (id, name) = (self.aggregate_id, self.consumer.name());
        Ok(match step {
            Step::Load => Done::Loaded(self.cursors.read(id, name).await?),
            Step::Handle { change, view } if self.consumer.wants(&change.event.aggregate_type) => {
                let handled = consumer::handle(self.consumer, change, view.as_deref()).await?;
                Done::Handled(handled.map(Into::into))
            }
            Step::Handle { .. } => Done::Passed,
            Step::Flush(cursor) => {
                self.cursors.write(id, name, cursor).await?;
                Done::Flushed
            }
            Step::Heal { after, wanted, singly, .. } => {
                read(self.heal(*after, *wanted, self.limit(*singly)).await, *singly)?
            }
            Step::Tail { after, singly } => {
                read(self.events.after(id, *after, self.limit(*singly)).await, *singly)?
            }
            Step::Block(_) | Step::Ask | Step::Finish(_) | Step::End => {
                unreachable!("{step:?} is not a step for an event")
            }
        })
    }

    fn limit(&self, singly: bool) -> u32 {
        if singly { 1 } else { self.batch }
    }

    async fn heal(
        &self,
        after: Version,
        wanted: Version,
        limit: u32,
    ) -> Result<Vec<RecordedEvent>, StoreError> {
        let id = self.aggregate_id;
        let events = self.events.after(id, after, limit).await?;
        let is_full = events.len() >= usize::try_from(limit).unwrap_or(usize::MAX);
        match contiguous_until(after, &events) {
            Some(reached) if reached >= wanted || is_full => Ok(events),
            _ => {
                let versions: Vec<u64> = events.iter().map(|event| event.version.0).collect();
                Err(StoreError::missing(format!(
                    "heal aggregate {id} after version {after}: version {wanted} is announced, \
                     the event store answered {versions:?}"
                )))
            }
        }
    }
}

/// One of several events that cannot be read is found by reading them one at a time.
fn read(events: Result<Vec<RecordedEvent>, StoreError>, singly: bool) -> Result<Done, StoreError> {
    match events {
        Err(error) if error.class == ErrorClass::Poison && !singly => Ok(Done::Unreadable),
        events => events.map(Done::Read),
    }
}

/// The last of the versions after `after`; `None` when there is a hole among them.
fn contiguous_until(after: Version, events: &[RecordedEvent]) -> Option<Version> {
    events
        .iter()
        .try_fold(after, |before, event| (event.version == before.next()).then_some(event.version))
}
