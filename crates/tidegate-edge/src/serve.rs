//! Accepting sockets, handing each to the worker that has the fewest, and letting go of them without a stampede.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use axum::Router;
use tidegate_session::Room;
use tidegate_topics::Hub;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Handle};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet, LocalSet, coop::unconstrained, spawn_local};
use tokio::time::{Instant, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admission::retry_after;
use crate::admitted::Seat;
use crate::cap::Place;
use crate::drain::{self, Drain};
use crate::http::Site;
use crate::mail::Mail;
use crate::metrics::count;
use crate::order::Desk;
use crate::worker::{Port, Worker};
use crate::{Edge, Refused, frames, http, memory, worker};

/// What a socket gets that is one too many.
const NO_ROOM: &str =
    r#"{"error":{"code":"capacity","message":"the gateway has as many sockets as it takes","retryable":true}}"#;
/// Sockets that are being refused at once; more are dropped without an answer.
const REFUSALS_MAX: usize = 256;
/// For a refused client to take its answer.
const REFUSAL_TIME: Duration = Duration::from_secs(1);
/// Beyond the drain window, for the last closing handshakes.
const CLOSE_TIME: Duration = Duration::from_secs(3);
/// On a drain, for a socket that was taken in before and has not said anything.
const SILENCE_TIME: Duration = Duration::from_millis(250);
/// After a failed accept: out of file descriptors, most likely.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Sockets on their way to one worker. Past it the socket is refused.
const INTAKE_MAX: usize = 4096;

/// What workers need of the process.
pub(crate) struct Outside {
    /// Everything that is no live connection.
    pub(crate) api: Router,
    /// Where that runs.
    pub(crate) runtime: Handle,
    pub(crate) requests: TaskTracker,
    /// Cancelled when the process stops.
    pub(crate) drain: CancellationToken,
    /// Cancelled when connections have outlived the drain.
    kill: CancellationToken,
}

/// A socket on its way to a worker.
struct Accepted {
    socket: std::net::TcpStream,
    peer: SocketAddr,
    place: Place,
}

/// A worker's thread, from outside.
struct Hand {
    intake: mpsc::Sender<Accepted>,
    /// Its sockets.
    load: Arc<AtomicUsize>,
}

/// Serves the edge's endpoints and `api` on every listener until `shutdown`; then every live connection is sent a close,
/// paced over the drain window, and this returns when all are gone, or soon after the window.
///
/// # Errors
/// A listener that can't be used at all, or a thread that can't be started. While serving, a failed accept is logged and
/// tried again.
pub async fn serve(
    edge: Edge,
    listeners: Vec<TcpListener>,
    api: Router,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let outside = Arc::new(Outside {
        api,
        runtime: Handle::current(),
        requests: TaskTracker::new(),
        drain: shutdown.clone(),
        kill: CancellationToken::new(),
    });
    let mut ended = JoinSet::new();
    let mut hands = Vec::new();
    for number in 0..edge.config().workers() {
        let (hand, end) = start(number, edge.clone(), outside.clone())?;
        hands.push(hand);
        ended.spawn(end);
    }
    let door = Arc::new(Door { edge: edge.clone(), hands, refusals: Arc::new(Semaphore::new(REFUSALS_MAX)), shutdown });
    let mut accepting = JoinSet::new();
    for listener in listeners {
        accepting.spawn(door.clone().accept(listener));
    }
    let (watched, draining) = (edge.clone(), outside.drain.clone());
    accepting.spawn(async move {
        draining.run_until_cancelled(memory::watch(watched.admission(), watched.metrics())).await;
    });
    // Listeners close first: whoever comes now is to find another process, not a dying one.
    while accepting.join_next().await.is_some() {}
    drop(door);
    let all = async { while ended.join_next().await.is_some() {} };
    let mut all = std::pin::pin!(all);
    if timeout(edge.drain_window() + CLOSE_TIME, all.as_mut()).await.is_err() {
        tracing::warn!("connections outlived the drain window; they are cut");
        outside.kill.cancel();
        all.await;
    }
    Ok(())
}

/// Starts a worker; the future ends with it.
fn start(number: usize, edge: Edge, outside: Arc<Outside>) -> io::Result<(Hand, impl Future<Output = ()> + use<>)> {
    let (intake, sockets) = mpsc::channel(INTAKE_MAX);
    let (end, ended) = oneshot::channel::<()>();
    let load = Arc::new(AtomicUsize::new(0));
    let carried = load.clone();
    let runtime = Builder::new_current_thread().enable_all().build()?;
    thread::Builder::new().name(format!("edge-{number}")).spawn(move || {
        let local = LocalSet::new();
        local.block_on(&runtime, work(number, edge, outside, sockets, carried));
        // Whatever is left is dropped here, before anybody is told that nothing is.
        drop(local);
        drop(runtime);
        drop(end);
    })?;
    let ended = async move {
        // Nothing is ever sent: it ends when the thread does.
        let _ = ended.await;
    };
    Ok((Hand { intake, load }, ended))
}

/// A worker's life: sockets are taken in until no more can come, and then its clients are let go.
async fn work(
    number: usize,
    edge: Edge,
    outside: Arc<Outside>,
    mut sockets: mpsc::Receiver<Accepted>,
    load: Arc<AtomicUsize>,
) {
    let (port, inbox) = worker::port(edge.metrics().clone());
    let passed_on = Arc::new(Notify::new());
    let room = room(&edge, port, passed_on.clone());
    let strangers_max = edge.config().max_unauthenticated / edge.config().workers();
    let mail = Mail::of(edge.runtime());
    let worker = Worker::new(number, edge.clone(), room, inbox, passed_on, strangers_max, mail);
    // Many clients are written to in a turn: the turn itself looks after the others.
    let turns = spawn_local(unconstrained(worker.clone().take_turns()));
    let time = spawn_local(unconstrained(worker.clone().keep_time()));
    let ordered = edge.desks().get(number).and_then(Desk::take);
    let orders = ordered.map(|ordered| spawn_local(unconstrained(worker.clone().take_orders(ordered))));
    // Before any client can be let in.
    let revoking = edge.authority().revocations().map(|told| spawn_local(worker.clone().revoke(told)));
    let failed_revoking = failed(revoking);
    let failed_orders = failed(orders);
    let open = TaskTracker::new();
    let site = Rc::new(Site { worker: worker.clone(), outside: outside.clone(), open: open.clone() });
    let serving = async {
        while let Some(Accepted { socket, peer, place }) = sockets.recv().await {
            worker.edge.metrics().queued.fetch_sub(1, Ordering::Relaxed);
            http::take(&site, socket, peer, Seat { place, load: load.clone() });
        }
        open.close();
        let gone = async {
            open.wait().await;
            worker.emptied().await;
        };
        tokio::select! {
            () = gone => {}
            () = let_go(&worker) => {}
        }
    };
    tokio::select! {
        () = serving => {}
        () = outside.kill.cancelled() => {}
        // Neither ends while the engine lives. A worker without them would keep its clients, and the engine, waiting for ever.
        _ = turns => tracing::error!("a worker of the edge has failed; its clients are cut: this is a bug"),
        _ = time => tracing::error!("a worker of the edge has failed; its clients are cut: this is a bug"),
        () = failed_orders => tracing::error!("a worker of the edge has failed; its clients are cut: this is a bug"),
        () = failed_revoking => tracing::error!("a worker of the edge has failed; its clients are cut: this is a bug"),
    }
}

/// Ends when the task panics. It ends in order only with those it serves, when the process does.
async fn failed(task: Option<JoinHandle<()>>) {
    let has_ended = match task {
        Some(task) => task.await,
        None => Ok(()),
    };
    if has_ended.is_ok() {
        std::future::pending::<()>().await;
    }
}

fn room(edge: &Edge, port: Arc<Port>, passed_on: Arc<Notify>) -> Room {
    let topics = edge.topics();
    let passing = topics.relay.port(move || passed_on.notify_one());
    Room {
        live: edge.live().clone(),
        sink: port,
        hub: Rc::new(Hub::new(topics.relay.clone(), passing)),
        broker: topics.broker.clone(),
        encode: frames::encode,
        limits: edge.config().limits(),
        metrics: edge.metrics().sessions.clone(),
    }
}

/// Closes every client, some at a time, so that not all come back at once. Goes on for those that a handshake under way
/// still adds.
async fn let_go(worker: &Worker) {
    let drain = Drain::new(Instant::now(), worker.edge.drain_window(), worker.clients());
    let (began, mut ticks) = (Instant::now(), interval(drain::TICK));
    loop {
        ticks.tick().await;
        if began.elapsed() > SILENCE_TIME {
            worker.cut_silent();
        }
        let staying = worker.staying();
        for client in staying.iter().take(drain.due(Instant::now(), staying.len())) {
            let after = drain.reconnect_after(rand::random()).as_millis();
            worker.dismiss(client, u64::try_from(after).unwrap_or(u64::MAX));
        }
    }
}

/// Where sockets come in.
struct Door {
    edge: Edge,
    hands: Vec<Hand>,
    refusals: Arc<Semaphore>,
    shutdown: CancellationToken,
}

impl Door {
    async fn accept(self: Arc<Self>, listener: TcpListener) {
        let mut refusing = JoinSet::new();
        while let Some(accepted) = self.shutdown.run_until_cancelled(listener.accept()).await {
            // A worker has an event loop of its own: the socket leaves this one.
            match accepted.and_then(|(socket, peer)| Ok((socket.into_std()?, peer))) {
                Ok((socket, peer)) => self.admit(socket, peer, &mut refusing),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
            while refusing.try_join_next().is_some() {}
        }
    }

    fn admit(&self, socket: std::net::TcpStream, peer: SocketAddr, refusing: &mut JoinSet<()>) {
        let refused = match self.edge.admission().socket() {
            Ok(place) => self.hand_over(Accepted { socket, peer, place }),
            Err(reason) => Some((socket, reason)),
        };
        let Some((socket, reason)) = refused else { return };
        self.edge.metrics().refuse(reason);
        // A TLS client could not read the answer.
        if self.edge.config().tls.is_none()
            && let Ok(permit) = self.refusals.clone().try_acquire_owned()
        {
            refusing.spawn(refuse(socket, permit));
        }
    }

    /// To the worker that has the fewest sockets; what it does not take comes back.
    fn hand_over(&self, accepted: Accepted) -> Option<(std::net::TcpStream, Refused)> {
        let hands = self.hands.iter().filter(|hand| !hand.intake.is_closed());
        let hand = hands.min_by_key(|hand| hand.load.load(Ordering::Relaxed))?;
        hand.load.fetch_add(1, Ordering::Relaxed);
        count(&self.edge.metrics().queued);
        let back = hand.intake.try_send(accepted).err()?.into_inner();
        self.edge.metrics().queued.fetch_sub(1, Ordering::Relaxed);
        hand.load.fetch_sub(1, Ordering::Relaxed);
        Some((back.socket, Refused::Sockets))
    }
}

/// Answers without having read, and reads what the client had sent, so that the answer is not lost to a reset.
async fn refuse(socket: std::net::TcpStream, permit: OwnedSemaphorePermit) {
    let Ok(mut socket) = TcpStream::from_std(socket) else { return };
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\nretry-after: {}\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{NO_ROOM}",
        retry_after(rand::random()),
        NO_ROOM.len(),
    );
    let answered = async {
        socket.write_all(answer.as_bytes()).await?;
        socket.shutdown().await?;
        let mut scratch = [0; 1024];
        while socket.read(&mut scratch).await? > 0 {}
        io::Result::Ok(())
    };
    // Whether it got there or not, the socket is closed now.
    let _ = timeout(REFUSAL_TIME, answered).await;
    drop(permit);
}
