//! Commit to client frame, over real sockets: the binary as a child process, one writer over HTTP, and WebSocket clients.
//!
//! Each write changes one row that every concerned client shows. A frame's time is counted twice: from the moment the
//! request was sent, which has the fsync in it, and from the moment its `200` was read, when it is durable. The second
//! may be negative: the frame and the answer leave the server together. Clients and server share the machine, so with
//! a thousand clients half of the work that is measured is the clients'.
#![allow(clippy::unwrap_used, reason = "a bench fails by panicking")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use tidegate_testkit::gateway::Gateway;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_websockets::{ClientBuilder, Message, WebSocketStream};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const CONFIG: &str = r#"
[log]
level = "error"
[identity]
anonymous = true
[[entity]]
name = "asset"
key = ["id"]
columns = { id = "int", name = "text", kind = "text", zone = "int", temp = "float", n = "int" }
"#;
const ROWS: usize = 5_000;
const ZONES: usize = 100;
const WINDOW: usize = 50;
const WRITES: usize = 1_000;
/// 50 writes a second.
const PACE: Duration = Duration::from_millis(20);
/// For any one answer, and for the last frames.
const PATIENCE: Duration = Duration::from_secs(30);
/// Of LIVE.md, for one client.
const GATE: &str = "   gate: p50 3 ms, p99 15 ms";

type Socket = WebSocketStream<TcpStream>;

/// A number of clients, what each asks for, and which of them a write concerns.
struct Scenario {
    name: &'static str,
    clients: usize,
    query: fn(usize) -> String,
    /// The row that a write changes.
    row: fn(usize) -> usize,
    concerns: fn(client: usize, write: usize) -> bool,
}

const SCENARIOS: [Scenario; 3] = [
    Scenario { name: "1 client", clients: 1, query: top, row: |write| write % WINDOW, concerns: |_, _| true },
    Scenario {
        name: "1,000 clients, one view",
        clients: 1_000,
        query: top,
        row: |write| write % WINDOW,
        concerns: |_, _| true,
    },
    Scenario {
        name: "1,000 clients, 1,000 filters, 10 concerned",
        clients: 1_000,
        query: own,
        row: |write| write,
        concerns: |client, write| client / 10 == write % ZONES,
    },
];

