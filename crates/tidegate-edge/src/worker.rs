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
use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures_util::task::noop_waker_ref;
use slab::Slab;
use tidegate_live::{ClientId, Parcel, Sink};
use tidegate_session::{CloseReason, Room, Session};
use tidegate_ws::Decoder;
use tokio::sync::{Notify, mpsc};
use tokio::task::{spawn_local, yield_now};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::time::DelayQueue;
use tokio_util::time::delay_queue::Key;

use crate::admitted::Admitted;
use crate::metrics::count;
use crate::protocol::Protocol;
use crate::socket::{Life, Scratch, Socket};
use crate::strangers::{StrangerId, Strangers};
use crate::stream::Stream;
use crate::wire::Wire;
use crate::{Edge, Refused};

/// Turns of live workers that wait for a worker. Past it the live workers wait.
pub(crate) const DELIVERIES_MAX: usize = 256;
/// Clients written to before sockets are looked at again.
const FLUSHES: usize = 128;
/// From this long an interval on pings are sent at whole seconds, many at once.
const COARSE: Duration = Duration::from_secs(5);
/// The longest that the timer is set for.
const FAR: Duration = Duration::from_secs(24 * 3600);

/// How live workers reach a worker.
pub(crate) struct Port {
    deliveries: mpsc::Sender<Vec<Parcel>>,
}

impl Sink for Port {
    fn deliver(&self, parcels: Vec<Parcel>) {
        // Fails only where the worker has ended, and its clients with it.
        if let Err(mpsc::error::TrySendError::Full(parcels)) = self.deliveries.try_send(parcels) {
            let _ = self.deliveries.blocking_send(parcels);
        }
    }
}

/// A way in for what live workers deliver, and its other end.
pub(crate) fn port() -> (Arc<Port>, mpsc::Receiver<Vec<Parcel>>) {
    let (deliveries, inbox) = mpsc::channel(DELIVERIES_MAX);
    (Arc::new(Port { deliveries }), inbox)
}

/// What a client's frames travel on.
#[expect(clippy::large_enum_variant, reason = "most clients are sockets")]
pub(crate) enum Carrier {
    Socket(Socket),
    Stream(Stream),
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
    id: ClientId,
    pub(crate) carrier: RefCell<Carrier>,
    /// Of the task that moves its bytes.
    waker: RefCell<Waker>,
    is_dirty: Cell<bool>,
    /// Its entry in the timer, and what is due then.
    timer: RefCell<Option<(Key, Instant)>>,
    stranger: Cell<Option<StrangerId>>,
}

/// One worker's state. Shared by the tasks of its thread; no borrow lives across an await.
pub(crate) struct Worker {
    pub(crate) edge: Edge,
    room: Arc<Room>,
    clients: RefCell<Slab<Rc<Client>>>,
    generation: Cell<u32>,
    dirty: RefCell<Vec<Rc<Client>>>,
    scratch: RefCell<Scratch>,
    timers: RefCell<DelayQueue<ClientId>>,
    inbox: RefCell<mpsc::Receiver<Vec<Parcel>>>,
    strangers: RefCell<Strangers<Stranger>>,
    emptied: Notify,
    epoch: Instant,
}

