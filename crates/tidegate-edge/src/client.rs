//! One live connection, as its worker holds it.

use std::cell::{Cell, RefCell};
use std::rc::Weak;
use std::task::Waker;

use futures_util::task::noop_waker_ref;
use tidegate_live::ClientId;
use tidegate_session::{CloseReason, Session};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::time::delay_queue::Key;

use crate::socket::Socket;
use crate::strangers::StrangerId;
use crate::stream::Stream;

/// What a client's frames travel on.
#[expect(clippy::large_enum_variant, reason = "most are sockets, and another allocation would cost them more")]
pub(crate) enum Carrier {
    Socket(Socket),
    Stream(Stream),
    /// It has ended, and its place is free, though hyper may still hold its body.
    Gone,
}

/// Someone who has not said yet who that is.
pub(crate) enum Stranger {
    /// A socket without a request; cancelling cuts it.
    Socket(CancellationToken),
    /// A WebSocket without credentials.
    Client(Weak<Client>),
}

/// One live connection.
pub(crate) struct Client {
    pub(crate) id: ClientId,
    pub(crate) carrier: RefCell<Carrier>,
    /// Of the task that moves its bytes.
    pub(crate) waker: RefCell<Waker>,
    pub(crate) is_dirty: Cell<bool>,
    /// Its entry in the timer, and what is due then.
    pub(crate) timer: RefCell<Option<(Key, Instant)>>,
    pub(crate) stranger: Cell<Option<StrangerId>>,
}

impl Client {
    pub(crate) fn new(id: ClientId, carrier: Carrier) -> Self {
        Self {
            id,
            carrier: RefCell::new(carrier),
            waker: RefCell::new(noop_waker_ref().clone()),
            is_dirty: Cell::new(false),
            timer: RefCell::default(),
            stranger: Cell::new(None),
        }
    }

    /// Its place among the clients of its worker.
    pub(crate) fn slot(&self) -> usize {
        slot_of(self.id)
    }

    pub(crate) fn set_waker(&self, waker: &Waker) {
        if !self.waker.borrow().will_wake(waker) {
            *self.waker.borrow_mut() = waker.clone();
        }
    }
}

/// The place of whoever has this number.
pub(crate) fn slot_of(id: ClientId) -> usize {
    (id.0 & u64::from(u32::MAX)) as usize
}

impl Carrier {
    pub(crate) fn session(&mut self) -> Option<&mut Session> {
        match self {
            Carrier::Socket(socket) => Some(&mut socket.session),
            Carrier::Stream(stream) => Some(&mut stream.session),
            Carrier::Gone => None,
        }
    }

    /// Whether it has not been told to go.
    pub(crate) fn is_staying(&self) -> bool {
        match self {
            Carrier::Socket(socket) => socket.is_open(),
            Carrier::Stream(stream) => stream.is_staying(),
            Carrier::Gone => false,
        }
    }

    /// Has revocations find it; why to close it, where one came before.
    pub(crate) fn attach(&mut self) -> Option<CloseReason> {
        match self {
            Carrier::Socket(socket) => socket.attach(),
            Carrier::Stream(stream) => stream.attach(),
            Carrier::Gone => None,
        }
    }

    pub(crate) fn due(&self) -> Option<Instant> {
        match self {
            Carrier::Socket(socket) => socket.due(),
            Carrier::Stream(stream) => Some(stream.due()),
            Carrier::Gone => None,
        }
    }
}
