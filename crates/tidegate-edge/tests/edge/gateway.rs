//! A gateway to talk to, and clients to talk with.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::routing::get;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::Value as Json;
use tidegate_edge::{
    ApiError, Application, Edge, EdgeConfig, Finding, Out, Places, PositionsOnly, Protocol, Rooms, serve,
};
use tidegate_live::{Config, Live};
use tidegate_model::{
    Catalog, Change, Entity, EntityBuilder, Page, Position, Query, Row, RowSource, ScanError, ScanReply, ScanRequest,
    Tenant, Transaction, Type, Value,
};
use tidegate_session::runtime::Runtime;
use tidegate_session::{CloseReason, Item, Session, Want};
use tidegate_topics::{Keep, Limits, Namespace, Namespaces, Options, SlowPolicy, Topics};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_websockets::{ClientBuilder, MaybeTlsStream, Message, WebSocketStream};

use crate::door::Door;

/// Longer than anything here takes; shorter than a person's patience.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// All rows, at one position.
struct Store {
    entity: Arc<Entity>,
    state: Mutex<(Position, BTreeMap<String, Arc<Row>>)>,
    is_broken: AtomicBool,
}

impl RowSource for Store {
    fn scan(&self, request: ScanRequest, reply: ScanReply) {
        if self.is_broken.load(Ordering::Relaxed) {
            return reply(Err(ScanError::Store("broken".into())));
        }
        let state = self.state.lock().unwrap();
        let keyed = state.1.values().filter(|row| request.predicate.matches(row));
        let mut rows: Vec<_> = keyed.map(|row| (request.order.key(row), row.clone())).collect();
        rows.retain(|(key, _)| request.after.as_ref().is_none_or(|after| key > after));
        rows.sort_by(|a, b| a.0.cmp(&b.0));
        let upto = (rows.len() > request.want).then(|| rows[request.want - 1].0.clone());
        rows.truncate(request.want);
        reply(Ok(Page { rows, upto, position: state.0 }));
    }
}

/// A source that numbers lines.
struct Lines;

impl Places for Lines {
    fn find(&self, place: &str) -> Result<Finding, ApiError> {
        let number = place.strip_prefix("line ").and_then(|number| number.parse().ok());
        let number = number.ok_or_else(|| ApiError::malformed("must be a line, such as \"line 3\""))?;
        Ok(Box::pin(async move { Ok(Position(number)) }))
    }

    fn name(&self, position: Position) -> Option<(&'static str, String)> {
        Some(("line", format!("line {position}")))
    }
}

/// A protocol that replies with as many bytes as the message says.
struct Replies;

impl Protocol for Replies {
    fn text(&mut self, session: &mut Session, text: &str, _: Instant) -> Result<(), CloseReason> {
        session.reply(vec![b'x'; text.parse().unwrap()]);
        Ok(())
    }

    fn item(&mut self, item: Item, out: &mut Out) -> Result<(), CloseReason> {
        if let Item::Reply(reply) = item {
            out.text(&reply);
        }
        Ok(())
    }
}

/// A protocol with a bug: it watches the list that it is sent, and takes neither anything else nor an item.
struct Failing {
    catalog: Arc<Catalog>,
}

impl Protocol for Failing {
    fn text(&mut self, session: &mut Session, text: &str, _: Instant) -> Result<(), CloseReason> {
        let query = Arc::new(Query::from_json(&self.catalog, text).expect("the message is no query"));
        session.subscribe(Want { query, tenant: Tenant::common(), resume: None, synced: false }).unwrap();
        Ok(())
    }

    fn item(&mut self, item: Item, _: &mut Out) -> Result<(), CloseReason> {
        panic!("{item:?} is more than this can take");
    }
}

pub(crate) struct Gateway {
    pub(crate) address: SocketAddr,
    pub(crate) edge: Edge,
    pub(crate) door: Arc<Door>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) served: JoinSet<std::io::Result<()>>,
    store: Arc<Store>,
    live: Live,
}

impl Gateway {
    pub(crate) async fn start(config: EdgeConfig) -> Self {
        Self::with(config, true).await
    }

    pub(crate) async fn with(config: EdgeConfig, anonymous: bool) -> Self {
        Self::open(config, anonymous, Arc::new(PositionsOnly)).await
    }

    /// With somebody who is asked about topics.
    pub(crate) async fn asking(application: Arc<dyn Application>) -> Self {
        let config = EdgeConfig::default();
        Self::furnished(config, true, Arc::new(PositionsOnly), namespaces(), |edge| edge.application(application)).await
    }

    /// Whose source calls position 11 `line 11`.
    pub(crate) async fn with_lines() -> Self {
        Self::open(EdgeConfig::default(), true, Arc::new(Lines)).await
    }

