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
    floor: Position,
    /// Nothing before the first batch: most views are still.
    kept: Option<Box<Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    /// Each with what it was counted as.
    batches: VecDeque<(Arc<Batch>, usize)>,
    bytes: usize,
}

impl Log {
    /// A log that begins at `floor`.
    pub(crate) fn new(floor: Position) -> Self {
        Self { floor, kept: None }
    }

    /// Takes a batch in and lets the oldest go where a bound is passed.
    pub(crate) fn push(&mut self, batch: Arc<Batch>, bounds: Bounds) {
        let kept = self.kept.get_or_insert_default();
        debug_assert!(kept.batches.back().is_none_or(|(last, _)| last.position < batch.position));
        // By now the one before has most likely been encoded, and is known to be as large as it is.
        if let Some((last, counted)) = kept.batches.back_mut() {
            kept.bytes -= std::mem::replace(counted, weight(last));
            kept.bytes += *counted;
        }
        let counted = weight(&batch);
        kept.bytes += counted;
        kept.batches.push_back((batch, counted));
        while kept.batches.len() > bounds.batches || kept.bytes > bounds.bytes {
            let Some((oldest, counted)) = kept.batches.pop_front() else { break };
            kept.bytes -= counted;
            self.floor = oldest.position;
        }
    }

    /// The batches after `position`, if every one of them is still here.
    pub(crate) fn after(&self, position: Position) -> Option<impl DoubleEndedIterator<Item = &Arc<Batch>>> {
        let batches = self.kept.as_deref().into_iter().flat_map(move |kept| {
            let from = kept.batches.partition_point(|(batch, _)| batch.position <= position);
            kept.batches.range(from..).map(|(batch, _)| batch)
        });
        (position >= self.floor).then_some(batches)
    }

    /// What a subscriber with this token has missed: batches, and how many deltas of the first it has already.
    pub(crate) fn resume(&self, token: &Token) -> Option<(Vec<Arc<Batch>>, usize)> {
        let Some(frame) = token.frame else {
            return Some((self.after(token.position)?.cloned().collect(), 0));
        };
        if token.kind == BatchKind::Own {
            return None;
        }
        let batches = &self.kept.as_deref()?.batches;
        let at = batches.binary_search_by_key(&token.position, |(batch, _)| batch.position).ok()?;
        let applied = usize::try_from(frame).ok().filter(|frame| *frame < batches[at].0.deltas.len())?;
        Some((batches.range(at..).map(|(batch, _)| batch.clone()).collect(), applied))
    }

    /// Bytes held, rows included: an evicted row may live on in the log alone.
    pub(crate) fn bytes(&self) -> usize {
        self.kept.as_deref().map_or(0, |kept| kept.bytes)
    }
}

/// Each row counts twice, or more where more is known: the batch's encoded body, made when the first subscriber is handed it,
/// is about as long, and there may be compressed forms of it. Never becomes less.
fn weight(batch: &Batch) -> usize {
    let rows = batch.deltas.iter().filter_map(|delta| delta.row.as_ref()).map(|row| row.size()).sum::<usize>();
    let deltas = batch.deltas.len() * size_of::<tidegate_model::Delta>();
    rows + batch.size().max(size_of::<Batch>() + deltas + rows)
}
