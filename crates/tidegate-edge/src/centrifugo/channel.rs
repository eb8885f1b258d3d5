//! What a client is subscribed to.

use std::sync::Arc;

use tidegate_model::SubscriptionId;
use tidegate_topics::{Publication, Published, Record};
use tokio::time::Instant;

use super::filter::Filter;
use super::live::Watched;
use super::push::Form;
use super::wire::Request;

/// One subscription, by the name that the client knows it by.
pub(super) struct Channel {
    pub(super) name: Box<str>,
    pub(super) id: SubscriptionId,
    pub(super) kind: Kind,
}

pub(super) enum Kind {
    Topic(Told),
    Live(Box<Watched>),
}

/// How what happens in a topic is told.
pub(super) struct Told {
    pub(super) form: Form,
    /// Which publications are wanted.
    pub(super) filter: Option<Box<Filter>>,
    pub(super) base: Base,
    /// Whether the client knows where it is, so that a gap means to recover.
    pub(super) is_positioned: bool,
    /// Whether something else than permissions let it in: a token, or a server.
    pub(super) is_granted: bool,
    pub(super) expires_at: Option<Instant>,
    /// Of a map whose state is still being told, page by page: where the first page was.
    pub(super) paging: Option<Published>,
}

/// What a difference can be told to.
pub(super) enum Base {
    /// To the publication that was told last, whatever its key.
    Last(Option<Arc<Record>>),
    /// The client has the value of each key. Up to this offset it may have one that is newer than the one before.
    Keys(u64),
}

impl Base {
    /// Whether the client has what the publication differs from.
    pub(super) fn has_previous(&self, publication: &Publication) -> bool {
        let Some(previous) = &publication.previous else { return false };
        match self {
            Self::Last(last) => last.as_ref().is_some_and(|last| is_same(last, previous)),
            Self::Keys(upto) => publication.record.key.is_some() && publication.record.offset > *upto,
        }
    }

    pub(super) fn told(&mut self, record: &Arc<Record>) {
        if let Self::Last(last) = self {
            *last = Some(record.clone());
        }
    }
}

fn is_same(a: &Arc<Record>, b: &Arc<Record>) -> bool {
    Arc::ptr_eq(a, b) || (a.offset > 0 && a.offset == b.offset && a.epoch == b.epoch)
}

impl Channel {
    pub(super) fn told(&mut self) -> Option<&mut Told> {
        match &mut self.kind {
            Kind::Topic(told) => Some(told),
            Kind::Live(_) => None,
        }
    }

    pub(super) fn expires_at(&self) -> Option<Instant> {
        match &self.kind {
            Kind::Topic(told) => told.expires_at,
            Kind::Live(_) => None,
        }
    }
}

impl Request {
    /// The channel that it concerns, if it is one's.
    pub(super) fn channel(&self) -> Option<&str> {
        match self {
            Self::Subscribe(request) => Some(&request.channel),
            Self::Unsubscribe(request) => Some(&request.channel),
            Self::Publish(request) => Some(&request.channel),
            Self::Presence(request) => Some(&request.channel),
            Self::PresenceStats(request) => Some(&request.channel),
            Self::History(request) => Some(&request.channel),
            Self::SubRefresh(request) => Some(&request.channel),
            Self::Connect(_) | Self::Ping | Self::Send(_) | Self::Rpc(_) | Self::Refresh(_) => None,
        }
    }
}