    /// With jobs of agents.
    pub(crate) async fn serving(runtime: Runtime) -> Self {
        let config = EdgeConfig::default();
        Self::built(config, true, Arc::new(PositionsOnly), namespaces(), Some(runtime), |edge| edge).await
    }

    async fn open(config: EdgeConfig, anonymous: bool, places: Arc<dyn Places>) -> Self {
        Self::furnished(config, anonymous, places, namespaces(), |edge| edge).await
    }

    /// With these namespaces of topics, and an edge that `furnish` adds to.
    pub(crate) async fn furnished(
        config: EdgeConfig,
        anonymous: bool,
        places: Arc<dyn Places>,
        namespaces: Vec<Namespace>,
        furnish: impl FnOnce(Edge) -> Edge,
    ) -> Self {
        Self::built(config, anonymous, places, namespaces, None, furnish).await
    }

    async fn built(
        config: EdgeConfig,
        anonymous: bool,
        places: Arc<dyn Places>,
        namespaces: Vec<Namespace>,
        runtime: Option<Runtime>,
        furnish: impl FnOnce(Edge) -> Edge,
    ) -> Self {
        let column = |name: &str, kind| (name.to_owned(), kind);
        let asset = EntityBuilder {
            name: "asset".into(),
            columns: vec![column("id", Type::Text), column("name", Type::Text), column("temp", Type::Float)],
            key: vec!["id".into()],
            ..EntityBuilder::default()
        };
        let catalog = Arc::new(Catalog::build(&[asset]).unwrap());
        let entity = catalog.by_name("asset").unwrap().clone();
        let store =
            Arc::new(Store { entity, state: Mutex::new((Position(10), BTreeMap::new())), is_broken: false.into() });
        let rows: Arc<dyn RowSource> = store.clone();
        let (advance, applied) = watch::channel(Position(10));
        let on_advance = Box::new(move |position| {
            advance.send_replace(position);
        });
        let live =
            Live::start(&Config { workers: 1, ..Config::default() }, 0xabc, Position(10), &rows, on_advance).unwrap();
        let failing = catalog.clone();
        let door = Door::new(anonymous);
        let authority = door.clone();
        let rooms =
            Rooms { catalog, live: live.clone(), topics: topics(namespaces), authority, applied, places, runtime };
        let edge = furnish(Edge::new(config, rooms))
            .socket("/replies", |_| Box::new(Replies))
            .socket("/failing", move |_| Box::new(Failing { catalog: failing.clone() }));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let api = Router::new().route("/healthz", get(async || "ok"));
        let mut served = JoinSet::new();
        served.spawn(serve(edge.clone(), vec![listener], api, shutdown.clone()));
        Self { address, edge, door, shutdown, served, store, live }
    }

    /// From now on no scan succeeds.
    pub(crate) fn break_store(&self) {
        self.store.is_broken.store(true, Ordering::Relaxed);
    }

    /// The entity is not served any more.
    pub(crate) fn end_entity(&self, reason: &str) {
        self.live.end_entity(self.store.entity.id(), &reason.into());
    }

    /// One transaction: rows as `(id, name, temp)`.
    pub(crate) fn write(&self, rows: &[(&str, &str, f64)]) -> Position {
        let mut state = self.store.state.lock().unwrap();
        let position = Position(state.0.0 + 1);
        let changes = rows.iter().map(|(id, name, temp)| {
            let new = Row::new(position, vec![Value::text(id), Value::text(name), Value::Float(*temp)]);
            let old = state.1.insert((*id).to_owned(), new.clone());
            Change { entity: self.store.entity.id(), tenant: Tenant::common(), old, new: Some(new) }
        });
        let transaction = Arc::new(Transaction { position, changes: changes.collect(), reloads: Vec::new() });
        state.0 = position;
        self.live.publish(&[transaction]);
        position
    }

    pub(crate) async fn ws(&self, path: &str) -> Client {
        self.ws_with(path, &[]).await.unwrap()
    }

