//! The checker bites: a clean run is accepted, and each corruption of it is rejected by the promise
//! that it breaks.

use super::*;
use crate::chaos::{Poison, PoisonEffect, Poisoned};
use crate::dump::{Announced, Dump, LetterRow, Progress, SlotRow, StoredEvent, WriterRow};
use crate::history::{Command, Fault, History, Kind, Lookup, Place, Read, Reply, Reuse, Sending};
use kernel::{CommitPlace, EventMetadata};
use messaging::ReceivedMessage;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use uuid::Uuid;

const ORDER: Uuid = Uuid::from_u128(0x0a);
const CUSTOMER: Uuid = Uuid::from_u128(0x0b);
/// 2026-11-24T00:00:00Z
const AT_MS: i64 = 1_795_478_400_000;

/// A whole run, to be corrupted.
struct Run {
    history: History,
    dump: Dump,
    samples: Vec<Sample>,
    heal: Heal,
    disagreements: Vec<String>,
}

impl Run {
    /// Two aggregates, six commands one after the other; the third is of unknown outcome at first, the
    /// fourth is refused, the last is sent twice.
    fn clean() -> Self {
        let mut run = Self {
            history: History {
                seed: 1,
                memory_mib: [("command-api".to_owned(), 40.0)].into(),
                ..History::default()
            },
            dump: Dump::default(),
            samples: Vec::new(),
            heal: Heal {
                took: Duration::from_secs(3),
                limit: Duration::from_secs(60),
                missing: None,
            },
            disagreements: Vec::new(),
        };
        let created = json!({"customer_id": CUSTOMER, "currency": "EUR", "total_minor": 5,
            "items": [{"product_id": "tea", "quantity": 1, "unit_price_minor": 5}],
            "created_at": "2026-11-24T00:00:00.000Z"});
        let registered =
            json!({"name": "A", "email": "a@b.c", "registered_at": "2026-11-24T00:00:00.000Z"});
        let changed = json!({"items": [{"product_id": "tea", "quantity": 2, "unit_price_minor": 5}],
            "total_minor": 10, "updated_at": "2026-11-24T00:00:00.000Z"});
        run.accepted(Kind::Order, ORDER, None, "OrderCreated", created);
        run.accepted(Kind::Customer, CUSTOMER, None, "CustomerRegistered", registered);
        let unknown = run.accepted(Kind::Order, ORDER, Some(1), "OrderItemsUpdated", changed);
        let mut first = run.history.sendings[unknown].clone();
        first.completed_us = first.invoked_us + 10;
        first.reply = Reply::Info { why: "a broken connection".to_owned() };
        run.history.sendings.insert(unknown, first);
        let refused = run.command(Kind::Order, ORDER, Some(1));
        let stale = Reply::Fail { status: 412, code: "stale_version".to_owned(), version: Some(2) };
        run.sent(refused, stale);
        let confirmed = json!({"confirmed_at": "2026-11-24T00:00:00.000Z"});
        let twice = run.accepted(Kind::Order, ORDER, None, "OrderConfirmed", confirmed);
        let again = run.history.sendings[twice].clone();
        run.sent(again.command, again.reply);
        for place in [Place::Ledger, Place::ReadModel] {
            let read = Read {
                aggregate_id: ORDER,
                place,
                invoked_us: 10_000,
                completed_us: 10_100,
                version: 3,
            };
            run.history.reads.push(read);
        }
        run.history.lookups.push(Lookup { command: 2, done_at: Some(2) });
        let code = "idempotency_key_reused".to_owned();
        run.history.reuses.push(Reuse { command: 0, status: 422, code });
        run.history.faults.push(Fault {
            kind: "pause".to_owned(),
            target: "projection-worker".to_owned(),
            began_us: 0,
            ended_us: 10,
            fired: 1,
        });
        for (place, checkpoint_us) in [(0, 100), (1, 200)] {
            let slot = SlotRow {
                group: "relay".to_owned(),
                slot: 0,
                owner: Some(Uuid::from_u128(place + 1)),
                epoch: i64::try_from(place).unwrap(),
                revision: i64::try_from(place).unwrap(),
                checkpoint_us: Some(checkpoint_us),
            };
            let at_us = u64::try_from(place).unwrap();
            run.samples.push(Sample {
                at_us,
                slots: vec![slot],
                ahead: Some(Vec::new()),
                letters: Vec::new(),
            });
        }
        run.project();
        run
    }

