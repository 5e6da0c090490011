//! An event type that does not keep to the rules of the codec: its first command says what is wrong,
//! and nothing is stored.

use crate::command::CommandRequest;
use crate::error::{Effect, ExecuteError};
use crate::testing::{ID, Op, TallyError, rig};
use kernel::{Aggregate, Decision, DecisionContext, DomainEvent, EventKind};
use runtime::chain;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Counts; its event lacks `#[serde(tag = "type", content = "data")]`.
#[derive(Debug, Clone, Default)]
struct Untagged;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum UntaggedEvent {
    Counted { number: u64 },
}

impl DomainEvent for UntaggedEvent {
    const KINDS: &'static [EventKind] = &[EventKind::new("Counted", 1)];

    fn kind(&self) -> EventKind {
        Self::KINDS[0]
    }

    fn samples() -> Vec<Self> {
        vec![Self::Counted { number: 1 }]
    }
}

impl Aggregate for Untagged {
    const TYPE: &'static str = "untagged";
    const TOPIC: &'static str = "untagged.events";
    type Command = u64;
    type Event = UntaggedEvent;
    type Error = TallyError;

    fn decide(&self, number: u64, _: &DecisionContext) -> Decision<Self> {
        Ok(vec![UntaggedEvent::Counted { number }])
    }

    fn apply(&mut self, _: &UntaggedEvent) {}
}

#[tokio::test(start_paused = true)]
async fn an_event_without_a_stored_form_is_refused_with_the_reason() {
    let rig = rig().await;
    let request = CommandRequest::<Untagged> {
        name: "count",
        aggregate_id: ID,
        command_id: Uuid::from_u128(1),
        fingerprint: String::new(),
        command: 1,
        expected_version: None,
        causation_id: None,
        correlation_id: Uuid::from_u128(2),
        actor: None,
        trace_parent: None,
    };
    let error = rig.store.execute(request).await.expect_err("it has no stored form");
    assert!(matches!(error, ExecuteError::Unstorable { aggregate_id: ID, .. }), "{error:?}");
    assert_eq!(error.effect(), Effect::NotDone);
    let reason = chain(&error).to_string();
    assert!(reason.contains(r#"needs #[serde(tag = "type", content = "data")]"#), "{reason}");
    assert!(rig.fake.events(ID).is_empty());
    assert_eq!((rig.fake.count(Op::Intent), rig.fake.count(Op::Commit)), (0, 0));
}