    pub(crate) async fn ws_with(
        &self,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<Client, tokio_websockets::Error> {
        let uri = format!("ws://{}{path}", self.address).parse::<axum::http::Uri>().unwrap();
        let mut builder = ClientBuilder::from_uri(uri);
        for (name, value) in headers {
            builder = builder.add_header(name.parse().unwrap(), value.parse().unwrap())?;
        }
        let (socket, response) = builder.connect().await?;
        Ok(Client { socket, response_protocol: response.headers().get("sec-websocket-protocol").cloned() })
    }

    /// Sends bytes and reads to the end of the connection.
    pub(crate) async fn raw(&self, request: &str) -> String {
        let mut socket = TcpStream::connect(self.address).await.unwrap();
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        timeout(PATIENCE, socket.read_to_end(&mut answer)).await.expect("no end").unwrap();
        String::from_utf8(answer).unwrap()
    }

    pub(crate) fn subscriptions(&self) -> u64 {
        self.edge.metrics().sessions.subscriptions.load(Ordering::Relaxed)
    }

    pub(crate) fn connections(&self) -> u64 {
        self.edge.metrics().connections.load(Ordering::Relaxed)
    }

    /// How often a session had to let go of what waited.
    pub(crate) fn slow(&self) -> u64 {
        let sessions = &self.edge.metrics().sessions;
        sessions.conflated.load(Ordering::Relaxed) + sessions.resets.load(Ordering::Relaxed)
    }

    pub(crate) fn closed(&self, reason: CloseReason) -> u64 {
        self.edge.metrics().closed[reason as usize].load(Ordering::Relaxed)
    }

    /// Waits for a condition that nothing announces.
    pub(crate) async fn eventually(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let met = async {
            while !condition(self) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(PATIENCE, met).await.unwrap_or_else(|_| panic!("never: {what}"));
    }
}

pub(crate) struct Client {
    pub(crate) socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    pub(crate) response_protocol: Option<axum::http::HeaderValue>,
}

impl Client {
    pub(crate) async fn send(&mut self, text: &str) {
        self.socket.send(Message::text(text.to_owned())).await.unwrap();
    }

    /// The next text message.
    pub(crate) async fn text(&mut self) -> String {
        loop {
            let message = timeout(PATIENCE, self.socket.next()).await.expect("nothing came").expect("the end").unwrap();
            if let Some(text) = message.as_text() {
                return text.to_owned();
            }
            assert!(!message.is_close(), "closed: {:?}", message.as_close());
        }
    }

    pub(crate) async fn json(&mut self) -> Json {
        serde_json::from_str(&self.text().await).unwrap()
    }

    /// Messages up to one that carries `"last":true`.
    pub(crate) async fn batch(&mut self) -> Vec<Json> {
        let mut frames = Vec::new();
        loop {
            let frame = self.json().await;
            let is_last = frame["last"] == true;
            frames.push(frame);
            if is_last {
                return frames;
            }
        }
    }

    /// The close that comes, whatever comes before it.
    pub(crate) async fn close(&mut self) -> (u16, String) {
        loop {
            let message = timeout(PATIENCE, self.socket.next()).await.expect("nothing came").expect("the end").unwrap();
            if let Some((code, reason)) = message.as_close() {
                return (code.into(), reason.to_owned());
            }
        }
    }
}

/// A list as a client keeps it.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct List {
    pub(crate) ids: Vec<String>,
    pub(crate) seq: u64,
}

impl List {
    pub(crate) fn apply(&mut self, frame: &Json) {
        let seq = frame["seq"].as_u64().unwrap();
        assert_eq!(seq, self.seq + 1, "a gap");
        self.seq = seq;
        self.change(frame);
    }

    pub(crate) fn change(&mut self, frame: &Json) {
        let index = |name: &str| usize::try_from(frame[name].as_i64().unwrap()).ok();
        let id = frame["agg_id"].as_str().unwrap().to_owned();
        match frame["op"].as_str().unwrap() {
            "reset" => self.ids.clear(),
            "enter" => self.ids.insert(index("new_index").unwrap(), id),
            "leave" => assert_eq!(self.ids.remove(index("old_index").unwrap()), id),
            "move" => {
                assert_eq!(self.ids.remove(index("old_index").unwrap()), id);
                self.ids.insert(index("new_index").unwrap(), id);
            }
            "update" => assert_eq!(self.ids[index("old_index").unwrap()], id),
            "ready" => {}
            other => panic!("{other}"),
        }
    }
}

/// Topics of each kind.
fn namespaces() -> Vec<Namespace> {
    let plain = Options::default();
    let kept = Options { history_size: 100, presence: true, join_leave: true, ..Options::default() };
    let namespaces = [
        ("chat:", kept.clone()),
        ("short:", Options { history_size: 2, ..plain.clone() }),
        ("values:", Options { keep: Keep::LastOfKey, ..kept }),
        ("oldest:", Options { slow: SlowPolicy::DropOldest, ..plain.clone() }),
        ("latest:", Options { slow: SlowPolicy::LatestOnly, ..plain.clone() }),
        ("asked:", Options { ask_subscribe: true, ask_publish: true, ..plain }),
    ];
    let namespace = |(prefix, options): (&str, _)| Namespace { prefix: prefix.into(), options: Arc::new(options) };
    namespaces.map(namespace).into()
}

/// What happens among people, with a clock that runs.
fn topics(namespaces: Vec<Namespace>) -> Topics {
    Topics::in_memory(Namespaces::new(namespaces), Limits::default(), "_orama", clock()).unwrap()
}

/// Milliseconds since 1970.
pub(crate) fn clock() -> Arc<dyn Fn() -> u64 + Send + Sync> {
    Arc::new(|| SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64))
}
