//! From just before COMMIT is sent to the frame that a WebSocket client receives, and what the gateway costs PostgreSQL
//! meanwhile.
//!
//! Every client is a connection with a live query of its own, and each write concerns exactly one of them. What PostgreSQL
//! does for the gateway is its transactions beyond the writers', and the time of the gateway's backends on a core.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_websockets::{ClientBuilder, Message, WebSocketStream};

use crate::report::Report;
use crate::world::{World, cpu, ready};

/// As the table is filled, each owner has ten rows.
const ROWS: u64 = 50_000;
const OWNERS: u64 = 5_000;
const CLIENTS: [u64; 3] = [1, 100, OWNERS];
/// Writes a second, for how many seconds, over how many connections.
const PACES: [Pace; 2] =
    [Pace { writes: 50, seconds: 20, writers: 2 }, Pace { writes: 1_000, seconds: 10, writers: 16 }];
/// For any one answer, and for the last frames.
const PATIENCE: Duration = Duration::from_secs(30);

type Socket = WebSocketStream<TcpStream>;

#[derive(Clone, Copy)]
struct Pace {
    writes: u64,
    seconds: u64,
    writers: u64,
}

impl Pace {
    fn total(self) -> u64 {
        self.writes * self.seconds
    }

    /// When a write is due, from the start.
    fn due(self, write: u64) -> Duration {
        Duration::from_secs_f64(write as f64 / self.writes as f64)
    }

    /// What a write puts into the column `n`, so that frames show it and the paces do not get mixed up.
    fn mark(self, write: u64) -> u64 {
        self.writes * 1_000_000_000 + write
    }

    /// The write that a frame shows. Parsing it whole would be most of what thousands of clients do.
    fn write_of(self, frame: &str) -> Option<u64> {
        let (_, rest) = frame.split_once(r#""n":"#)?;
        let n: u64 = rest[..rest.find([',', '}'])?].trim_matches('"').parse().ok()?;
        n.checked_sub(self.mark(0)).filter(|write| *write < self.total())
    }
}

pub(crate) async fn run(world: &World, report: &mut Report) {
    for clients in CLIENTS {
        world.fill(ROWS).await;
        let gateway = world.gateway(r#"indexes = [["owner"]]"#);
        ready(gateway.address()).await;
        let mut sockets = Vec::new();
        for client in 0..clients {
            sockets.push((client, subscribe(gateway.address(), client).await));
        }
        for pace in PACES {
            let before = Cost::now(world).await;
            let mut listening = JoinSet::new();
            for (client, socket) in sockets.drain(..) {
                listening.spawn(listen(socket, client, clients, pace));
            }
            let sent = write(world, clients, pace).await;
            let cost = Cost::now(world).await;
            let mut late = Vec::new();
            for (client, socket, seen) in listening.join_all().await {
                sockets.push((client, socket));
                late.extend(seen.into_iter().map(|(write, at)| (at - sent[write as usize]).as_secs_f64() * 1e3));
            }
            late.sort_unstable_by(f64::total_cmp);
            let at = |part: usize| late.get(late.len() * part / 100).copied().unwrap_or(f64::NAN);
            let figures = [
                ("p50 ms", at(50)),
                ("p99 ms", at(99)),
                ("max ms", late.last().copied().unwrap_or(f64::NAN)),
                // A client that is behind may be given the newest state of a row in place of each.
                ("not shown", pace.total() as f64 - late.len() as f64),
                ("PG xact/s", (cost.transactions - before.transactions - pace.total() as f64) / pace.seconds as f64),
                ("PG CPU %", (cost.cpu - before.cpu).as_secs_f64() * 100.0 / pace.seconds as f64),
            ];
            report.row("commit to client", &format!("{clients} clients, {} writes/s", pace.writes), &figures);
        }
        drop(sockets);
        world.end(gateway).await;
    }
}

/// Connects, subscribes, and reads the snapshot to its end.
async fn subscribe(address: SocketAddr, owner: u64) -> Socket {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let uri = format!("ws://{address}/v1/live/ws").parse().unwrap();
    let (mut socket, _) = ClientBuilder::from_uri(uri).connect_on(stream).await.unwrap();
    let query = format!(
        r#"{{"entity":"item","where":[{{"column":"owner","op":"eq","value":{owner}}}],"sort":[{{"column":"name"}}],"limit":50}}"#
    );
    socket.send(Message::text(format!(r#"{{"action":"subscribe","query":{query}}}"#))).await.unwrap();
    loop {
        let message = tokio::time::timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap();
        let text = message.as_text().unwrap_or_default();
        assert!(!text.contains(r#""op":"error""#), "{text}");
        if text.contains(r#""op":"ready""#) {
            return socket;
        }
    }
}

/// When each write arrived, until the last that concerns this client, or for as long as is bearable.
async fn listen(mut socket: Socket, client: u64, clients: u64, pace: Pace) -> (u64, Socket, Vec<(u64, Instant)>) {
    let last = (0..pace.total()).rev().find(|write| write % clients == client);
    let mut seen = Vec::new();
    let reading = async {
        while let Some(Ok(message)) = socket.next().await {
            let arrived = Instant::now();
            let Some(write) = message.as_text().and_then(|frame| pace.write_of(frame)) else { continue };
            seen.push((write, arrived));
            if Some(write) == last {
                break;
            }
        }
    };
    if last.is_some() {
        // What has not come by then is counted as not shown.
        let _ = tokio::time::timeout(Duration::from_secs(pace.seconds) + PATIENCE, reading).await;
    }
    (client, socket, seen)
}

/// Commits each write when it is due: when each COMMIT was sent.
async fn write(world: &World, clients: u64, pace: Pace) -> Vec<Instant> {
    let began = Instant::now() + Duration::from_millis(100);
    let mut writers = JoinSet::new();
    for writer in 0..pace.writers {
        let session = world.postgres.session().await;
        writers.spawn(async move {
            let mut sent = Vec::new();
            for write in (writer..pace.total()).step_by(pace.writers as usize) {
                tokio::time::sleep_until((began + pace.due(write)).into()).await;
                let row = write % clients + OWNERS * (write / clients % (ROWS / OWNERS));
                session.run(&format!("begin; update item set n = {} where id = {row}", pace.mark(write))).await;
                sent.push((write, Instant::now()));
                session.run("commit").await;
            }
            sent
        });
    }
    let mut sent: Vec<(u64, Instant)> = writers.join_all().await.into_iter().flatten().collect();
    sent.sort_unstable();
    sent.into_iter().map(|(_, at)| at).collect()
}

/// What the server has done so far.
struct Cost {
    /// Transactions of everybody.
    transactions: f64,
    /// Of the gateway's backends.
    cpu: Duration,
}

impl Cost {
    async fn now(world: &World) -> Self {
        // Backends tell the counters when they are idle for a moment, or end: so the writers have.
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        let transactions = world.session.text("select xact_commit from pg_stat_database where datname = 'postgres'");
        let transactions = transactions.await.parse().unwrap();
        let backends = world.session.rows("select pid from pg_stat_activity where application_name = 'tidegate'").await;
        let cpu = backends.iter().filter_map(|row| cpu(row[0].as_deref()?.parse().ok()?)).sum();
        Self { transactions, cpu }
    }
}
