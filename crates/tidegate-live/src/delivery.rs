//! The seam to the right: what a subscriber is handed, and by what handle it answers.

use std::sync::Arc;

use smallvec::SmallVec;
pub use tidegate_model::{Address, ClientId, SubscriptionId};
use tidegate_model::{Batch, Position, Query, Token};

/// What all subscribers of a view share: enough to encode its deltas and name places in its life.
#[derive(Debug)]
pub struct View {
    /// The effective query; where nobody had asked for it before, the first subscriber's own.
    pub query: Arc<Query>,
    /// Of the store.
    pub incarnation: u64,
    /// Of the query, as tokens carry it.
    pub fingerprint: u64,
}

impl View {
    /// The token after `applied` frames of a batch: of its end, if these are all.
    #[must_use]
    pub fn token(&self, batch: &Batch, applied: usize) -> Token {
        Token {
            incarnation: self.incarnation,
            fingerprint: self.fingerprint,
            position: batch.position,
            kind: batch.kind,
            frame: (applied < batch.deltas.len()).then_some(applied as u32),
        }
    }
}

/// Why a subscription ended without its owner's wish.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndReason {
    /// A scan failed; subscribing again may work.
    #[error("the store could not be read; subscribe again")]
    StoreFailed,
    /// The cap on views is reached; subscribing again later may work.
    #[error("the gateway holds as many views as it may; subscribe again later")]
    TooManyViews,
    /// The entity can't be served, for this reason; subscribing again may work once it is mended.
    #[error("{0}")]
    Unavailable(Arc<str>),
}

/// One thing for one subscription.
#[derive(Debug, Clone)]
pub enum Delivery {
    /// The feed is joined: everything after this is exact. Answers the subscribe or re-anchor of number `request`, and
    /// any before it that it overtook. If not `resumed`, a snapshot batch (`reset` … `ready`) follows at once. A snapshot
    /// without this before it replaces the set of a streamed query whose entity was reloaded.
    Started {
        /// The number given with the command.
        request: u64,
        /// Whether the client's list stays and goes on from its token.
        resumed: bool,
        /// Where the view is.
        position: Position,
    },
    /// Deltas, all of one position, of which those from index `from` on are for this subscriber.
    Batch {
        /// The view they are of.
        view: Arc<View>,
        /// Shared by all subscribers of the view.
        batch: Arc<Batch>,
        /// Greater than 0 only where a resume goes on inside a batch.
        from: usize,
    },
    /// Everything up to here has been delivered. Only to those who asked for it.
    Synced {
        /// The position reached.
        position: Position,
    },
    /// Nothing more will come.
    Ended(EndReason),
}

/// One delivery for one or many subscriptions of a [`Sink`].
#[derive(Debug, Clone)]
pub struct Parcel {
    /// Whom it is for: at least one, each at most once, in no order.
    pub to: SmallVec<[Address; 1]>,
    /// What each of them is handed.
    pub delivery: Delivery,
}

/// Takes deliveries for many clients: one worker of the edge. Few of them serve all subscriptions.
pub trait Sink: Send + Sync {
    /// Takes the deliveries of one turn of a live worker, at least one; those of one subscription come in order, and a
    /// few may still come after its end. Called on the live worker's thread. It may wait while the receiver has too much
    /// to do, so the receiver must never wait for the engine; and it must return once the receiver is gone. It must not
    /// call back into the engine.
    fn deliver(&self, parcels: Vec<Parcel>);
}