fn top(_: usize) -> String {
    format!(r#"{{"entity":"asset","sort":[{{"column":"name"}}],"limit":{WINDOW}}}"#)
}

/// Ten filters a zone, all different and all true of each of its rows.
fn own(client: usize) -> String {
    let (zone, below) = (client / 10, client % 10);
    format!(
        r#"{{"entity":"asset","where":[{{"column":"zone","op":"eq","value":{zone}}},{{"column":"temp","op":"gte","value":-{below}}}],"sort":[{{"column":"name"}}],"limit":{WINDOW}}}"#
    )
}

fn upsert(row: usize, n: i64) -> String {
    let (zone, temp) = (row % ZONES, row % 70);
    format!(
        r#"{{"upsert":{{"id":{row},"name":"asset {row:05}","kind":"pump","zone":{zone},"temp":{temp}.5,"n":{n}}}}}"#
    )
}

/// HTTP/1.1 on one kept connection, blocking: the client's share of a write's time stays small and even.
struct Writer(BufReader<std::net::TcpStream>);

impl Writer {
    fn connect(address: SocketAddr) -> Self {
        let stream = std::net::TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(BufReader::new(stream))
    }

    /// Gives back when the request was sent and when its `200` had been read.
    fn write(&mut self, changes: &str) -> (Instant, Instant) {
        let body = format!(r#"{{"changes":[{changes}]}}"#);
        let head = "POST /v1/entities/asset/changes HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json";
        let request = format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        let sent = Instant::now();
        self.0.get_mut().write_all(request.as_bytes()).unwrap();
        let (mut line, mut length) = (String::new(), 0);
        self.0.read_line(&mut line).unwrap();
        assert!(line.starts_with("HTTP/1.1 200"), "{line}");
        while line != "\r\n" {
            line.clear();
            assert!(self.0.read_line(&mut line).unwrap() > 0, "the answer was cut short");
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.trim().parse().unwrap();
            }
        }
        self.0.read_exact(&mut vec![0; length]).unwrap();
        (sent, Instant::now())
    }

    fn pace(mut self, row: fn(usize) -> usize) -> Vec<(Instant, Instant)> {
        let began = Instant::now();
        let paced = |write: usize| {
            std::thread::sleep((began + PACE * write as u32).saturating_duration_since(Instant::now()));
            self.write(&upsert(row(write), write as i64))
        };
        (0..WRITES).map(paced).collect()
    }
}

/// Connects, subscribes, and reads the snapshot to its end.
async fn subscribe(address: SocketAddr, query: &str) -> Socket {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let uri = format!("ws://{address}/v1/live/ws").parse().unwrap();
    let (mut socket, _) = ClientBuilder::from_uri(uri).connect_on(stream).await.unwrap();
    socket.send(Message::text(format!(r#"{{"action":"subscribe","query":{query}}}"#))).await.unwrap();
    let mut frames = 0;
    loop {
        let message = tokio::time::timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap();
        let text = message.as_text().unwrap_or_default();
        assert!(!text.contains(r#""op":"error""#), "{text}");
        if text.contains(r#""op":"ready""#) {
            assert_eq!(frames, WINDOW + 1, "reset and a whole window");
            return socket;
        }
        frames += 1;
    }
}

/// Which write a frame shows. Parsing it whole would be most of what a thousand clients do.
fn write_of(frame: &str) -> Option<usize> {
    let (_, rest) = frame.split_once(r#""n":"#)?;
    rest[..rest.find([',', '}'])?].parse().ok()
}

/// When each write arrived, until the last that concerns this client, or for as long as is bearable.
async fn listen(mut socket: Socket, last: usize) -> Vec<(usize, Instant)> {
    let mut seen = Vec::with_capacity(WRITES);
    let reading = async {
        while let Some(Ok(message)) = socket.next().await {
            let arrived = Instant::now();
            let Some(write) = message.as_text().and_then(write_of) else { continue };
            seen.push((write, arrived));
            if write == last {
                break;
            }
        }
    };
    // What has not come by then is counted as missing.
    let _ = tokio::time::timeout(PACE * WRITES as u32 + PATIENCE, reading).await;
    seen
}

async fn run(scenario: &Scenario) {
    let gateway = Gateway::start(env!("CARGO_BIN_EXE_tidegate"), CONFIG);
    let address = gateway.address();
    let mut writer = Writer::connect(address);
    let rows: Vec<String> = (0..ROWS).map(|row| upsert(row, -1)).collect();
    for rows in rows.chunks(1_000) {
        writer.write(&rows.join(","));
    }

    // The first connection and view also allocate what all share.
    drop(subscribe(address, &(scenario.query)(0)).await);
    let before = gateway.resident_kib();
    let mut sockets = Vec::with_capacity(scenario.clients);
    for client in 0..scenario.clients {
        sockets.push(subscribe(address, &(scenario.query)(client)).await);
    }
    println!("\n{}", scenario.name);
    if let (Some(before), Some(after), 2..) = (before, gateway.resident_kib(), scenario.clients) {
        let each = after.saturating_sub(before) as f64 / scenario.clients as f64;
        println!("  server memory an idle subscribed connection, its view included: {each:.1} KiB");
    }

    let mut clients = JoinSet::new();
    let mut expected = 0;
    for (client, socket) in sockets.into_iter().enumerate() {
        let concerning = || (0..WRITES).filter(|write| (scenario.concerns)(client, *write));
        expected += concerning().count();
        clients.spawn(listen(socket, concerning().next_back().unwrap()));
    }
    // Another one: the server does not wait for requests on the first as long as a thousand connects may take.
    let (writer, row) = (Writer::connect(address), scenario.row);
    let written = tokio::task::spawn_blocking(move || writer.pace(row)).await.unwrap();
    let mut arrivals = vec![Vec::new(); WRITES];
    for (write, arrived) in clients.join_all().await.into_iter().flatten() {
        arrivals[write].push(arrived);
    }
    // A slow client may have been given the newest state of a row in place of each.
    let frames: usize = arrivals.iter().map(Vec::len).sum();
    println!("  {WRITES} writes, 50 a second; frames received: {frames} of {expected}");
    report(&written, arrivals, scenario.clients);
}

fn report(written: &[(Instant, Instant)], mut arrivals: Vec<Vec<Instant>>, clients: usize) {
    println!("  {:<16}{:>28}{:>28}", "ms", "from the request sent", "from its 200 read");
    println!("  {:<16}{1:>10}{2:>9}{3:>9}{1:>10}{2:>9}{3:>9}", "", "p50", "p99", "max");
    println!("  {:<16}{}", "the 200 itself", spread(written.iter().map(|(sent, answered)| ms(*sent, *answered))));
    arrivals.iter_mut().for_each(|arrivals| arrivals.sort_unstable());
    let line = |name: &str, pick: fn(&[Instant]) -> Option<&Instant>| {
        let shown = || written.iter().zip(&arrivals).filter_map(|(times, arrivals)| Some((times, *pick(arrivals)?)));
        let from_sent = spread(shown().map(|((sent, _), arrived)| ms(*sent, arrived)));
        let from_answered = spread(shown().map(|((_, answered), arrived)| ms(*answered, arrived)));
        println!("  {name:<16}{from_sent}{from_answered}{}", if clients == 1 { GATE } else { "" });
    };
    if clients == 1 {
        return line("the frame", <[Instant]>::first);
    }
    line("first client", <[Instant]>::first);
    line("median client", |arrivals| arrivals.get(arrivals.len() / 2));
    line("last client", <[Instant]>::last);
}

fn ms(from: Instant, to: Instant) -> f64 {
    let late = to.saturating_duration_since(from).as_secs_f64();
    (late - from.saturating_duration_since(to).as_secs_f64()) * 1e3
}

/// p50, p99 and the longest.
fn spread(times: impl Iterator<Item = f64>) -> String {
    let mut times: Vec<f64> = times.collect();
    times.sort_unstable_by(f64::total_cmp);
    let Some(last) = times.len().checked_sub(1) else { return "nothing arrived".to_owned() };
    format!("{:>10.2}{:>9.2}{:>9.2}", times[last / 2], times[last * 99 / 100], times[last])
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    for scenario in &SCENARIOS {
        runtime.block_on(run(scenario));
    }
}
