//! Range tombstones of one partition as disjoint spans in order, so that their number is bounded
//! by the number of distinct bounds and a row finds its span by binary search.
//!
//! Every point has the newest tombstone of all ranges that cover it, and neighbours with the same
//! one are joined: the same ranges give the same spans in whatever order they come.

use crate::mutation::Tombstone;
use crate::mutation::merge::Version;

/// A place between encoded clustering keys.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Edge {
    /// Right before this encoded key.
    At(Vec<u8>),
    /// Behind all keys.
    Open,
}

/// What is hidden from `start` to right before `end`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Span<P> {
    /// First place within.
    pub(crate) start: P,
    /// First place behind.
    pub(crate) end: P,
    /// What hides it.
    pub(crate) tombstone: Tombstone,
}

/// Disjoint spans in ascending order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Spans<P>(Vec<Span<P>>);

impl<P> Default for Spans<P> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<P: Ord + Clone> Spans<P> {
    /// Spans as they were stored; `None` if they are not disjoint and in order.
    pub(crate) fn from_stored(spans: Vec<Span<P>>) -> Option<Self> {
        let sound = spans.iter().all(|span| span.start < span.end)
            && spans.windows(2).all(|pair| pair[0].end <= pair[1].start);
        sound.then_some(Self(spans))
    }

    /// The spans.
    pub(crate) fn as_slice(&self) -> &[Span<P>] {
        &self.0
    }

    /// Whether nothing is hidden.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Drops the spans that are not to be kept.
    pub(crate) fn retain(&mut self, keep: impl FnMut(&Span<P>) -> bool) {
        self.0.retain(keep);
    }

    /// What hides the place right behind `place`.
    pub(crate) fn at(&self, is_behind: impl Fn(&P) -> bool) -> Option<Tombstone> {
        // `is_behind` says of a place whether the point in question comes before it.
        let index = self.0.partition_point(|span| !is_behind(&span.start));
        let span = self.0.get(index.checked_sub(1)?)?;
        is_behind(&span.end).then_some(span.tombstone)
    }

    /// Hides one more range. An empty one changes nothing.
    pub(crate) fn insert(&mut self, new: Span<P>) {
        if new.start >= new.end {
            return;
        }
        let old = std::mem::take(&mut self.0);
        // What is left of the new range begins here.
        let mut from = new.start;
        for span in old {
            if from >= new.end || span.end <= from {
                self.push(span.start, span.end, span.tombstone);
                continue;
            }
            if span.start >= new.end {
                self.push(from, new.end.clone(), new.tombstone);
                from = new.end.clone();
                self.push(span.start, span.end, span.tombstone);
                continue;
            }
            if from < span.start {
                self.push(from, span.start.clone(), new.tombstone);
                from = span.start.clone();
            } else if span.start < from {
                self.push(span.start, from.clone(), span.tombstone);
            }
            let shared_end = span.end.clone().min(new.end.clone());
            let newest = match span.tombstone.order(&new.tombstone) {
                std::cmp::Ordering::Less => new.tombstone,
                _ => span.tombstone,
            };
            self.push(from, shared_end.clone(), newest);
            if shared_end < span.end {
                self.push(shared_end.clone(), span.end, span.tombstone);
            }
            from = shared_end;
        }
        if from < new.end {
            self.push(from, new.end, new.tombstone);
        }
    }

    fn push(&mut self, start: P, end: P, tombstone: Tombstone) {
        match self.0.last_mut() {
            Some(last) if last.end == start && last.tombstone == tombstone => last.end = end,
            _ => self.0.push(Span { start, end, tombstone }),
        }
    }
}

impl Spans<Edge> {
    /// What hides the row with this encoded clustering key.
    pub(crate) fn hiding(&self, clustering: &[u8]) -> Option<Tombstone> {
        self.at(|edge| match edge {
            Edge::At(bytes) => clustering < bytes.as_slice(),
            Edge::Open => true,
        })
    }
}