    fn command(&mut self, kind: Kind, aggregate_id: Uuid, expected: Option<u64>) -> usize {
        let number = self.history.commands.len();
        self.history.commands.push(Command {
            kind,
            aggregate_id,
            key: format!("key-{number}"),
            correlation_id: Uuid::from_u128(number as u128 + 100),
            method: "POST".to_owned(),
            path: "/".to_owned(),
            body: Value::Null,
            expected,
        });
        number
    }

    /// A sending after all others.
    fn sent(&mut self, command: usize, reply: Reply) -> usize {
        let invoked_us = self.history.sendings.iter().map(|sending| sending.completed_us).max();
        let invoked_us = invoked_us.unwrap_or_default() + 10;
        let completed_us = invoked_us + 100;
        let sending = Sending { command, client: 1, replica: 0, invoked_us, completed_us, reply };
        self.history.sendings.push(sending);
        self.history.sendings.len() - 1
    }

    /// An accepted command with its event everywhere; gives the index of its sending.
    fn accepted(
        &mut self,
        kind: Kind,
        aggregate_id: Uuid,
        expected: Option<u64>,
        event_type: &str,
        data: Value,
    ) -> usize {
        let command = self.command(kind, aggregate_id, expected);
        let (version, event_id) =
            (self.dump.version(aggregate_id) + 1, Uuid::from_u128(command as u128 + 1_000));
        let reply = Reply::Ok { version, events: vec![(version, event_id)] };
        let asked = &self.history.commands[command];
        let event = StoredEvent {
            event_id,
            aggregate_type: kind.stored().to_owned(),
            event_type: event_type.to_owned(),
            data: data.to_string(),
            metadata: EventMetadata {
                command_id: asked.command_id(),
                fingerprint: "0".to_owned(),
                causation_id: asked.command_id(),
                correlation_id: asked.correlation_id,
                actor: None,
                trace_parent: None,
                commit: CommitPlace { index: 0, count: 1 },
            },
            recorded_at_ms: AT_MS,
        };
        let headers = BTreeMap::from([
            ("ce_id".to_owned(), event_id.to_string()),
            ("ce_sequence".to_owned(), version.to_string()),
        ]);
        self.dump.topics.push(ReceivedMessage {
            topic: kind.path().to_owned(),
            partition: 0,
            offset: 0,
            key: aggregate_id.to_string(),
            headers,
            payload: event.data.clone(),
        });
        for events in [&mut self.dump.events, &mut self.dump.outbox] {
            events.entry(aggregate_id).or_default().insert(version, event.clone());
        }
        self.sent(command, reply)
    }

    /// Rows and cursors as the events have them.
    fn project(&mut self) {
        let row = |value: Value| vec![value.as_object().unwrap().clone()];
        let at = "2026-11-24T00:00:00.000Z";
        let models = &mut self.dump.read_models;
        models.order_read_model.insert(
            ORDER,
            row(json!({
            "order_id": ORDER, "version": 3, "customer_id": CUSTOMER, "status": "confirmed",
            "currency": "EUR", "total_minor": 10, "created_at": at, "updated_at": at,
            "items": [{"product_id": "tea", "quantity": 2, "unit_price_minor": 5}],
            "confirmed_at": at})),
        );
        models.orders_by_customer.insert(
            ORDER,
            row(json!({
            "order_id": ORDER, "version": 3, "customer_id": CUSTOMER, "status": "confirmed",
            "currency": "EUR", "total_minor": 10, "created_at": at, "bucket": 230})),
        );
        models.orders_by_status.insert(
            ORDER,
            row(json!({
            "order_id": ORDER, "version": 3, "customer_id": CUSTOMER, "status": "confirmed",
            "currency": "EUR", "total_minor": 10, "created_at": at, "day": 20_781, "spread": 10})),
        );
        models.customer_read_model.insert(
            CUSTOMER,
            row(json!({
            "customer_id": CUSTOMER, "version": 1, "name": "A", "email": "a@b.c",
            "status": "active", "addresses": [], "registered_at": at, "updated_at": at})),
        );
        for (id, consumer, version) in [(ORDER, "orders@1", 3), (CUSTOMER, "customers@1", 1)] {
            let cursors = self.dump.cursors.entry(id).or_default();
            cursors.insert(consumer.to_owned(), version);
            cursors.insert("relay".to_owned(), version);
        }
    }

