//! One CDC generation: token ranges, one stream for each, from when on.

use rand::RngCore;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The id of a CDC stream: 16 bytes, big endian: token, then 38 random bits, 22 bits of range
/// index, 4 bits of version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StreamId(pub [u8; 16]);

const RANDOM_BITS: u64 = (1 << 38) - 1;
const INDEX_BITS: u64 = (1 << 22) - 1;
const VERSION: u64 = 1;

impl StreamId {
    pub(super) fn new(token: i64, index: usize, random: u64) -> Self {
        let low = ((random & RANDOM_BITS) << 26) | ((index as u64 & INDEX_BITS) << 4) | VERSION;
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&token.to_be_bytes());
        bytes[8..].copy_from_slice(&low.to_be_bytes());
        Self(bytes)
    }

    /// The token under the CDC partitioner.
    pub fn token(&self) -> i64 {
        let mut token = [0; 8];
        token.copy_from_slice(&self.0[..8]);
        i64::from_be_bytes(token)
    }
}

/// A set of CDC streams; never changed once made. The first one, made at the first boot, also says
/// who the node is and which tokens it has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generation {
    /// The node's id.
    pub host_id: Uuid,
    /// When the generation began, in ms since 1970.
    pub time_millis: i64,
    /// The upper ends of the token ranges, ascending. Range `i` is `(tokens[i-1], tokens[i]]`,
    /// the first one wraps round the ring.
    pub tokens: Vec<i64>,
    /// One stream per range.
    pub streams: Vec<StreamId>,
}

impl Generation {
    /// A new node's generation of `ranges` equal ranges (at least one), begun 60 s before
    /// `now_millis`.
    pub fn first(ranges: usize, now_millis: i64) -> Self {
        Self::even(Uuid::new_v4(), ranges, now_millis - 60_000)
    }

    /// A generation of `ranges` equal ranges (at least one) that begins then.
    pub fn even(host_id: Uuid, ranges: usize, time_millis: i64) -> Self {
        Self::cut(host_id, ranges, time_millis, |index| index)
    }

    /// The same for a table's tablets, whose streams have no index. Their number is rounded up to a
    /// power of two.
    pub fn of_tablets(host_id: Uuid, tablets: usize, time_millis: i64) -> Self {
        Self::cut(host_id, tablets.next_power_of_two(), time_millis, |_| 0)
    }

    fn cut(
        host_id: Uuid,
        ranges: usize,
        time_millis: i64,
        index_of: impl Fn(usize) -> usize,
    ) -> Self {
        let ranges = ranges.max(1);
        let step = (1i128 << 64) / ranges as i128;
        // The last range ends at the highest token, so none is shorter than the others by more
        // than one.
        let tokens: Vec<i64> = (1..=ranges as i128)
            .map(|i| {
                let end = if i == ranges as i128 { 1i128 << 64 } else { i * step };
                (end - 1 + i128::from(i64::MIN)) as i64
            })
            .collect();
        let streams = tokens
            .iter()
            .enumerate()
            .map(|(index, token)| StreamId::new(*token, index_of(index), rand::rng().next_u64()))
            .collect();
        Self { host_id, time_millis, tokens, streams }
    }

    /// Refuses what cannot have been a generation: it comes from a file.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let ordered = self.tokens.windows(2).all(|pair| pair[0] < pair[1]);
        if self.tokens.is_empty() || self.tokens.len() != self.streams.len() || !ordered {
            anyhow::bail!("tokens and streams do not match");
        }
        Ok(())
    }

    /// The first write timestamp that belongs to it.
    pub fn begins_micros(&self) -> i64 {
        self.time_millis.saturating_mul(1000)
    }

    /// The index of the range that a token of a base table falls into.
    pub fn range_index(&self, token: i64) -> usize {
        let index = self.tokens.partition_point(|end| *end < token);
        if index == self.tokens.len() { 0 } else { index }
    }

    /// The stream that the changes of a base partition go to.
    pub fn stream(&self, token: i64) -> StreamId {
        self.streams[self.range_index(token)]
    }
}
