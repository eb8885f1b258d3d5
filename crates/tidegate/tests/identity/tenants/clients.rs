//! Clients that say whatever they like over every transport, keep their lists by the rules, and hold each against what
//! they may see.

mod events;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::{SinkExt as _, StreamExt as _};
use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use serde_json::{Value, json};
use tidegate_testkit::clients::{Endpoint, Frame, ModelList, h2, within};
use tokio::net::TcpStream;
use tokio_websockets::{ClientBuilder, Message, WebSocketStream};

pub(crate) use events::events;

use super::plan::{Decided, Who};
use super::world::World;

const STEPS: usize = 14;

/// A list that somebody keeps.
struct Kept {
    query: Value,
    decided: Decided,
    list: ModelList,
    /// A command is under way that makes it another list.
    is_moving: bool,
    /// It may not be seen any more: all that is to come is its end.
    is_ending: bool,
}

impl Kept {
    fn new(query: Value, decided: Decided) -> Self {
        let streamed = query["mode"] == "streamed";
        let list = if streamed { ModelList::streamed() } else { ModelList::new() };
        Self { query, decided, list, is_moving: false, is_ending: false }
    }

    fn frame(&mut self, frame: &Frame, seq: Option<u64>, world: &World) {
        assert!(!self.is_ending, "{frame:?} of a list that is not to be seen any more");
        self.is_moving &= frame.op != "reset";
        let applied = match (seq, &*frame.op) {
            (_, "synced") => self.list.synced_to(frame),
            (Some(seq), _) => self.list.apply_numbered(seq, frame),
            (None, _) => self.list.apply(frame),
        };
        applied.unwrap_or_else(|rule| panic!("{rule}"));
        if let Some(token) = &frame.stream_id
            && !self.is_moving
        {
            let mut tokens = world.tokens.lock().unwrap();
            tokens.truncate(2_000);
            tokens.insert(0, (token.clone(), self.decided.clone()));
        }
    }

    /// What differs from what there is to see at the position that the list is synced to.
    async fn wrong(&self, world: &World) -> Option<String> {
        let position = self.list.synced()?;
        let rows = world.rows.lock().await;
        let is_streamed = self.query["mode"] == "streamed";
        // Streamed, the snapshot is a page; what is beyond becomes known as it changes.
        let limit = if is_streamed { usize::MAX } else { self.decided.limit };
        let decided = Decided { limit, ..self.decided.clone() };
        let expected: Vec<Value> = world.expected(&rows, &decided, position).into_iter().map(Value::Object).collect();
        let got: Vec<Value> = self.list.entries().iter().map(|entry| entry.row.clone()).collect();
        let is_right = if is_streamed { got.iter().all(|row| expected.contains(row)) } else { got == expected };
        (!is_right)
            .then(|| format!("{} at {position}: {got:#?}\nis not {expected:#?}\n{}", self.query, world.plan.toml()))
    }

    async fn check(&self, world: &World) {
        if self.list.is_whole() && !self.is_moving {
            let wrong = self.wrong(world).await;
            assert!(wrong.is_none(), "{}", wrong.unwrap_or_default());
        }
    }

    /// Whether it is the list at the very end.
    async fn is_final(&self, world: &World) -> bool {
        let last = *world.last.borrow();
        last.is_some()
            && !self.is_ending
            && self.list.is_whole()
            && self.list.synced() >= last
            && self.wrong(world).await.is_none()
    }
}

/// Whether a stolen place was taken: then it was one's own as well, and the list goes on from what is not known here.
async fn resumed(world: &World, stolen: Option<&Decided>, own: &Decided, who: &Who) {
    let rows = world.rows.lock().await;
    let is_alike = stolen.is_some_and(|stolen| World::are_alike(&rows, stolen, own));
    assert!(is_alike, "{who:?} went on from {stolen:?} with {own:?}\n{}", world.plan.toml());
}

fn stolen(world: &World, random: &mut StdRng) -> Option<(String, Decided)> {
    let is_tried = random.random_bool(0.4);
    world.tokens.lock().unwrap().choose(random).filter(|_| is_tried).cloned()
}