    /// The promises that are broken.
    fn broken(&self) -> Vec<&'static str> {
        let evidence = Evidence {
            history: &self.history,
            dump: &self.dump,
            disagreements: Some(&self.disagreements),
            samples: &self.samples,
            heal: &self.heal,
            writers: Some(1),
        };
        let verdicts = judge(&evidence);
        assert!(!verdicts.iter().any(|(_, verdict)| matches!(verdict, Verdict::NotChecked(_))));
        let broken = verdicts.into_iter().filter(|(_, verdict)| verdict.is_violated());
        broken.map(|(promise, _)| promise).collect()
    }
}

/// Corrupts a clean run and expects exactly these promises to be broken.
#[track_caller]
fn rejects(promises: &[&str], corrupt: impl FnOnce(&mut Run)) {
    let mut run = Run::clean();
    corrupt(&mut run);
    assert_eq!(run.broken(), promises);
}

fn event(run: &mut Run, version: u64) -> [&mut StoredEvent; 2] {
    let Dump { events, outbox, .. } = &mut run.dump;
    [events, outbox].map(|events| events.get_mut(&ORDER).unwrap().get_mut(&version).unwrap())
}

#[test]
fn a_clean_run_is_accepted() {
    assert_eq!(Run::clean().broken(), Vec::<&str>::new());
}

#[test]
fn a_refusal_that_says_nothing() {
    rejects(&["P16"], |run| {
        run.history.evasions.push("503 without outcome".to_owned());
    });
}

#[test]
fn a_process_that_grows_and_grows() {
    rejects(&["P17"], |run| {
        run.history.memory_mib.insert("outbox-relay".to_owned(), 600.0);
    });
}

#[test]
fn an_acknowledged_event_that_is_gone() {
    rejects(&["P1", "P6"], |run| {
        run.dump.events.get_mut(&ORDER).unwrap().remove(&3);
        run.dump.outbox.get_mut(&ORDER).unwrap().remove(&3);
        run.dump.topics.pop();
        let row = &mut run.dump.read_models;
        for rows in
            [&mut row.order_read_model, &mut row.orders_by_customer, &mut row.orders_by_status]
        {
            let row = &mut rows.get_mut(&ORDER).unwrap()[0];
            row.insert("version".to_owned(), json!(2));
            row.insert("status".to_owned(), json!("created"));
            row.remove("confirmed_at");
        }
        for cursor in run.dump.cursors.get_mut(&ORDER).unwrap().values_mut() {
            *cursor = 2;
        }
        run.history.reads.clear();
        // The look-up says so, too: it is wrong about nothing but this command.
        run.history.lookups.push(Lookup { command: 4, done_at: Some(3) });
    });
}

#[test]
fn an_event_of_a_command_that_nobody_sent() {
    rejects(&["P1", "P2"], |run| {
        for event in event(run, 3) {
            event.metadata.command_id = Uuid::from_u128(77);
        }
    });
}

