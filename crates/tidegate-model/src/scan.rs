//! The seam between the live engine and the store: ordered reads, each at one position.

use std::sync::Arc;

use crate::{EntityId, Key, Order, Position, Predicate, Row, Tenant};

/// Asks for rows of one partition after a key.
#[derive(Debug, Clone)]
pub struct ScanRequest {
    /// Whose rows.
    pub entity: EntityId,
    /// Which partition.
    pub tenant: Tenant,
    /// In which order.
    pub order: Arc<Order>,
    /// Only rows that match.
    pub predicate: Arc<Predicate>,
    /// Strictly after this key; `None` from the beginning.
    pub after: Option<Key>,
    /// How many matching rows are wanted at most.
    pub want: usize,
}

/// An answer: exactly the matching rows at `position` after the request's key and up to `upto`, in key order.
#[derive(Debug, Clone)]
pub struct Page {
    /// Rows with their keys.
    pub rows: Vec<(Key, Arc<Row>)>,
    /// How far the page is complete (inclusive; a page may end before `want` rows to stay short). `None`: to the end.
    pub upto: Option<Key>,
    /// The position that the rows were read at; never before the position of the last committed transaction when the
    /// request was made.
    pub position: Position,
}

/// A scan that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScanError {
    /// Too many scans are waiting: the live engine asks again in a moment.
    #[error("too many scans are waiting; try again")]
    Busy,
    /// The entity is being copied: the live engine asks again until it is there.
    #[error("the entity is still being copied; try again later")]
    NotReady,
    /// The entity cannot be read until somebody mends what the reason says. Its subscriptions end with it.
    #[error("the entity is unavailable: {0}")]
    Unavailable(Arc<str>),
    /// The store failed. Subscriptions that wait for the scan end with a retryable error.
    #[error("the store failed: {0}")]
    Store(String),
}

/// Takes the answer, on whatever thread it is ready.
pub type ScanReply = Box<dyn FnOnce(Result<Page, ScanError>) + Send>;

/// Something that answers scans: the mirror. Never blocks its caller.
pub trait RowSource: Send + Sync {
    /// Answers through `reply`, exactly once. A refusal for want of room is [`ScanError::Busy`].
    fn scan(&self, request: ScanRequest, reply: ScanReply);
}