impl Worker {
    pub(crate) fn new(edge: Edge, room: Room, inbox: mpsc::Receiver<Vec<Parcel>>, strangers_max: usize) -> Rc<Self> {
        Rc::new(Self {
            edge,
            room: Arc::new(room),
            clients: RefCell::default(),
            generation: Cell::new(0),
            dirty: RefCell::default(),
            scratch: RefCell::new(Scratch::new()),
            timers: RefCell::default(),
            inbox: RefCell::new(inbox),
            strangers: RefCell::new(Strangers::new(strangers_max)),
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
        let carrier = RefCell::new(make(Session::new(self.room.clone(), id))?);
        let client = Rc::new(Client {
            id,
            carrier,
            waker: RefCell::new(noop_waker_ref().clone()),
            is_dirty: Cell::new(false),
            timer: RefCell::default(),
            stranger: Cell::new(None),
        });
        self.clients.borrow_mut().insert(client.clone());
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
        client.set_waker(cx.waker());
        let (life, is_stranger) = match &mut *client.carrier.borrow_mut() {
            Carrier::Socket(socket) => (socket.poll(cx, &mut self.scratch.borrow_mut()), socket.is_stranger()),
            Carrier::Stream(_) => (Life::Over, false),
        };
        if !is_stranger && let Some(stranger) = client.stranger.take() {
            self.know(stranger);
        }
        if life == Life::Over || !self.has(client) {
            self.leave(client);
            return Poll::Ready(());
        }
        self.set_timer(client);
        Poll::Pending
    }

    /// Forgets a client. Its subscriptions end with the last handle on it.
    pub(crate) fn leave(&self, client: &Rc<Client>) {
        if self.has(client) {
            self.clients.borrow_mut().remove(client.slot());
        }
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

    /// Someone who has yet to say who that is comes in; whoever has waited longest may have to go for it.
    pub(crate) fn meet(&self, stranger: Stranger) -> StrangerId {
        let (id, cut) = self.strangers.borrow_mut().enter(stranger);
        let metrics = self.edge.metrics();
        count(&metrics.strangers);
        match cut {
            None => return id,
            Some(Stranger::Socket(cut)) => cut.cancel(),
            Some(Stranger::Client(client)) => {
                if let Some(client) = client.upgrade() {
                    client.stranger.take();
                    self.close(&client, CloseReason::Overloaded);
                }
            }
        }
        metrics.strangers.fetch_sub(1, Ordering::Relaxed);
        metrics.refuse(Refused::Strangers);
        id
    }

    /// A stranger has said enough, or is gone.
    pub(crate) fn know(&self, stranger: StrangerId) {
        if self.strangers.borrow_mut().leave(stranger).is_some() {
            self.edge.metrics().strangers.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Waits until there is no client.
    pub(crate) async fn emptied(&self) {
        while self.clients() > 0 {
            self.emptied.notified().await;
        }
    }

    /// Clients that have not been told to go.
    pub(crate) fn staying(&self) -> Vec<Rc<Client>> {
        let clients = self.clients.borrow();
        clients
            .iter()
            .map(|(_, client)| client)
            .filter(|client| client.carrier.borrow().is_staying())
            .cloned()
            .collect()
    }

    /// How many clients there are.
    pub(crate) fn clients(&self) -> usize {
        self.clients.borrow().len()
    }

    /// Takes deliveries for as long as the engine lives.
    pub(crate) async fn take_turns(self: Rc<Self>) {
        let mut gathered = Vec::new();
        loop {
            let count = poll_fn(|cx| self.inbox.borrow_mut().poll_recv_many(cx, &mut gathered, DELIVERIES_MAX)).await;
            if count == 0 {
                return;
            }
            gathered.drain(..).for_each(|parcels| self.hand_over(parcels));
            while self.flush() {
                yield_now().await;
            }
        }
    }

    fn hand_over(&self, parcels: Vec<Parcel>) {
        let clients = self.clients.borrow();
        let mut dirty = self.dirty.borrow_mut();
        for Parcel { to, delivery } in parcels {
            for address in to {
                let found = clients.get(slot_of(address.client)).filter(|client| client.id == address.client);
                let Some(client) = found else { continue };
                client.carrier.borrow_mut().session().deliver(address.subscription, delivery.clone());
                if !client.is_dirty.replace(true) {
                    dirty.push(client.clone());
                }
            }
        }
    }

    /// Writes to some of the clients that something was delivered to; whether there are more.
    fn flush(&self) -> bool {
        for _ in 0..FLUSHES {
            let Some(client) = self.dirty.borrow_mut().pop() else { return false };
            client.is_dirty.set(false);
            self.flush_client(&client);
        }
        true
    }

    fn flush_client(&self, client: &Rc<Client>) {
        let waker = client.waker.borrow();
        let wake = match &mut *client.carrier.borrow_mut() {
            Carrier::Socket(socket) => socket.flush(&mut Context::from_waker(&waker), &mut self.scratch.borrow_mut()),
            Carrier::Stream(_) => true,
        };
        if wake {
            waker.wake_by_ref();
        }
    }

    /// Does what is due, for as long as the worker lives.
    pub(crate) async fn keep_time(self: Rc<Self>) {
        loop {
            let expired = poll_fn(|cx| match self.timers.borrow_mut().poll_expired(cx) {
                Poll::Ready(Some(expired)) => Poll::Ready(expired.into_inner()),
                // An empty queue wakes whoever looked when something is put in.
                Poll::Ready(None) | Poll::Pending => Poll::Pending,
            });
            let id = expired.await;
            self.tick(id);
        }
    }

    fn tick(&self, id: ClientId) {
        let Some(client) = self.client(id) else { return };
        client.timer.borrow_mut().take();
        // The position is read first, and then everything taken that was delivered: up to there a client that has been
        // handed all that waits for it misses nothing.
        let position = self.edge.live().position();
        self.take_delivered();
        let now = Instant::now();
        let waker = client.waker.borrow().clone();
        let (wake, life) = match &mut *client.carrier.borrow_mut() {
            Carrier::Socket(socket) => {
                let cx = &mut Context::from_waker(&waker);
                socket.tick(cx, &mut self.scratch.borrow_mut(), position, now)
            }
            Carrier::Stream(stream) => (stream.tick(now), Life::Goes),
        };
        self.after(&client, &waker, wake, life);
        while self.flush() {}
    }

    fn after(&self, client: &Rc<Client>, waker: &Waker, wake: bool, life: Life) {
        if life == Life::Over {
            self.leave(client);
        } else {
            self.set_timer(client);
        }
        if wake || life == Life::Over {
            waker.wake_by_ref();
        }
    }

    fn take_delivered(&self) {
        loop {
            let Ok(parcels) = self.inbox.borrow_mut().try_recv() else { return };
            self.hand_over(parcels);
        }
    }

    fn set_timer(&self, client: &Rc<Client>) {
        let due = client.carrier.borrow().due();
        let mut timer = client.timer.borrow_mut();
        match (&*timer, due) {
            // Later than what is set is soon enough: when that comes it is set anew.
            (Some((_, set)), Some(due)) if *set <= due => {}
            (Some((key, _)), Some(due)) => {
                let key = *key;
                self.timers.borrow_mut().reset_at(&key, self.coarse(due));
                *timer = Some((key, due));
            }
            (None, Some(due)) => {
                let key = self.timers.borrow_mut().insert_at(client.id, self.coarse(due));
                *timer = Some((key, due));
            }
            (_, None) => {}
        }
    }

    /// What is far off is moved up to a whole second, so that a thousand idle clients are one wake-up.
    fn coarse(&self, due: Instant) -> Instant {
        let now = Instant::now();
        if due.saturating_duration_since(now) < COARSE {
            return due;
        }
        // The queue takes no time that is years away; what comes early is set anew.
        let since = due.min(now + FAR) - self.epoch;
        self.epoch + Duration::from_secs(since.as_secs() + 1)
    }

    /// Asks a client to go, with a hint when to come back.
    pub(crate) fn dismiss(&self, client: &Rc<Client>, reconnect_after_ms: u64) {
        let waker = client.waker.borrow().clone();
        let life = match &mut *client.carrier.borrow_mut() {
            Carrier::Socket(socket) => {
                let text = format!("going_away; reconnect_after_ms={reconnect_after_ms}");
                socket.close_saying(CloseReason::GoingAway, &text, &mut self.scratch.borrow_mut())
            }
            Carrier::Stream(stream) => {
                stream.leave(reconnect_after_ms);
                Life::Goes
            }
        };
        self.after(client, &waker, true, life);
    }

    fn close(&self, client: &Rc<Client>, reason: CloseReason) {
        let waker = client.waker.borrow().clone();
        let life = match &mut *client.carrier.borrow_mut() {
            Carrier::Socket(socket) => socket.close(reason, &mut self.scratch.borrow_mut()),
            Carrier::Stream(_) => Life::Goes,
        };
        self.after(client, &waker, true, life);
    }
}

impl Client {
    fn slot(&self) -> usize {
        slot_of(self.id)
    }

    pub(crate) fn set_waker(&self, waker: &Waker) {
        if !self.waker.borrow().will_wake(waker) {
            *self.waker.borrow_mut() = waker.clone();
        }
    }
}

fn slot_of(id: ClientId) -> usize {
    (id.0 & u64::from(u32::MAX)) as usize
}

impl Carrier {
    fn session(&mut self) -> &mut Session {
        match self {
            Carrier::Socket(socket) => &mut socket.session,
            Carrier::Stream(stream) => &mut stream.session,
        }
    }

    /// Whether it has not been told to go.
    fn is_staying(&self) -> bool {
        match self {
            Carrier::Socket(socket) => socket.is_open(),
            Carrier::Stream(stream) => stream.is_staying(),
        }
    }

    fn due(&self) -> Option<Instant> {
        match self {
            Carrier::Socket(socket) => socket.due(),
            Carrier::Stream(stream) => Some(stream.due()),
        }
    }
}