#[test]
fn an_event_of_a_command_that_was_refused() {
    rejects(&["P2", "P6"], |run| {
        for sending in &mut run.history.sendings {
            if sending.command == 4 {
                let code = "order_not_confirmable".to_owned();
                sending.reply = Reply::Fail { status: 409, code, version: Some(2) };
            }
        }
    });
}

#[test]
fn a_hole_in_the_versions() {
    rejects(&["P1", "P3", "P6"], |run| {
        for events in [&mut run.dump.events, &mut run.dump.outbox] {
            events.get_mut(&ORDER).unwrap().remove(&2);
        }
        run.dump.topics.remove(2);
        // What the rows show is the fold with the event that is gone.
        let items = json!([{"product_id": "tea", "quantity": 1, "unit_price_minor": 5}]);
        let models = &mut run.dump.read_models;
        models.order_read_model.get_mut(&ORDER).unwrap()[0].insert("items".to_owned(), items);
        for rows in [
            &mut models.order_read_model,
            &mut models.orders_by_customer,
            &mut models.orders_by_status,
        ] {
            rows.get_mut(&ORDER).unwrap()[0].insert("total_minor".to_owned(), json!(5));
        }
        // The topic then jumps as well; this test is about the ledger.
        run.dump.topics.pop();
        let payload = event(run, 3)[0].data.clone();
        let (id, key) = (event(run, 3)[0].event_id.to_string(), ORDER.to_string());
        for version in ["2", "3"] {
            let headers = BTreeMap::from([
                ("ce_id".to_owned(), id.clone()),
                ("ce_sequence".to_owned(), version.to_owned()),
            ]);
            run.dump.topics.push(ReceivedMessage {
                topic: "orders".to_owned(),
                partition: 0,
                offset: 0,
                key: key.clone(),
                headers,
                payload: payload.clone(),
            });
        }
        run.history.sendings.retain(|sending| !matches!(sending.reply, Reply::Fail { .. }));
    });
}

#[test]
fn other_bytes_on_the_topic() {
    rejects(&["P3"], |run| run.dump.topics[0].payload = "{}".to_owned());
}

#[test]
fn versions_against_the_order_of_time() {
    rejects(&["P4"], |run| {
        // The confirmation was answered before the change of items was sent.
        for sending in &mut run.history.sendings {
            if sending.command == 4 {
                (sending.invoked_us, sending.completed_us) = (112, 118);
            }
        }
    });
}

#[test]
fn a_refusal_for_a_version_that_was_over() {
    rejects(&["P4"], |run| {
        let late = run.command(Kind::Order, ORDER, None);
        let code = "order_not_shippable".to_owned();
        run.sent(late, Reply::Fail { status: 409, code, version: Some(2) });
    });
}

#[test]
fn a_history_that_is_behind() {
    rejects(&["P4"], |run| run.history.reads[0].version = 2);
}

#[test]
fn an_expected_version_that_was_not_there() {
    rejects(&["P4"], |run| run.history.commands[4].expected = Some(1));
}

#[test]
fn one_command_with_two_effects() {
    rejects(&["P1", "P2", "P5"], |run| {
        for event in event(run, 3) {
            event.metadata.correlation_id = Uuid::from_u128(102);
            event.metadata.command_id = Uuid::from_u128(78);
        }
    });
}

#[test]
fn a_command_with_two_answers() {
    rejects(&["P1", "P5"], |run| {
        let last = run.history.sendings.last_mut().unwrap();
        last.reply = Reply::Ok { version: 3, events: vec![(3, Uuid::from_u128(9))] };
    });
}

#[test]
fn a_command_that_was_forgotten() {
    rejects(&["P5"], |run| {
        let last = run.history.sendings.last_mut().unwrap();
        let code = "order_not_confirmable".to_owned();
        last.reply = Reply::Fail { status: 409, code, version: Some(3) };
    });
}

#[test]
fn a_key_that_served_two_bodies() {
    rejects(&["P5"], |run| run.history.reuses[0].status = 200);
}

