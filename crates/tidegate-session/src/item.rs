//! What waits, and what is handed over: the same things before and after they get their numbers.

use std::sync::Arc;

use bytes::Bytes;
use tidegate_jobs::Entry;
use tidegate_live::{EndReason, SubscriptionId, View};
use tidegate_model::{Batch, Position};
use tidegate_topics::Publication;

use crate::outbox::told;
use crate::runtime::Reply;

/// Bytes that an item without a body counts for.
pub(crate) const ITEM_BYTES: usize = 64;

/// The answer to a subscribe or re-anchor: the feed is joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Started {
    /// The newest command that this answers; earlier ones of the subscription are answered with it.
    pub request: u64,
    /// Whether the client's list stays and goes on from its token.
    pub resumed: bool,
    /// Where the view is.
    pub position: Position,
}

/// One thing to send, whole.
#[derive(Debug, Clone)]
pub enum Item {
    /// A command is answered.
    Started(SubscriptionId, Started),
    /// Frames `from ..` of a batch, numbered from `seq`.
    Frames {
        /// Whose.
        subscription: SubscriptionId,
        /// The number of the first.
        seq: u64,
        /// What the batch is of.
        view: Arc<View>,
        /// Its body is encoded.
        batch: Arc<Batch>,
        /// The first frame for this subscriber.
        from: usize,
    },
    /// Everything up to a position has been handed over. No frame of the list, so it has no number.
    Synced {
        /// Whose.
        subscription: SubscriptionId,
        /// The position.
        position: Position,
    },
    /// The subscription is no more.
    Ended(SubscriptionId, EndReason),
    /// The subscription is no more: its snapshot exceeds the outbox.
    TooLarge(SubscriptionId, usize),
    /// Something happened in a topic.
    Publication {
        /// Whose.
        subscription: SubscriptionId,
        /// What.
        publication: Arc<Publication>,
    },
    /// So many publications were dropped before the next one, because the client was too slow for them.
    Dropped(SubscriptionId, u32),
    /// The subscription to a topic is no more: something is missing that only a recovery can bring.
    Gapped(SubscriptionId),
    /// What the protocol put in itself.
    Reply(Bytes),
    /// What the runtime says, but for events.
    Told(Box<Reply>),
    /// An event of the durable session that is followed: each once, in order.
    Event {
        /// Its number.
        seq: u64,
        /// What.
        entry: Arc<Entry>,
    },
}

/// What waits in an outbox.
#[derive(Debug)]
pub(crate) enum Queued {
    Started(SubscriptionId, Started),
    Batch { subscription: SubscriptionId, view: Arc<View>, batch: Arc<Batch>, from: usize, list: u64, bytes: usize },
    Synced { subscription: SubscriptionId, position: Position },
    Ended(SubscriptionId, EndReason),
    TooLarge(SubscriptionId, usize),
    Publication { subscription: SubscriptionId, publication: Arc<Publication>, bytes: usize },
    Gapped(SubscriptionId),
    Reply(Bytes),
    Told(Box<Reply>),
}

impl Queued {
    /// Bytes and frames that count against the batches' bound.
    pub(crate) fn weight(&self) -> (usize, usize) {
        match self {
            Queued::Batch { batch, from, bytes, .. } => (*bytes, batch.deltas.len().saturating_sub(*from)),
            Queued::Publication { bytes, .. } => (*bytes, 1),
            Queued::Synced { .. } => (ITEM_BYTES, 1),
            _ => (0, 0),
        }
    }

    /// Bytes that count against the replies' bound.
    pub(crate) fn reply_bytes(&self) -> usize {
        match self {
            Queued::Batch { .. } | Queued::Synced { .. } | Queued::Publication { .. } => 0,
            Queued::Reply(bytes) => bytes.len() + ITEM_BYTES,
            Queued::Told(reply) => told::bytes(reply) + ITEM_BYTES,
            _ => ITEM_BYTES,
        }
    }

    /// The subscription, where this gives way to an overflow.
    pub(crate) fn live_of(&self) -> Option<SubscriptionId> {
        match self {
            Queued::Batch { subscription, .. } | Queued::Synced { subscription, .. } => Some(*subscription),
            _ => None,
        }
    }
}
