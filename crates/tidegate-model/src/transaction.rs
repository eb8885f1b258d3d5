//! What flows: transactions in, batches of deltas out.

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, OnceLock};

use smallvec::SmallVec;

use crate::{EntityId, Row, Tenant};

/// A place in the feed: opaque to clients, ordered, printed as a decimal number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Position(pub u64);

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Position {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// What became of one row in one transaction. At least one image is there.
#[derive(Debug, Clone)]
pub struct Change {
    /// The row's entity.
    pub entity: EntityId,
    /// The partition; a row that changes its tenant is a delete in one and an insert in the other.
    pub tenant: Tenant,
    /// The row before the transaction.
    pub old: Option<Arc<Row>>,
    /// The row after it.
    pub new: Option<Arc<Row>>,
}

/// Everything that became true at one position. A row (entity, tenant, key) appears at most once: the net of what the
/// transaction did to it. A row that ends as it began does not appear.
#[derive(Debug, Clone)]
pub struct Transaction {
    /// Greater than that of the transaction before.
    pub position: Position,
    /// In the order in which the rows were first touched.
    pub changes: Vec<Change>,
    /// Entities that changed in a way which is not told row by row (too many rows, a truncation, a new copy): every
    /// view of them is read anew. None of their rows is among the changes.
    pub reloads: Vec<EntityId>,
}

/// What a delta does to the client's list or set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Op {
    /// Forget everything; the rows follow.
    Reset,
    /// A row appears at `new_index`.
    Enter,
    /// A row disappears from `old_index`.
    Leave,
    /// A row goes from `old_index` to `new_index`, counted after its removal, with its new content.
    Move,
    /// A row's content changes in its place.
    Update,
    /// Streamed: a row came to match.
    Match,
    /// Streamed: a row ceased to match.
    Unmatch,
    /// The snapshot is complete.
    Ready,
}

impl Op {
    /// Its name on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Op::Reset => "reset",
            Op::Enter => "enter",
            Op::Leave => "leave",
            Op::Move => "move",
            Op::Update => "update",
            Op::Match => "match",
            Op::Unmatch => "unmatch",
            Op::Ready => "ready",
        }
    }
}

/// One step of a client's list. Each index means the list as the deltas before left it; -1 where there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delta {
    /// What happens.
    pub op: Op,
    /// Where the row was.
    pub old_index: i32,
    /// Where the row is.
    pub new_index: i32,
    /// The position of the row's last change; for a row that was deleted, the deletion's.
    pub version: u64,
    /// The row now; for `leave` and `unmatch` the row as the client knew it. `None` for `reset` and `ready`.
    pub row: Option<Arc<Row>>,
}

/// Which list a batch starts from; a resume inside a batch goes on only where the identical batch can be found again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BatchKind {
    /// From the view's list at the batch before; kept in the view's log.
    Logged,
    /// For one subscriber alone: a snapshot from `reset` to `ready`, or the net of what it was too slow for.
    Own,
}

/// A batch in the form a codec gives it: the shared bytes of all frames and where each begins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Body {
    /// All frames, one after the other.
    pub bytes: Vec<u8>,
    /// Where each frame starts in `bytes`.
    pub starts: Vec<u32>,
}

/// What of a [`Body`] goes into one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// One frame.
    Frame(usize),
    /// All frames from one on.
    From(usize),
}

/// Bytes made by whoever asks first.
type Shared = OnceLock<Box<[u8]>>;

/// All deltas of one view at one position. Encoded at most once per codec, and each part compressed at most once, by
/// whoever asks first.
#[derive(Debug)]
pub struct Batch {
    /// The position that the list is at after the last delta.
    pub position: Position,
    /// Which list it starts from.
    pub kind: BatchKind,
    /// In order of application.
    pub deltas: SmallVec<[Delta; 1]>,
    body: OnceLock<Box<Body>>,
    /// The compressed forms of the whole body and of each frame.
    compressed: OnceLock<Box<[Shared]>>,
}

impl Batch {
    /// A batch of `deltas`.
    #[must_use]
    pub fn new(position: Position, kind: BatchKind, deltas: SmallVec<[Delta; 1]>) -> Self {
        Self { position, kind, deltas, body: OnceLock::new(), compressed: OnceLock::new() }
    }

    /// The encoded form, made by `encode` the first time.
    pub fn body(&self, encode: impl FnOnce(&Batch) -> Body) -> &Body {
        self.body.get_or_init(|| Box::new(encode(self)))
    }

    /// The encoded form, if it was asked for before.
    #[must_use]
    pub fn encoded(&self) -> Option<&Body> {
        self.body.get().map(|body| &**body)
    }

    /// The compressed form of a part, made by `compress` the first time. `None` for the frames from a later one on: too few
    /// ask for the same to keep it.
    pub fn compressed(&self, part: Part, compress: impl FnOnce() -> Vec<u8>) -> Option<&[u8]> {
        let slot = match part {
            Part::From(0) => 0,
            Part::From(_) => return None,
            Part::Frame(index) => index + 1,
        };
        let slots = self.compressed.get_or_init(|| (0..=self.deltas.len()).map(|_| Shared::new()).collect());
        Some(slots.get(slot)?.get_or_init(|| compress().into()))
    }

    /// Bytes in memory beside the rows, for the bounds of a view's log.
    #[must_use]
    pub fn size(&self) -> usize {
        let body = self.body.get().map_or(0, |body| body.bytes.len() + body.starts.len() * 4);
        let slots = self.compressed.get().map_or(&[][..], |slots| slots);
        let compressed: usize = slots.iter().filter_map(OnceLock::get).map(|bytes| bytes.len()).sum();
        size_of::<Self>() + self.deltas.len() * size_of::<Delta>() + body + size_of_val(slots) + compressed
    }
}

#[cfg(test)]
mod tests {
    use smallvec::smallvec;

    use super::*;

    #[test]
    fn a_part_is_compressed_once_and_counts() {
        let delta = Delta { op: Op::Ready, old_index: -1, new_index: -1, version: 0, row: None };
        let batch = Batch::new(Position(1), BatchKind::Logged, smallvec![delta.clone(), delta]);
        let bare = batch.size();
        for part in [Part::From(0), Part::Frame(0), Part::Frame(1)] {
            assert_eq!(batch.compressed(part, || vec![7; 1000]), Some(&[7; 1000][..]));
            assert_eq!(batch.compressed(part, || panic!("twice")), Some(&[7; 1000][..]));
        }
        assert_eq!(batch.compressed(Part::From(1), Vec::new), None);
        assert_eq!(batch.compressed(Part::Frame(2), Vec::new), None);
        assert_eq!(batch.size() - bare, 3 * (1000 + size_of::<Shared>()));
    }
}
