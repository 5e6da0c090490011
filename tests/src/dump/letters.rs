//! The dead letters.

use futures::TryStreamExt;
use scylla::client::session::Session;
use serde::Serialize;
use uuid::Uuid;

/// One row of `dead_letter_queue`, as far as the checker needs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the names are those of the columns")]
pub struct LetterRow {
    pub consumer: String,
    pub slot: i32,
    pub aggregate_id: Uuid,
    pub version: i64,
    pub class: String,
    pub state: String,
    pub attempts: i32,
    pub error: String,
}

/// Every letter that there is.
pub async fn letters(session: &Session) -> anyhow::Result<Vec<LetterRow>> {
    let text = "SELECT consumer, slot, aggregate_id, version, class, state, attempts, error FROM \
        dead_letter_queue";
    type Text = Option<String>;
    type Columns = (String, i32, Uuid, Option<i64>, Text, Text, Option<i32>, Text);
    let mut found = Vec::new();
    let mut rows = session.query_iter(text, ()).await?.rows_stream::<Columns>()?;
    while let Some(columns) = rows.try_next().await? {
        let (consumer, slot, aggregate_id, version, class, state, attempts, error) = columns;
        found.push(LetterRow {
            consumer,
            slot,
            aggregate_id,
            version: version.unwrap_or_default(),
            class: class.unwrap_or_default(),
            state: state.unwrap_or_default(),
            attempts: attempts.unwrap_or_default(),
            error: error.unwrap_or_default(),
        });
    }
    Ok(found)
}