#[test]
fn a_command_that_stays_unknown() {
    rejects(&["P6"], |run| {
        for sending in &mut run.history.sendings {
            if sending.command == 2 {
                sending.reply = Reply::Info { why: "silence".to_owned() };
            }
        }
    });
}

#[test]
fn not_done_said_of_what_shows() {
    rejects(&["P6"], |run| {
        for sending in &mut run.history.sendings {
            if sending.command == 4 {
                let code = "unavailable".to_owned();
                sending.reply = Reply::Fail { status: 503, code, version: None };
            }
        }
    });
}

#[test]
fn a_look_up_that_is_wrong() {
    rejects(&["P6"], |run| run.history.lookups[0].done_at = None);
}

#[test]
fn an_event_that_never_reached_its_topic() {
    rejects(&["P7"], |run| drop(run.dump.topics.pop()));
}

#[test]
fn a_consumer_that_skipped_the_tail() {
    rejects(&["P7"], |run| {
        run.dump.cursors.get_mut(&ORDER).unwrap().insert("orders@1".to_owned(), 2);
    });
}

#[test]
fn a_read_model_that_is_behind() {
    rejects(&["P7", "P8"], |run| {
        let rows = run.dump.read_models.order_read_model.get_mut(&ORDER).unwrap();
        rows[0].insert("version".to_owned(), json!(2));
    });
}

#[test]
fn an_effect_that_shows_twice() {
    rejects(&["P8"], |run| {
        let rows = run.dump.read_models.orders_by_status.get_mut(&ORDER).unwrap();
        rows.push(rows[0].clone());
    });
}

#[test]
fn a_sum_that_is_wrong() {
    rejects(&["P8"], |run| {
        let rows = run.dump.read_models.orders_by_customer.get_mut(&ORDER).unwrap();
        rows[0].insert("total_minor".to_owned(), json!(15));
    });
}

#[test]
fn an_api_that_disagrees_with_the_tables() {
    rejects(&["P8"], |run| {
        let shown = BTreeMap::from([(ORDER, Some(json!({"version": 2})))]);
        let rows = &run.dump.read_models.order_read_model;
        run.disagreements = disagreements(rows, &shown);
    });
}

#[test]
fn a_topic_out_of_order() {
    rejects(&["P9"], |run| run.dump.topics.swap(0, 2));
}

#[test]
fn a_key_in_two_partitions() {
    rejects(&["P9"], |run| run.dump.topics[0].partition = 1);
}

#[test]
fn a_repetition_on_the_topic_is_allowed() {
    rejects(&[], |run| run.dump.topics.push(run.dump.topics[0].clone()));
}

#[test]
fn a_checkpoint_that_moves_back() {
    rejects(&["P10"], |run| run.samples[1].slots[0].checkpoint_us = Some(99));
}

#[test]
fn a_checkpoint_ahead_of_the_work() {
    rejects(&["P10"], |run| {
        let announced = vec![Announced {
            aggregate_id: ORDER,
            aggregate_type: "order".to_owned(),
            version: 3,
            token: 5,
            written_us: 150,
        }];
        let slots = run.samples[1].slots.clone();
        let slot = slots[0].slot;
        let cursors = run.dump.cursors.clone();
        let mut progress = Progress { slots, announced, cursors, ..Progress::default() };
        let relay_at = |progress: &mut Progress, version| {
            progress.cursors.get_mut(&ORDER).unwrap().insert("relay".to_owned(), version);
        };
        relay_at(&mut progress, 3);
        assert!(ahead_of_work(&progress).is_empty());
        relay_at(&mut progress, 2);
        // Older than the log that is followed: the scan of the ledger will come to it.
        progress.catching_up.insert(("relay".to_owned(), slot), 151);
        assert!(ahead_of_work(&progress).is_empty());
        progress.catching_up.insert(("relay".to_owned(), slot), 150);
        // What waits behind a letter is settled.
        progress.letters.push(letter("relay", "poison"));
        assert!(ahead_of_work(&progress).is_empty());
        progress.letters.clear();
        run.samples[1].ahead = Some(ahead_of_work(&progress));
    });
}

