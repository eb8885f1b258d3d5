//! The application behind the gateway: what it answers to events of its own, and what it says about topics where it is asked.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use tidegate_identity::Principal;
use tidegate_model::{Answer, Later};
use tidegate_topics::{ClientInfo, Data, Topic};

use crate::edge::WeakEdge;
use crate::{ApiError, Edge, Order, To};

/// Who is connected, for as long as somebody wants to know. Cheap to clone; holds on to no connection, nor to the edge: what
/// is said to one that is gone is lost.
#[derive(Clone)]
pub struct Peer {
    edge: WeakEdge,
    name: Arc<str>,
    principal: Arc<Principal>,
}

/// What the application says to a subscribe that it lets pass.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Permit {
    /// What others see of the client in this topic, as JSON.
    pub chan_info: Option<Bytes>,
    /// What the client is told with the answer, as JSON.
    pub data: Option<Bytes>,
}

/// Answers for the application. No method waits; what takes time is in the answer, which is bounded in time by whoever
/// makes it.
pub trait Application: Send + Sync {
    /// Answers an event with JSON; whoever asked may be gone by then. `data` is JSON. `None` where nobody handles events of
    /// that name.
    fn event(&self, peer: &Peer, event: &str, data: &str) -> Option<Later<Bytes, ApiError>>;

    /// Whether a client may subscribe, asked after its permissions have been looked at, where the namespace says so.
    fn may_subscribe(&self, peer: &Peer, topic: &Arc<Topic>) -> Answer<Permit, ApiError>;

    /// The same about something that it publishes.
    fn may_publish(&self, peer: &Peer, topic: &Arc<Topic>, data: &Data) -> Answer<(), ApiError>;

    /// Somebody's identity is settled. Followed by one [`Application::disconnected`].
    fn connected(&self, _peer: &Peer) {}

    /// Somebody who was is no longer connected, or has become another.
    fn disconnected(&self, _peer: &Peer) {}
}

impl Peer {
    pub(crate) fn new(edge: &Edge, name: Arc<str>, principal: Arc<Principal>) -> Self {
        Self { edge: edge.downgrade(), name, principal }
    }

    /// Where it is connected; `None` once that has ended.
    #[must_use]
    pub fn edge(&self) -> Option<Edge> {
        self.edge.upgrade()
    }

    /// The connection's public name.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Who it is.
    #[must_use]
    pub fn principal(&self) -> &Arc<Principal> {
        &self.principal
    }

    /// As others see it.
    #[must_use]
    pub fn info(&self) -> ClientInfo {
        ClientInfo { client: self.name.clone(), user: self.principal.user.clone(), ..ClientInfo::default() }
    }

    /// Closes the connection.
    ///
    /// # Errors
    /// `overloaded`: its worker has more to do than it takes.
    pub fn dismiss(&self) -> Result<(), ApiError> {
        self.order(&Order::Dismiss { code: None, reason: None })
    }

    /// Has something done on the connection.
    ///
    /// # Errors
    /// As [`Edge::dispatch`].
    pub fn order(&self, order: &Order) -> Result<(), ApiError> {
        self.edge().map_or(Ok(()), |edge| edge.dispatch(&To::Client(self.name.clone()), order))
    }
}

/// Somebody of whom the application was told. Dropping it tells that they are gone, whatever the connection ended with.
pub(crate) struct Attendance {
    application: Arc<dyn Application>,
    peer: Peer,
}

impl Attendance {
    pub(crate) fn begin(application: Arc<dyn Application>, peer: Peer) -> Self {
        application.connected(&peer);
        Self { application, peer }
    }

    pub(crate) fn peer(&self) -> &Peer {
        &self.peer
    }

    /// The same one, with an identity that was settled anew.
    pub(crate) fn renew(&mut self, principal: Arc<Principal>) {
        self.peer.principal = principal;
    }
}

impl Drop for Attendance {
    fn drop(&mut self) {
        self.application.disconnected(&self.peer);
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer").field("name", &self.name).finish_non_exhaustive()
    }
}
