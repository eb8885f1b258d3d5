//! A view's memory of its last batches, for those who come back and those who were too slow.

use std::collections::VecDeque;
use std::sync::Arc;

use tidegate_model::{Batch, BatchKind, Position, Token};

/// The bounds of one view's log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) batches: usize,
    pub(crate) bytes: usize,
}

/// Every batch after `floor`, in order of position.
#[derive(Debug)]
pub(crate) struct Log {
    batches: VecDeque<Arc<Batch>>,
    bytes: usize,
    floor: Position,
}

impl Log {
    /// A log that begins at `floor`.
    pub(crate) fn new(floor: Position) -> Self {
        Self { batches: VecDeque::new(), bytes: 0, floor }
    }

    /// Takes a batch in and lets the oldest go where a bound is passed.
    pub(crate) fn push(&mut self, batch: Arc<Batch>, bounds: Bounds) {
        debug_assert!(self.batches.back().is_none_or(|last| last.position < batch.position));
        self.bytes += weight(&batch);
        self.batches.push_back(batch);
        while self.batches.len() > bounds.batches || self.bytes > bounds.bytes {
            let Some(oldest) = self.batches.pop_front() else { break };
            self.bytes -= weight(&oldest);
            self.floor = oldest.position;
        }
    }

    /// The batches after `position`, if every one of them is still here.
    pub(crate) fn after(&self, position: Position) -> Option<impl DoubleEndedIterator<Item = &Arc<Batch>>> {
        let from = self.batches.partition_point(|batch| batch.position <= position);
        (position >= self.floor).then(|| self.batches.range(from..))
    }

    /// What a subscriber with this token has missed: batches, and how many deltas of the first it has already.
    pub(crate) fn resume(&self, token: &Token) -> Option<(Vec<Arc<Batch>>, usize)> {
        let Some(frame) = token.frame else {
            return Some((self.after(token.position)?.cloned().collect(), 0));
        };
        if token.kind == BatchKind::Own {
            return None;
        }
        let at = self.batches.binary_search_by_key(&token.position, |batch| batch.position).ok()?;
        let applied = usize::try_from(frame).ok().filter(|frame| *frame < self.batches[at].deltas.len())?;
        Some((self.batches.range(at..).cloned().collect(), applied))
    }

    /// Bytes held, rows included: an evicted row may live on in the log alone.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

fn weight(batch: &Batch) -> usize {
    batch.deltas.iter().filter_map(|delta| delta.row.as_ref()).map(|row| row.size()).sum::<usize>()
        + size_of::<Batch>()
        + batch.deltas.len() * size_of::<tidegate_model::Delta>()
}
