//! Looks at suspects again, and announces what was missed.

use super::Watched;
use super::scan::{Round, Scanner};
use super::suspects::Suspect;
use crate::config::millis;
use crate::consumer::ErrorClass;
use crate::error::StoreError;
use crate::letters::LetterKey;
use crate::metrics;
use kernel::Version;
use runtime::chain;
use tokio::time::Instant;
use tracing::{info, warn};

impl Scanner {
    /// Looks at the suspects that are old enough once more.
    pub(super) async fn judge(&self, round: &Round) -> Result<(), StoreError> {
        let age = millis(self.config.age_ms_min);
        let due = self.suspects().due(Instant::now(), age, |slot| round.owned.contains(&slot));
        for suspect in due {
            self.judge_one(&suspect, round).await?;
        }
        Ok(())
    }

    async fn judge_one(&self, suspect: &Suspect, round: &Round) -> Result<(), StoreError> {
        let Suspect { aggregate_id, version, slot, .. } = *suspect;
        self.pace().await;
        let cursors = self.source.cursors(aggregate_id).await?;
        let behind: Vec<(&Watched, Version)> = self
            .watched
            .iter()
            .filter(|watched| watched.wants(&suspect.aggregate_type))
            .filter(|watched| watched.is_there(slot, &round.progress))
            .map(|watched| (watched, cursors.get(&watched.name).copied().unwrap_or_default()))
            .filter(|(_, handled)| *handled < version)
            .collect();
        if behind.is_empty() {
            self.suspects().clear(aggregate_id);
            return Ok(());
        }
        let settled_from = suspect.settled_from(millis(self.config.age_ms_min));
        let mut missed = Vec::new();
        for (watched, handled) in behind {
            let checkpoint = round.progress.checkpoints.get(&(watched.group.clone(), slot));
            if checkpoint.is_none_or(|at| *at < settled_from) {
                // It is merely late.
                continue;
            }
            self.pace().await;
            // What is behind a letter is handled by its retries.
            let consumer = watched.name.as_str();
            if !self.source.has_letter(LetterKey { consumer, slot, aggregate_id }).await? {
                missed.push((watched, handled));
            }
        }
        let Some(handled) = missed.iter().map(|(_, handled)| *handled).min() else {
            return Ok(());
        };
        self.announce_again(suspect, handled, &missed, round).await
    }

    /// Announces what consumers have missed, from the first version that one of them lacks.
    async fn announce_again(
        &self,
        suspect: &Suspect,
        handled: Version,
        missed: &[(&Watched, Version)],
        round: &Round,
    ) -> Result<(), StoreError> {
        let Suspect { aggregate_id, version, .. } = *suspect;
        let consumers: Vec<_> = missed.iter().map(|(watched, _)| watched.name.as_str()).collect();
        let consumers = consumers.join(", ");
        let Some(topic) = self.aggregates.topic_of(&suspect.aggregate_type) else {
            let aggregate_type = &suspect.aggregate_type;
            warn!(%aggregate_id, version = version.0, aggregate_type, consumers, "unhandled, of unknown type");
            self.suspects().clear(aggregate_id);
            return Ok(());
        };
        self.pace().await;
        let was_announced = self.source.is_announced(aggregate_id, version).await?;
        let kind = if was_announced { "unheard" } else { "unannounced" };
        warn!(%aggregate_id, version = version.0, handled = handled.0, consumers, kind, "an event was missed, announcing it");
        metrics::SCAN_ANOMALIES.with_label_values(&[kind]).inc();
        self.pace().await;
        match self.source.announce_after(aggregate_id, handled, topic).await {
            Ok(events) => info!(%aggregate_id, events, "announced what was missed"),
            Err(error) if error.class == ErrorClass::Fatal => return Err(error),
            // The others must not wait for this one; it comes again, more seldom each time.
            Err(error) => {
                let error = chain(&error).to_string();
                warn!(%aggregate_id, version = version.0, error, "what was missed could not be announced");
            }
        }
        let now = Instant::now();
        self.suspects().announced(aggregate_id, now, round.time_at(now));
        Ok(())
    }
}