#[test]
fn a_slot_that_changes_hands_in_one_epoch() {
    rejects(&["P13"], |run| run.samples[1].slots[0].epoch = 0);
}

#[test]
fn a_read_model_that_goes_back() {
    rejects(&["P13"], |run| {
        let mut later = run.history.reads[1];
        (later.invoked_us, later.completed_us, later.version) = (20_000, 20_100, 2);
        run.history.reads.push(later);
    });
}

/// A letter of the order in one consumer.
fn letter(consumer: &str, class: &str) -> LetterRow {
    LetterRow {
        consumer: consumer.to_owned(),
        slot: 0,
        aggregate_id: ORDER,
        version: 2,
        class: class.to_owned(),
        state: "blocked".to_owned(),
        attempts: 1,
        error: String::new(),
    }
}

/// The run's events of a type were poisoned for a consumer.
fn poisoned(run: &mut Run, consumer: &str, event_type: &str) {
    let (consumer, events) = (consumer.to_owned(), Poisoned::OfType(event_type.to_owned()));
    let target = Poison { consumer, events, effect: PoisonEffect::Refuse }.to_string();
    let kind = "poison".to_owned();
    run.history.faults.push(Fault { kind, target, began_us: 1, ended_us: 2, fired: 1 });
}

#[test]
fn a_letter_of_what_was_poisoned_is_as_it_should_be() {
    rejects(&[], |run| {
        poisoned(run, "orders@1", "OrderItemsUpdated");
        run.samples[0].letters.push(letter("orders@1", "poison"));
    });
}

#[test]
fn a_letter_of_what_nobody_poisoned() {
    rejects(&["P11"], |run| run.samples[0].letters.push(letter("orders@1", "poison")));
    // It was poisoned for another consumer, or another event was.
    for (consumer, event_type) in [("relay", "OrderItemsUpdated"), ("orders@1", "OrderShipped")] {
        rejects(&["P11"], |run| {
            poisoned(run, consumer, event_type);
            run.samples[0].letters.push(letter("orders@1", "poison"));
        });
    }
    rejects(&["P11"], |run| run.samples[0].letters.push(letter("customers@1", "transport")));
}

#[test]
fn letters_made_of_an_outage() {
    rejects(&[], |run| run.samples[0].letters.push(letter("relay", "transport")));
    rejects(&["P11"], |run| {
        run.samples[0].letters.extend(vec![letter("relay", "transport"); 3]);
    });
}

#[test]
fn a_letter_that_is_left() {
    rejects(&["P11"], |run| {
        poisoned(run, "orders@1", "OrderItemsUpdated");
        run.dump.letters.push(letter("orders@1", "poison"));
    });
}

#[test]
fn an_event_that_was_never_announced() {
    rejects(&["P14"], |run| drop(run.dump.outbox.get_mut(&ORDER).unwrap().remove(&3)));
}

#[test]
fn an_announcement_without_event() {
    rejects(&["P14"], |run| {
        let event = event(run, 3)[0].clone();
        run.dump.outbox.get_mut(&ORDER).unwrap().insert(4, event);
    });
}

#[test]
fn a_dead_writer_that_nobody_settled() {
    rejects(&["P14"], |run| {
        for counter in [5_i64, 9] {
            let writer = Uuid::from_u128(u128::from(counter.unsigned_abs()));
            run.dump.writers.push(WriterRow { writer, state: "alive".to_owned(), counter });
        }
    });
}

#[test]
fn a_recovery_that_takes_too_long() {
    rejects(&["P15"], |run| run.heal.missing = Some("one read model".to_owned()));
}

#[test]
fn the_share_of_concurrent_sendings_is_measured() {
    let mut run = Run::clean();
    assert!(run.history.concurrent_share() < f64::EPSILON);
    let first = run.history.sendings[0].clone();
    run.history.sendings.push(Sending { command: 3, ..first });
    assert!(run.history.concurrent_share() > 0.0);
}