async fn question(world: &World, random: &mut StdRng) -> Value {
    let rows = world.rows.lock().await.all();
    let mut query = world.plan.question(random, &rows);
    if random.random_bool(0.1) && query.get("cursor").is_none() {
        query["mode"] = "streamed".into();
        query.as_object_mut().unwrap().remove("sort");
    }
    query
}

/// A WebSocket of which every byte that arrives is looked at.
struct Socket {
    socket: WebSocketStream<TcpStream>,
    sent: String,
}

impl Socket {
    async fn open(world: &World, path: &str, bearer: Option<&str>) -> Self {
        let stream = TcpStream::connect(world.at).await.unwrap();
        let uri = format!("ws://{}{path}", world.at).parse().unwrap();
        let mut builder = ClientBuilder::from_uri(uri);
        if let Some(token) = bearer {
            let name = "authorization".parse().unwrap();
            builder = builder.add_header(name, format!("Bearer {token}").parse().unwrap()).unwrap();
        }
        let (socket, _) = within("a handshake", builder.connect_on(stream)).await.unwrap();
        Self { socket, sent: String::new() }
    }

    async fn say(&mut self, message: &Value) {
        let text = message.to_string();
        self.sent.push_str(&text);
        // A connection that was closed meanwhile tells so when it is read.
        let _ = self.socket.send(Message::text(text)).await;
    }

    async fn text(&mut self, world: &World, who: &[&Who]) -> Option<String> {
        loop {
            let message = self.socket.next().await?.ok()?;
            if let Some((_, reason)) = message.as_close() {
                world.look(reason, who, &self.sent);
                return None;
            }
            if let Some(text) = message.as_text() {
                world.look(text, who, &self.sent);
                return Some(text.to_owned());
            }
        }
    }
}

/// One subscription over `/v1/live/ws`.
pub(crate) async fn live(world: Arc<World>, mut random: StdRng) {
    let who = world.plan.person(&mut random);
    let query = question(&world, &mut random).await;
    let decided = world.plan.decide(&who, &query);
    let place = stolen(&world, &mut random);
    let mut socket = Socket::open(&world, "/v1/live/ws", who.token.as_deref()).await;
    let mut command = json!({ "action": "subscribe", "query": query, "synced": true });
    if let Some((token, _)) = &place {
        command["resume_from"] = token.clone().into();
    }
    socket.say(&command).await;
    let mut kept = decided.clone().map(|decided| Kept::new(query.clone(), decided));
    let mut anchors = random.random_range(0..4);
    let mut is_first = true;
    let mut is_busy = true;
    let (mut last, whom) = (world.last.subscribe(), [&who]);
    let run = async {
        loop {
            if is_busy && anchors == 0 {
                is_busy = false;
                world.busy.fetch_sub(1, Ordering::SeqCst);
            }
            if let Some(kept) = &kept
                && !is_busy
                && kept.is_final(&world).await
            {
                return;
            }
            let text = tokio::select! {
                text = socket.text(&world, &whom) => text,
                _ = last.changed() => continue,
            };
            let frame: Frame = match &text {
                Some(text) => serde_json::from_str(text).unwrap(),
                None => {
                    assert!(kept.is_none(), "{who:?} was turned out: {query}");
                    break;
                }
            };
            let Some(kept) = &mut kept else {
                assert_eq!(frame.op, "error", "{who:?} {query}\n{}", world.plan.toml());
                break;
            };
            assert_ne!(frame.op, "error", "{who:?} {query} {text:?}\n{}", world.plan.toml());
            if std::mem::take(&mut is_first) && frame.op != "reset" {
                resumed(&world, place.as_ref().map(|(_, decided)| decided), &kept.decided, &who).await;
                break;
            }
            kept.frame(&frame, None, &world);
            if frame.op == "synced" {
                kept.check(&world).await;
            }
            if anchors > 0 && kept.list.is_whole() && !kept.is_moving {
                anchors -= 1;
                if kept.query["mode"] == "streamed" {
                    continue;
                }
                let rows = world.rows.lock().await.all();
                let mut command = json!({ "action": "reanchor" });
                kept.query.as_object_mut().unwrap().remove("cursor");
                if let Some(cursor) = world.plan.cursor(&mut random, &rows, &kept.query) {
                    (kept.query["cursor"], command["cursor"]) = (cursor.clone(), cursor);
                }
                kept.decided = world.plan.decide(&who, &kept.query).unwrap();
                kept.is_moving = true;
                socket.say(&command).await;
            }
        }
        if is_busy {
            world.busy.fetch_sub(1, Ordering::SeqCst);
        }
    };
    within("a live query", run).await;
}

