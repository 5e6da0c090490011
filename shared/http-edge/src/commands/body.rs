//! Takes a request's body in, within bounds: its size, the time it may take, and the memory of all bodies together.

use super::limits::RequestLimits;
use super::problem;
use crate::{Problem, codes};
use axum::body::Body;
use axum::http::{HeaderMap, header};
use http_body_util::BodyExt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

/// The bounds, shared by all requests.
#[derive(Debug, Clone)]
pub(super) struct Bodies {
    bytes_max: usize,
    within: Duration,
    /// One permit per byte in memory.
    room: Arc<Semaphore>,
}

/// A body that has arrived; its room is free again when it is dropped.
#[derive(Debug, Default)]
pub(super) struct Received {
    pub(super) bytes: Vec<u8>,
    room: Option<OwnedSemaphorePermit>,
}

impl Bodies {
    pub(super) fn new(limits: &RequestLimits) -> Self {
        let bytes_max = limits.body_bytes_max.get() as usize;
        let room = bytes_max.saturating_mul(limits.full_bodies_max.get() as usize);
        Self {
            bytes_max,
            within: limits.body_timeout(),
            room: Arc::new(Semaphore::new(room.min(Semaphore::MAX_PERMITS))),
        }
    }

    /// Takes the whole body in. Never holds more of it than the bound.
    pub(super) async fn receive(
        &self,
        headers: &HeaderMap,
        body: Body,
        deadline: Instant,
    ) -> Result<Received, Problem> {
        let until = deadline.min(Instant::now() + self.within);
        let arrived = timeout_at(until, self.collect(headers, body)).await;
        arrived.unwrap_or_else(|_| Err(problem::body_timeout()))
    }

    async fn collect(&self, headers: &HeaderMap, mut body: Body) -> Result<Received, Problem> {
        let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| {
            let text = value.to_str().ok()?;
            text.parse::<u64>().ok()
        });
        if announced.is_some_and(|length| length > self.bytes_max as u64) {
            // A client that asks before it sends has sent nothing.
            if !headers.contains_key(header::EXPECT) {
                self.discard(&mut body).await;
            }
            return Err(problem::body_too_large(self.bytes_max));
        }
        let mut received = Received::default();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| broken())?;
            let Ok(data) = frame.into_data() else { continue };
            if received.bytes.len() + data.len() > self.bytes_max {
                self.discard(&mut body).await;
                return Err(problem::body_too_large(self.bytes_max));
            }
            self.make_room(&mut received, data.len())?;
            received.bytes.extend_from_slice(&data);
        }
        Ok(received)
    }

    fn make_room(&self, received: &mut Received, bytes: usize) -> Result<(), Problem> {
        let full = || problem::busy(codes::TOO_MANY_BODIES, "too many large requests at a time");
        let permits = u32::try_from(bytes).map_err(|_| full())?;
        let more = Arc::clone(&self.room).try_acquire_many_owned(permits).map_err(|_| full())?;
        match &mut received.room {
            Some(room) => room.merge(more),
            room => *room = Some(more),
        }
        Ok(())
    }

    /// Lets as much again go by before the answer. A client that is only a little over would else find its
    /// connection reset while it sends, and never see why. One that sends more is cut off.
    async fn discard(&self, body: &mut Body) {
        let mut left = self.bytes_max;
        while let Some(Ok(frame)) = body.frame().await {
            let length = frame.data_ref().map_or(0, |data| data.len());
            let Some(less) = left.checked_sub(length) else { return };
            left = less;
        }
    }
}

fn broken() -> Problem {
    codes::BROKEN_BODY.problem("the body ended before its end")
}

/// Whether a body with these headers is JSON as it stands.
pub(super) fn check_kind(headers: &HeaderMap) -> Result<(), Problem> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = kind.and_then(|kind| kind.split(';').next()).map(str::trim);
    if !essence.is_some_and(|essence| essence.eq_ignore_ascii_case("application/json")) {
        let detail = "the Content-Type must be application/json";
        return Err(codes::UNSUPPORTED_MEDIA_TYPE.problem(detail));
    }
    let encoding = headers.get(header::CONTENT_ENCODING).map(|value| value.as_bytes());
    if encoding.is_some_and(|encoding| !encoding.eq_ignore_ascii_case(b"identity")) {
        let detail = "the body must not be compressed";
        return Err(codes::UNSUPPORTED_CONTENT_ENCODING.problem(detail));
    }
    Ok(())
}
