//! What a consumer of events is, and what it is promised.

use async_trait::async_trait;
use futures::FutureExt;
use kernel::RecordedEvent;
use runtime::test_hooks::{Poison, poison};
use runtime::traces::{self, Consumed};
pub(crate) use runtime::{ErrorClass, Target};
use std::any::Any;
use std::panic::AssertUnwindSafe;
use tracing::{Instrument, debug};

/// One announced event, as a consumer gets it.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// The event, its data still JSON text.
    pub event: RecordedEvent,
    /// The topic that the announcement named; `None` when the event was healed from the event
    /// store, which knows no topics.
    pub topic: Option<String>,
}

/// Handles events of one kind of consumer, for example one projection.
///
/// Promise: events of one aggregate come strictly one after the other, in order of version, none
/// left out; events of different aggregates come in parallel. An event comes again when its
/// process died between effect and cursor, so an effect must be the same when done twice. After
/// `Ok` the cursor `(last version, view)` is written; the checkpoint follows later.
#[async_trait]
pub trait ChangeConsumer: Send + Sync + 'static {
    /// The stored name in `consumer_cursors`, for example `orders@1`.
    fn name(&self) -> &str;

    /// Whether events of this aggregate type concern the consumer. Others pass without a cursor.
    fn wants(&self, aggregate_type: &str) -> bool;

    /// What has to answer so that an event can be handled.
    fn target(&self) -> Target {
        database::TARGET
    }

    /// Applies one event. `view` is what the consumer remembered of this aggregate (`None` before
    /// its first event); the returned view replaces it.
    async fn handle(
        &self,
        change: &Change,
        view: Option<&str>,
    ) -> Result<Option<String>, HandleError>;
}

/// Why an event could not be handled.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct HandleError {
    /// What to do about it.
    pub class: ErrorClass,
    /// What was being done, to what.
    pub what: String,
    /// The cause.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// Hands an event to its consumer, unless a test wants it to fail. A panic is poison: the same event would bring it about again, and
/// only its aggregate is to wait for that.
pub(crate) async fn handle(
    consumer: &dyn ChangeConsumer,
    change: &Change,
    view: Option<&str>,
) -> Result<Option<String>, HandleError> {
    let event = &change.event;
    if let Some(wanted) = poison(consumer.name(), event.event_id.as_u128(), &event.event_type) {
        let class = match wanted {
            Poison::Refuse => ErrorClass::Poison,
            Poison::Unreachable => ErrorClass::Transport,
        };
        let what = "handle the event: it is poisoned by a test".to_owned();
        return Err(HandleError { class, what, source: None });
    }
    let consumed = Consumed {
        aggregate_id: event.aggregate_id,
        version: event.version.0,
        event_type: &event.event_type,
        correlation_id: event.metadata.correlation_id,
        trace_parent: event.metadata.trace_parent.as_deref(),
    };
    let span = traces::consume(consumer.name(), consumed);
    let handling = async {
        let handled = consumer.handle(change, view).await;
        debug!(
            consumer = consumer.name(),
            version = event.version.0,
            ok = handled.is_ok(),
            "handled"
        );
        handled
    };
    let handled = AssertUnwindSafe(handling.instrument(span)).catch_unwind().await;
    handled.unwrap_or_else(|payload| {
        let what = format!("handle the event: the consumer panicked: {}", text_of(&*payload));
        Err(HandleError { class: ErrorClass::Poison, what, source: None })
    })
}

fn text_of(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("without a message")
}
