//! What anybody in the process may want done on connections, wherever they are.

use std::sync::{Arc, Mutex, PoisonError};

use axum::http::StatusCode;
use bytes::Bytes;
use tidegate_identity::Principal;
use tidegate_model::Tenant;
use tidegate_session::Session;
use tidegate_topics::{Data, Since};
use tokio::sync::{mpsc, oneshot};

use crate::client::{Name, worker_of};
use crate::stream::{Letterbox, unknown};
use crate::{ApiError, Edge};

/// Orders that wait for one worker; past it they are refused.
const ORDERS_MAX: usize = 4_096;

/// Whose connections.
#[derive(Debug, Clone)]
pub enum To {
    /// One, by its public name.
    Client(Arc<str>),
    /// All of a user, in one tenant (that of its topics, so the common one too) or in whichever (`None`).
    User {
        /// The user's name.
        user: Arc<str>,
        /// Only there.
        tenant: Option<Tenant>,
    },
    /// Everybody's of a tenant, or of all (`None`). Those of no tenant are of the common one.
    Everybody {
        /// Only there.
        tenant: Option<Tenant>,
    },
}

/// What is to be done. A protocol does of it what it can and ignores the rest.
#[derive(Debug, Clone)]
pub enum Order {
    /// Subscribe the client to a topic, as if it had wished to and might.
    Subscribe {
        /// Where.
        topic: Arc<str>,
        /// Up to where the client has seen it.
        since: Option<Since>,
        /// What the client is told with it.
        data: Option<Bytes>,
    },
    /// End its subscription to a topic.
    Unsubscribe {
        /// Where.
        topic: Arc<str>,
    },
    /// Close the connection.
    Dismiss {
        /// For protocols that have codes of their own.
        code: Option<u16>,
        /// The same in words.
        reason: Option<Arc<str>>,
    },
    /// A whole message of the event protocol.
    Emit(Bytes),
    /// What the application has to say to the client, outside of topics.
    Send(Data),
    /// The identity ends at another time now: milliseconds since 1970, `None` for never.
    Refresh(Option<u64>),
}

type Visit = Box<dyn FnOnce(Option<(&mut Session, &Principal)>) + Send>;

/// An order on its way to a worker.
pub(crate) enum Errand {
    Order(To, Order),
    /// For the client of that number.
    Visit(u128, Visit),
    /// A message of a client's that came on another request than its stream, and where to say what became of it.
    Letter(Letterbox, Bytes, oneshot::Sender<Result<(), ApiError>>),
}

/// A worker's way in for orders, and its other end until the worker has it.
pub(crate) struct Desk {
    way_in: mpsc::Sender<Errand>,
    other_end: Mutex<Option<mpsc::Receiver<Errand>>>,
}

impl Desk {
    pub(crate) fn new() -> Self {
        let (way_in, other_end) = mpsc::channel(ORDERS_MAX);
        Self { way_in, other_end: Mutex::new(Some(other_end)) }
    }

    /// A worker that has ended has nobody whom it could concern.
    fn put(&self, errand: Errand) -> Result<(), ApiError> {
        match self.way_in.try_send(errand) {
            Err(mpsc::error::TrySendError::Full(_)) => Err(overloaded()),
            _ => Ok(()),
        }
    }

    /// Once, by its worker.
    pub(crate) fn take(&self) -> Option<mpsc::Receiver<Errand>> {
        self.other_end.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Edge {
    /// Has something done on connections; each does it soon, and in the order in which it was asked. Nobody there is no error.
    ///
    /// # Errors
    /// `503 overloaded`: a worker has as many orders waiting as it takes. Others may have got it.
    pub fn dispatch(&self, to: &To, order: &Order) -> Result<(), ApiError> {
        let desks = self.desks();
        let meant = match to {
            To::Client(name) => match Name::parse(name).and_then(|name| desks.get(worker_of(name))) {
                Some(desk) => std::slice::from_ref(desk),
                None => return Ok(()),
            },
            _ => desks,
        };
        // Everywhere, whoever has no room.
        let full = meant.iter().filter(|desk| desk.put(Errand::Order(to.clone(), order.clone())).is_err()).count();
        if full == 0 { Ok(()) } else { Err(overloaded()) }
    }

    /// Calls `call` with the session of a client and who it is, on its worker's thread; `None` where nobody of that name is
    /// connected.
    ///
    /// # Errors
    /// As [`Edge::dispatch`].
    pub async fn visit<T: Send + 'static>(
        &self,
        name: &str,
        call: impl FnOnce(&mut Session, &Principal) -> T + Send + 'static,
    ) -> Result<Option<T>, ApiError> {
        let Some(number) = Name::parse(name) else { return Ok(None) };
        let Some(desk) = self.desks().get(worker_of(number)) else { return Ok(None) };
        let (tell, told) = oneshot::channel();
        let visit: Visit =
            Box::new(move |client| drop(tell.send(client.map(|(session, principal)| call(session, principal)))));
        desk.put(Errand::Visit(number, visit))?;
        // A worker that has ended has no clients.
        Ok(told.await.unwrap_or(None))
    }
}

impl Edge {
    /// Hands a message to the stream that it is for.
    ///
    /// # Errors
    /// `404 unknown_session`, `429` where messages come too fast, and as [`Edge::dispatch`].
    pub(crate) async fn hand_in(&self, to: Letterbox, message: Bytes) -> Result<(), ApiError> {
        let desk = self.desks().get(worker_of(to.number)).ok_or_else(unknown)?;
        let (tell, told) = oneshot::channel();
        desk.put(Errand::Letter(to, message, tell))?;
        told.await.unwrap_or_else(|_| Err(unknown()))
    }
}

fn overloaded() -> ApiError {
    let message = "the gateway has more to do than it takes; try again";
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", message)
}
