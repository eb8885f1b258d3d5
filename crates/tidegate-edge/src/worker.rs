//! An edge worker: a thread that owns its clients and everything about them.
//!
//! It runs a single-threaded runtime with
//! - a task for each socket: HTTP at first ([`crate::http`]), then, for a WebSocket, the little that wakes it to read;
//! - *the turn*: takes what the live workers delivered, hands it to the sessions of the clients concerned, and then writes
//!   to each of these once;
//! - the timer: pings, timeouts, pauses, by a queue with one entry a client;
//! - on a drain, the paced closes.
//!
//! Nothing here ever waits for one client's socket, nor for the live engine: so the engine may wait for a worker that has
//! too much to do, and nobody else does.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use bytes::Bytes;
use slab::Slab;
use tidegate_live::{ClientId, Parcel, Sink};
use tidegate_session::runtime::Letter;
use tidegate_session::{Room, Session};
use tidegate_topics::{Hub, Passed};
use tidegate_ws::Decoder;
use tokio::sync::{Notify, mpsc};
use tokio::task::{spawn_local, yield_now};
use tokio::time::Instant;
use tokio_util::time::DelayQueue;

use crate::admitted::Admitted;
use crate::client::{Carrier, Client, Name, Stranger, slot_of};
use crate::mail::Mail;
use crate::metrics::count;
use crate::protocol::Protocol;
use crate::register::Register;
use crate::socket::{Life, Scratch, Socket};
use crate::strangers::Strangers;
use crate::stream::Cut;
use crate::wire::Wire;
use crate::{Edge, EdgeMetrics};

mod errands;
mod guests;
mod revoking;
mod time;

/// Turns of live workers that wait for a worker. Past it the live workers wait.
pub(crate) const DELIVERIES_MAX: usize = 256;
/// Clients written to before the inbox is looked at again.
const LOOKS: usize = 16;
/// Publications handed over before all whom they concern are written to, and their bytes: so many fit an outbox, and who is
/// closed for being slow is slow.
const PASSED: usize = 256;
const PASSED_BYTES: usize = 64 << 10;
/// Clients written to before sockets are looked at again.
const FLUSHES: usize = 128;

/// How live workers reach a worker.
pub(crate) struct Port {
    deliveries: mpsc::Sender<Vec<Parcel>>,
    metrics: Arc<EdgeMetrics>,
}

impl Sink for Port {
    fn deliver(&self, parcels: Vec<Parcel>) {
        count(&self.metrics.queued);
        // Fails only where the worker has ended, and its clients with it.
        if let Err(mpsc::error::TrySendError::Full(parcels)) = self.deliveries.try_send(parcels) {
            let _ = self.deliveries.blocking_send(parcels);
        }
    }
}

/// A way in for what live workers deliver, and its other end.
pub(crate) fn port(metrics: Arc<EdgeMetrics>) -> (Arc<Port>, mpsc::Receiver<Vec<Parcel>>) {
    let (deliveries, inbox) = mpsc::channel(DELIVERIES_MAX);
    (Arc::new(Port { deliveries, metrics }), inbox)
}

/// One worker's state. Shared by the tasks of its thread; no borrow lives across an await.
pub(crate) struct Worker {
    pub(crate) edge: Edge,
    number: usize,
    room: Rc<Room>,
    clients: RefCell<Slab<Rc<Client>>>,
    generation: Cell<u32>,
    /// Clients to be written to.
    dirty: RefCell<VecDeque<Rc<Client>>>,
    scratch: RefCell<Scratch>,
    timers: RefCell<DelayQueue<ClientId>>,
    inbox: RefCell<mpsc::Receiver<Vec<Parcel>>>,
    mail: RefCell<Mail>,
    hub: Rc<Hub>,
    /// Told when something of a topic waits.
    passed_on: Arc<Notify>,
    /// What of topics was taken and is being handed over.
    passed: RefCell<Vec<Passed>>,
    /// Whether whom that concerns is yet to be written to.
    has_passed_on: Cell<bool>,
    strangers: RefCell<Strangers<Stranger>>,
    pub(crate) register: Rc<Register>,
    emptied: Notify,
    epoch: Instant,
}

impl Worker {
    pub(crate) fn new(
        number: usize,
        edge: Edge,
        room: Room,
        inbox: mpsc::Receiver<Vec<Parcel>>,
        passed_on: Arc<Notify>,
        strangers_max: usize,
        mail: Mail,
    ) -> Rc<Self> {
        let register = Rc::<Register>::default();
        Rc::new(Self {
            edge,
            number,
            hub: room.hub.clone(),
            passed_on,
            passed: RefCell::default(),
            has_passed_on: Cell::new(false),
            room: Rc::new(room),
            clients: RefCell::default(),
            generation: Cell::new(0),
            dirty: RefCell::default(),
            scratch: RefCell::new(Scratch::new(register.clone())),
            timers: RefCell::default(),
            inbox: RefCell::new(inbox),
            mail: RefCell::new(mail),
            strangers: RefCell::new(Strangers::new(strangers_max)),
            register,
            emptied: Notify::new(),
            epoch: Instant::now(),
        })
    }

