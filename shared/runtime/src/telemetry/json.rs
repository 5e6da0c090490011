//! A record as one JSON object in one line: `timestamp`, `level`, `target`, the record's own fields, and the ids of
//! whose work it was ([`super::about`]).

use std::fmt;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

use super::about::id;

/// Writes records.
pub(super) struct JsonLines;

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        let mut line = Line::default();
        event.record(&mut line);
        for span in context.event_scope().into_iter().flatten() {
            if let Some(ids) = span.extensions().get::<FormattedFields<SpanIds>>() {
                line.complete(&ids.fields);
            }
        }
        let Line(mut fields) = line;
        let metadata = event.metadata();
        // Whoever made a field of the same name does not hide these.
        fields.insert("timestamp".to_owned(), time.into());
        fields.insert("level".to_owned(), metadata.level().as_str().into());
        fields.insert("target".to_owned(), metadata.target().into());
        writeln!(writer, "{}", Value::Object(fields))
    }
}

/// Keeps the ids among the fields of a span, each as `name=value` in a line. Nothing else is kept of it.
pub(super) struct SpanIds;

impl<'writer> FormatFields<'writer> for SpanIds {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut kept = Kept { writer, result: Ok(()) };
        fields.record(&mut kept);
        kept.result
    }
}

struct Kept<'writer> {
    writer: Writer<'writer>,
    result: fmt::Result,
}

impl Visit for Kept<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if let Some(id) = id(field.name()) {
            self.result = self.result.and_then(|()| writeln!(self.writer, "{id}={value:?}"));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
}

/// The fields of a record.
#[derive(Default)]
struct Line(Map<String, Value>);

impl Line {
    fn put(&mut self, field: &Field, value: Value) {
        self.0.insert(field.name().trim_start_matches("r#").to_owned(), value);
    }

    /// Takes over the ids of a span that it does not have yet.
    fn complete(&mut self, ids: &str) {
        // What a span is given after its beginning is set off with a space.
        let pairs = ids.lines().filter_map(|line| line.trim_start().split_once('='));
        for (name, value) in pairs {
            self.0.entry(name).or_insert_with(|| value.into());
        }
    }
}

impl Visit for Line {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}").into());
    }
}

#[cfg(test)]
mod tests {
    use super::super::about::about;
    use super::super::testing::Kept;
    use super::super::{json_filter, json_layer};
    use super::*;
    use tracing::{Instrument, info, info_span, warn};
    use tracing_subscriber::layer::SubscriberExt;
    use tracing_subscriber::{EnvFilter, Layer};
    use uuid::Uuid;

    /// The lines that `work` writes while no more than warnings are asked for.
    fn lines(work: impl FnOnce()) -> Vec<Value> {
        let kept = Kept::default();
        let writer = kept.clone();
        let layer =
            json_layer(move || writer.clone()).with_filter(json_filter(EnvFilter::new("warn")));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), work);
        kept.text().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    #[test]
    fn a_record_has_its_fields_and_the_ids_of_the_work() {
        let (order, other, correlation) =
            (Uuid::from_u128(1), Uuid::from_u128(2), Uuid::from_u128(3));
        let lines = lines(|| {
            about(None, Some(correlation), Some("4bf9")).in_scope(|| {
                about(Some(order), None, None).in_scope(|| {
                    info!("not asked for");
                    warn!(failures = 2, ratio = 0.5, fatal = false, error = %"a\n\"b\"", "inside");
                    warn!(aggregate_id = %other, level = "mine", "of another");
                });
                warn!("around");
            });
            warn!(r#type = "x", "outside");
        });
        assert_eq!(lines.len(), 4, "{lines:#?}");
        let inside = &lines[0];
        assert_eq!(inside["message"], "inside");
        assert_eq!((&inside["failures"], &inside["ratio"]), (&2.into(), &0.5.into()));
        assert_eq!((&inside["fatal"], &inside["error"]), (&false.into(), &"a\n\"b\"".into()));
        assert_eq!(inside["aggregate_id"], order.to_string());
        assert_eq!(inside["correlation_id"], correlation.to_string());
        assert_eq!(inside["trace_id"], "4bf9");
        assert_eq!((&inside["level"], inside["target"].is_string()), (&"WARN".into(), true));
        assert!(inside["timestamp"].as_str().is_some_and(|time| time.ends_with('Z')));
        assert_eq!(lines[1]["aggregate_id"], other.to_string());
        assert_eq!((&lines[1]["trace_id"], &lines[1]["level"]), (&"4bf9".into(), &"WARN".into()));
        let around = &lines[2];
        assert_eq!((&around["trace_id"], around.get("aggregate_id")), (&"4bf9".into(), None));
        assert_eq!((&lines[3]["type"], lines[3].get("trace_id")), (&"x".into(), None));
    }

    #[test]
    fn what_becomes_known_of_the_work_is_taken_over() {
        let lines = lines(|| {
            let request = crate::traces::request("GET", "/", Uuid::from_u128(3), None);
            crate::traces::belongs_to(&request, "4bf9");
            request.in_scope(|| warn!("inside"));
        });
        assert_eq!(lines[0]["trace_id"], "4bf9", "{lines:#?}");
        assert_eq!(lines[0]["correlation_id"], Uuid::from_u128(3).to_string());
    }

    /// Spans of others neither come into the lines nor cost their fields.
    #[test]
    fn other_spans_say_nothing() {
        let span = || info_span!("other", correlation_id = "7");
        let lines = lines(|| {
            futures::executor::block_on(async { warn!("within") }.instrument(span()));
        });
        assert_eq!(lines[0].get("correlation_id"), None, "{lines:#?}");
    }
}