/// One subscription in a stream of HTTP, as events or lines.
pub(crate) async fn streamed(world: Arc<World>, mut random: StdRng) {
    let who = world.plan.person(&mut random);
    let query = question(&world, &mut random).await;
    let decided = world.plan.decide(&who, &query);
    let place = stolen(&world, &mut random);
    let bearer = format!("Bearer {}", who.token.as_deref().unwrap_or_default());
    let is_sse = random.random::<bool>();
    let accept = if is_sse { "text/event-stream" } else { "application/x-ndjson" };
    let mut headers = vec![("accept", accept), ("content-type", "application/json")];
    if who.token.is_some() {
        headers.push(("authorization", &bearer));
    }
    if let Some((token, _)) = &place {
        headers.push(("last-event-id", token));
    }
    let body = query.to_string();
    world.busy.fetch_sub(1, Ordering::SeqCst);
    let run = async {
        let mut connection = h2::Connection::open(&Endpoint::from(world.at)).await.unwrap();
        let answer = if random.random() {
            connection.start("POST", "/v1/live?synced=true", &headers, body.as_bytes()).await.unwrap()
        } else {
            let path = format!("/v1/live?synced=true&query={}", tidegate_testkit::clients::urlencoded(&body));
            connection.start("GET", &path, &headers, b"").await.unwrap()
        };
        let status = answer.status().as_u16();
        let mut stream = answer.into_body();
        let mut kept = decided.map(|decided| Kept::new(query.clone(), decided));
        assert_eq!(status, if kept.is_some() { 200 } else { 403 }, "{who:?} {query}\n{}", world.plan.toml());
        let (mut text, mut is_first) = (Vec::new(), true);
        let mut last = world.last.subscribe();
        loop {
            if let Some(kept) = &kept
                && kept.is_final(&world).await
            {
                return;
            }
            let data = tokio::select! {
                data = stream.data() => data,
                _ = last.changed() => continue,
            };
            let Some(data) = data else { break };
            let data = data.unwrap();
            stream.flow_control().release_capacity(data.len()).unwrap();
            text.extend_from_slice(&data);
            let end = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            let whole = String::from_utf8(text.drain(..end).collect()).unwrap();
            world.look(&whole, &[&who], &body);
            for line in whole.lines() {
                let line = if is_sse { line.strip_prefix("data: ").unwrap_or_default() } else { line };
                let Some(kept) = kept.as_mut().filter(|_| !line.is_empty()) else { continue };
                let frame: Frame = serde_json::from_str(line).unwrap();
                if std::mem::take(&mut is_first) && frame.op != "reset" {
                    resumed(&world, place.as_ref().map(|(_, decided)| decided), &kept.decided, &who).await;
                    return;
                }
                kept.frame(&frame, None, &world);
                if frame.op == "synced" {
                    kept.check(&world).await;
                }
            }
        }
        // Of a refusal.
        world.look(&String::from_utf8(text).unwrap(), &[&who], &body);
        assert!(kept.is_none(), "{who:?} was turned out: {query}");
    };
    within("a stream", run).await;
}

/// Pages, rows, the catalog and writes.
pub(crate) async fn http(world: Arc<World>, mut random: StdRng) {
    for _ in 0..STEPS {
        let who = world.plan.person(&mut random);
        match random.random_range(0..8) {
            0 | 1 => world.peek(&mut random, &who).await,
            2..=4 => world.leaf(&mut random, &who).await,
            5 => world.describe(&who).await,
            _ => world.meddle(&mut random, &who).await,
        }
    }
    world.busy.fetch_sub(1, Ordering::SeqCst);
}