    /// Makes a client: `make` is given its session.
    pub(crate) fn enter<E>(&self, make: impl FnOnce(Session) -> Result<Carrier, E>) -> Result<Rc<Client>, E> {
        self.generation.set(self.generation.get().wrapping_add(1));
        let slot = self.clients.borrow().vacant_key();
        // A delivery that is under way must not reach whoever has the slot next.
        let id = ClientId(u64::from(self.generation.get()) << 32 | slot as u64);
        let session = Session::new(self.room.clone(), id, Name::number(self.number, id, rand::random()));
        let client = Rc::new(Client::new(id, make(session)?));
        self.clients.borrow_mut().insert(client.clone());
        let ended = client.carrier.borrow_mut().attach();
        if let Some(reason) = ended {
            self.close(&client, reason);
        }
        self.set_timer(&client);
        Ok(client)
    }

    /// Makes a client of a WebSocket that has been opened, with the bytes that came behind its handshake.
    pub(crate) fn open(
        self: &Rc<Self>,
        wire: Wire,
        early: Bytes,
        decoder: Decoder,
        protocol: Box<dyn Protocol>,
        admitted: Admitted,
    ) {
        let now = Instant::now();
        let entered = self.enter(|session| {
            let socket = Socket::new(session, wire, decoder, protocol, admitted, early, now);
            Ok::<_, std::convert::Infallible>(Carrier::Socket(socket))
        });
        let Ok(client) = entered;
        if matches!(&*client.carrier.borrow(), Carrier::Socket(socket) if socket.is_stranger()) {
            client.stranger.set(Some(self.meet(Stranger::Client(Rc::downgrade(&client)))));
        }
        let worker = self.clone();
        spawn_local(poll_fn(move |cx| worker.poll_socket(&client, cx)));
    }

    fn poll_socket(&self, client: &Rc<Client>, cx: &mut Context<'_>) -> Poll<()> {
        if !self.has(client) {
            return Poll::Ready(());
        }
        client.set_waker(cx.waker());
        let polled = self.run(client, |carrier, scratch| match carrier {
            Carrier::Socket(socket) => (socket.poll(cx, scratch), socket.is_stranger()),
            Carrier::Stream(_) | Carrier::Gone => (Life::Over, false),
        });
        let Some((life, is_stranger)) = polled else { return Poll::Ready(()) };
        if !is_stranger && let Some(stranger) = client.stranger.take() {
            self.know(stranger);
        }
        if life == Life::Over {
            self.leave(client);
            return Poll::Ready(());
        }
        self.set_timer(client);
        Poll::Pending
    }

