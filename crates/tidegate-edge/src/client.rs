//! One live connection, as its worker holds it.

use std::cell::{Cell, RefCell};
use std::rc::Weak;
use std::task::Waker;

use futures_util::task::noop_waker_ref;
use tidegate_identity::Principal;
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

/// The public name of a client: `c_` and a number in 32 hex digits, which says on which worker it is and which of its clients
/// it is. Half of it is random: nobody is found by guessing.
pub(crate) struct Name;

/// Bits for the place among a worker's clients, and for how often places were given: together with the worker's number
/// these are 64.
const SLOT_BITS: u32 = 22;
const GENERATION_BITS: u32 = 32;

impl Name {
    pub(crate) fn number(worker: usize, id: ClientId, random: u64) -> u128 {
        let generation = id.0 >> 32;
        let low = (worker as u64) << (SLOT_BITS + GENERATION_BITS) | generation << SLOT_BITS | slot_of(id) as u64;
        u128::from(random) << 64 | u128::from(low)
    }

    pub(crate) fn parse(name: &str) -> Option<u128> {
        let digits = name.strip_prefix("c_").filter(|digits| digits.len() == 32)?;
        // A sign would be read too.
        let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        is_hex.then(|| u128::from_str_radix(digits, 16).ok()).flatten()
    }
}

/// The worker of a client of this number.
pub(crate) fn worker_of(number: u128) -> usize {
    (number as u64 >> (SLOT_BITS + GENERATION_BITS)) as usize
}

/// Which of its worker's clients it is.
pub(crate) fn id_of(number: u128) -> ClientId {
    let low = number as u64;
    let generation = low >> SLOT_BITS & u64::from(u32::MAX);
    ClientId(generation << 32 | low & ((1 << SLOT_BITS) - 1))
}

impl Carrier {
    pub(crate) fn session(&mut self) -> Option<&mut Session> {
        match self {
            Carrier::Socket(socket) => Some(&mut socket.session),
            Carrier::Stream(stream) => Some(&mut stream.session),
            Carrier::Gone => None,
        }
    }

    /// The session of one who has said who that is.
    pub(crate) fn known(&mut self) -> Option<(&mut Session, &Principal)> {
        match self {
            Carrier::Socket(socket) => socket.known(),
            Carrier::Stream(stream) => stream.known(),
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
            Carrier::Stream(stream) => stream.due(),
            Carrier::Gone => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_where_its_client_is() {
        let id = ClientId(0xffff_fff0 << 32 | 0x3f_fff1);
        let number = Name::number(1_023, id, u64::MAX - 1);
        let name = format!("c_{number:032x}");
        assert_eq!(Name::parse(&name), Some(number));
        assert_eq!((worker_of(number), id_of(number)), (1_023, id));
        for bad in ["", "c_", "c_1", &name[2..], &format!("{name}0"), "c_+123456789012345678901234567890a"] {
            assert_eq!(Name::parse(bad), None, "{bad}");
        }
    }
}