    /// What is to be sent to a stream now. Called by the task that moves its bytes.
    pub(crate) fn poll_stream(&self, client: &Rc<Client>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Cut>>> {
        client.set_waker(cx.waker());
        let polled = self.run(client, |carrier, scratch| match carrier {
            Carrier::Stream(stream) => Some((stream.poll(cx, scratch), stream.is_stranger())),
            Carrier::Socket(_) | Carrier::Gone => None,
        });
        let Some((polled, is_stranger)) = polled.flatten() else { return Poll::Ready(Some(Err(Cut))) };
        if !is_stranger && let Some(stranger) = client.stranger.take() {
            self.know(stranger);
        }
        self.set_timer(client);
        polled.map(|bytes| bytes.map(Ok))
    }

    /// Calls a client's own code. Where that panics the client ends, and nobody else: the turn and the timer are everybody's.
    fn run<T>(&self, client: &Rc<Client>, call: impl FnOnce(&mut Carrier, &mut Scratch) -> T) -> Option<T> {
        let call = || call(&mut client.carrier.borrow_mut(), &mut self.scratch.borrow_mut());
        let done = catch_unwind(AssertUnwindSafe(call));
        if done.is_err() {
            tracing::error!("a client's code panicked; its connection is cut: this is a bug");
            self.leave(client);
            client.waker.borrow().wake_by_ref();
        }
        done.ok()
    }

    /// Forgets a client. Its subscriptions end with the last handle on it.
    pub(crate) fn leave(&self, client: &Rc<Client>) {
        if self.has(client) {
            self.clients.borrow_mut().remove(client.slot());
        }
        // Its place, its session and its socket go now, whoever still holds the client.
        drop(client.carrier.replace(Carrier::Gone));
        if let Some(stranger) = client.stranger.take() {
            self.know(stranger);
        }
        if self.clients.borrow().is_empty() {
            self.emptied.notify_one();
        }
        if let Some((key, _)) = client.timer.borrow_mut().take() {
            self.timers.borrow_mut().try_remove(&key);
        }
    }

    fn has(&self, client: &Rc<Client>) -> bool {
        self.clients.borrow().get(client.slot()).is_some_and(|other| Rc::ptr_eq(other, client))
    }

    fn client(&self, id: ClientId) -> Option<Rc<Client>> {
        self.clients.borrow().get(slot_of(id)).filter(|client| client.id == id).cloned()
    }

    /// Takes what is delivered and passed on for as long as the engine lives.
    pub(crate) async fn take_turns(self: Rc<Self>) {
        let (mut gathered, mut letters) = (Vec::new(), Vec::new());
        loop {
            tokio::select! {
                count = poll_fn(|cx| self.inbox.borrow_mut().poll_recv_many(cx, &mut gathered, DELIVERIES_MAX)) => {
                    if count == 0 {
                        return;
                    }
                }
                () = self.passed_on.notified() => {}
                () = poll_fn(|cx| self.mail.borrow_mut().poll(cx, &mut letters)) => {}
            }
            gathered.drain(..).for_each(|parcels| self.hand_over(parcels));
            letters.drain(..).for_each(|bundle| self.hand_out(bundle));
            self.pass_on();
            while self.flush() {
                yield_now().await;
            }
            if !self.hub.port().is_empty() {
                // Who had more than goes out at once goes on before there is more.
                yield_now().await;
            }
        }
    }

    fn hand_over(&self, parcels: Vec<Parcel>) {
        self.edge.metrics().queued.fetch_sub(1, Ordering::Relaxed);
        let clients = self.clients.borrow();
        let mut dirty = self.dirty.borrow_mut();
        for Parcel { to, delivery } in parcels {
            for address in to {
                let deliver = |session: &mut Session| session.deliver(address.subscription, delivery.clone());
                hand_to(&clients, &mut dirty, address.client, deliver);
            }
        }
    }

    /// Hands over what the runtime has for its connections.
    fn hand_out(&self, letters: Vec<Letter>) {
        let clients = self.clients.borrow();
        let mut dirty = self.dirty.borrow_mut();
        for Letter { to, reply } in letters {
            hand_to(&clients, &mut dirty, to, |session| session.hear(reply));
        }
    }

    /// The number of the port over which the runtime reaches this worker's connections.
    pub(crate) fn mailbox(&self) -> Option<u64> {
        self.mail.borrow().port()
    }

    /// Hands over some of what happened in topics, if everybody whom the last concerned has been written to.
    fn pass_on(&self) {
        if self.has_passed_on.get() {
            return;
        }
        let mut passed = self.passed.borrow_mut();
        let gapped = self.hub.port().take(PASSED, PASSED_BYTES, &mut passed);
        if passed.is_empty() && gapped.is_empty() {
            return;
        }
        self.has_passed_on.set(true);
        let clients = self.clients.borrow();
        let mut dirty = self.dirty.borrow_mut();
        for item in passed.drain(..) {
            self.hub.each(&item, |address| {
                let publish = |session: &mut Session| session.publish(address.subscription, &item.publication);
                hand_to(&clients, &mut dirty, address.client, publish);
            });
        }
        for topic in gapped {
            // More was published than a worker takes, or its history was forgotten.
            tracing::warn!(
                topic = &*topic.name,
                "subscribers of a topic cannot be told everything; they have to recover"
            );
            self.hub.subscribers(&topic, |address| {
                hand_to(&clients, &mut dirty, address.client, |session| session.gap(address.subscription));
            });
        }
    }

    /// Has a client written to.
    fn mark(&self, client: &Rc<Client>) {
        if !client.is_dirty.replace(true) {
            self.dirty.borrow_mut().push_back(client.clone());
        }
    }

    /// Writes to some of the clients that something was delivered to; whether there are more. What comes meanwhile goes out
    /// with what those who are still to be written to have waiting.
    fn flush(&self) -> bool {
        for count in 1..=FLUSHES {
            let Some(client) = self.dirty.borrow_mut().pop_front() else {
                if self.has_passed_on.take() && !self.hub.port().is_empty() {
                    // The rest has its turn.
                    self.passed_on.notify_one();
                }
                return false;
            };
            client.is_dirty.set(false);
            self.flush_client(&client);
            if count % LOOKS == 0 {
                self.take_delivered();
            }
        }
        true
    }

    fn flush_client(&self, client: &Rc<Client>) {
        let waker = client.waker.borrow();
        let wake = self.run(client, |carrier, scratch| match carrier {
            Carrier::Socket(socket) => socket.flush(&mut Context::from_waker(&waker), scratch),
            Carrier::Stream(stream) => {
                stream.note_waiting(Instant::now());
                true
            }
            Carrier::Gone => false,
        });
        if wake == Some(true) {
            waker.wake_by_ref();
        }
        // What was told may have set a time of the protocol's own.
        self.set_timer(client);
    }
}

/// Hands something to the session of a client, if that is there, and has it written to.
fn hand_to(
    clients: &Slab<Rc<Client>>,
    dirty: &mut VecDeque<Rc<Client>>,
    id: ClientId,
    hand: impl FnOnce(&mut Session),
) {
    let Some(client) = clients.get(slot_of(id)).filter(|client| client.id == id) else { return };
    let mut carrier = client.carrier.borrow_mut();
    let Some(session) = carrier.session() else { return };
    hand(session);
    if !client.is_dirty.replace(true) {
        dirty.push_back(client.clone());
    }
}
