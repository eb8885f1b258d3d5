//! ARCP on real sockets, over the real runtime with the agents that are there for tests.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value as Json, json};
use tidegate_jobs::agents::{Agents, channel, fixtures};
use tidegate_session::CloseReason;
use tidegate_session::runtime::{Options, Runtime};
use tokio::runtime::Handle;

use crate::gateway::{Client, Gateway, clock};

/// Everything that can be agreed to.
const FEATURES: [&str; 10] = [
    "heartbeat",
    "ack",
    "list_jobs",
    "subscribe",
    "lease_expires_at",
    "cost.budget",
    "model.use",
    "progress",
    "result_chunk",
    "agent_versions",
];

pub(crate) struct House {
    pub(crate) gateway: Gateway,
    pub(crate) runtime: Runtime,
    _dir: tempfile::TempDir,
}

impl House {
    pub(crate) async fn open() -> Self {
        let (sayings, ear) = channel();
        let agents = Arc::new(Agents::new(Handle::current(), sayings));
        fixtures::register(&agents).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let options = Options {
            dir: dir.path().to_owned(),
            jobs: tidegate_jobs::Limits::default(),
            sessions: tidegate_session::runtime::SessionLimits::default(),
            provisioner: None,
            clock: clock(),
        };
        let runtime = Runtime::start(options, agents, ear).unwrap();
        let gateway = Gateway::serving(runtime.clone()).await;
        Self { gateway, runtime, _dir: dir }
    }

    /// Connects, says hello, and is welcome.
    async fn connect(&self, path: &str, payload: Json) -> (Arcp, Json) {
        let mut client = self.gateway.ws(path).await;
        let hello = json!({ "arcp": "1.1", "id": "hello", "type": "session.hello", "payload": payload });
        client.send(&hello.to_string()).await;
        let welcome = client.json().await;
        let session = welcome["session_id"].as_str().unwrap().to_owned();
        (Arcp { client, session }, welcome)
    }

    pub(crate) async fn ann(&self) -> (Arcp, Json) {
        self.connect("/arcp", hello("good")).await
    }
}

fn hello(token: &str) -> Json {
    json!({
        "client": { "name": "test", "version": "1" },
        "auth": { "scheme": "bearer", "token": token },
        "capabilities": { "encodings": ["json"], "features": FEATURES },
    })
}

pub(crate) struct Arcp {
    pub(crate) client: Client,
    session: String,
}

/// Ids of messages: what came under one already is skipped, on whichever connection.
static IDS: AtomicUsize = AtomicUsize::new(0);

impl Arcp {
    pub(crate) async fn say(&mut self, kind: &str, payload: Json) -> String {
        let id = format!("m{}", IDS.fetch_add(1, Ordering::Relaxed));
        let message = json!({ "arcp": "1.1", "id": id, "type": kind, "session_id": self.session, "payload": payload });
        self.client.send(&message.to_string()).await;
        id
    }

    /// Messages up to the first of that type.
    pub(crate) async fn until(&mut self, kind: &str) -> Vec<Json> {
        let mut messages = Vec::new();
        loop {
            let message = self.client.json().await;
            assert_eq!(message["session_id"], self.session);
            let is_last = message["type"] == kind;
            messages.push(message);
            if is_last {
                return messages;
            }
        }
    }

    pub(crate) async fn next(&mut self, kind: &str) -> Json {
        let message = self.client.json().await;
        assert_eq!(message["type"], kind, "{message}");
        message
    }
}

#[tokio::test]
async fn a_job_is_submitted_and_seen_to_its_end_at_both_addresses() {
    let house = House::open().await;
    for path in ["/arcp", "/", "/arcp?dialect=python"] {
        let (mut ann, welcome) = house.connect(path, hello("good")).await;
        assert_eq!(welcome["payload"]["capabilities"]["features"], json!(FEATURES));
        let id = ann.say("job.submit", json!({ "agent": "echo", "input": { "n": 1 } })).await;
        let accepted = ann.next("job.accepted").await;
        assert_eq!(accepted["payload"]["request_id"], id);
        let messages = ann.until("job.result").await;
        let numbers: Vec<_> = messages.iter().map(|message| message["event_seq"].as_u64().unwrap()).collect();
        assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
        assert_eq!(messages[0]["payload"]["body"]["phase"], "running");
        let result = &messages[messages.len() - 1];
        assert_eq!(result["payload"]["result"], result["payload"]["output"]);
        assert_eq!(result["job_id"], accepted["payload"]["job_id"]);
        ann.say("session.close", json!({})).await;
        ann.next("session.closed").await;
        assert_eq!(ann.client.close().await.0, 1000);
    }
    // What is no WebSocket is the API's.
    let answer = house.gateway.raw("GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    let answer = house.gateway.raw("GET /arcp?dialect=x HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").await;
    assert!(answer.contains("dialect must be"), "{answer}");
    house.runtime.stop().await;
}

#[tokio::test]
async fn who_is_nobody_is_told_so_and_closed() {
    let house = House::open().await;
    let (mut client, error) = house.connect("/arcp", hello("bad")).await;
    assert_eq!((&error["type"], &error["payload"]["code"]), (&json!("session.error"), &json!("UNAUTHENTICATED")));
    assert_eq!(client.client.close().await, (1008, "unauthenticated".into()));
    let (mut client, error) = house.connect("/arcp", json!({ "resume": 7 })).await;
    assert_eq!(error["payload"]["message"], "payload.resume has to be an object");
    assert_eq!(client.client.close().await, (1008, "first_message".into()));
    // Strangers are let in here.
    let (mut stranger, welcome) = house.connect("/arcp", json!({})).await;
    assert_eq!(welcome["type"], "session.welcome");
    assert!(welcome["payload"].get("heartbeat_interval_sec").is_none());
    stranger.say("session.list_jobs", json!({})).await;
    assert_eq!(stranger.next("session.error").await["payload"]["code"], "INVALID_REQUEST");
    house.runtime.stop().await;
}

#[tokio::test]
async fn a_session_is_gone_on_with_and_the_former_connection_fenced() {
    let house = House::open().await;
    let (mut ann, welcome) = house.ann().await;
    ann.say("job.submit", json!({ "agent": "slow", "input": { "ms": 600_000 } })).await;
    let job = ann.next("job.accepted").await["payload"]["job_id"].clone();
    ann.next("job.event").await;
    let resume = |session: Option<&str>, token: &Json| {
        let mut hello = hello("good");
        let fields = [("resume_token", token.clone()), ("last_event_seq", json!(0))];
        fields.into_iter().for_each(|(name, value)| hello[name] = value);
        if let Some(session) = session {
            hello["resume"] = json!({ "session_id": session, "resume_token": token, "last_event_seq": 0 });
        }
        hello
    };
    let (mut again, other) =
        house.connect("/arcp", resume(Some(&ann.session), &welcome["payload"]["resume_token"])).await;
    assert_eq!((&other["type"], &*again.session), (&json!("session.welcome"), &*ann.session));
    assert_eq!(ann.client.close().await, (1008, "fenced".into()));
    house.gateway.eventually("it is counted", |gateway| gateway.closed(CloseReason::Fenced) == 1).await;
    assert_eq!(again.next("job.event").await["event_seq"], 1);
    // The token alone is enough, and the other was replaced by it.
    let (mut third, last) = house.connect("/arcp", resume(None, &other["payload"]["resume_token"])).await;
    assert_eq!((&last["type"], &*third.session), (&json!("session.welcome"), &*ann.session));
    assert_eq!(again.client.close().await.0, 1008);
    third.next("job.event").await;
    third.say("job.cancel", json!({ "job_id": job, "reason": "enough" })).await;
    assert_eq!(third.next("job.cancelled").await["payload"]["reason"], "enough");
    let messages = third.until("job.error").await;
    let end = &messages[messages.len() - 1]["payload"];
    assert_eq!((&end["final_status"], &end["code"]), (&json!("cancelled"), &json!("CANCELLED")));
    let (mut bob, error) = house
        .connect("/arcp", {
            let mut stolen = resume(Some(&ann.session), &last["payload"]["resume_token"]);
            stolen["auth"]["token"] = json!("bob");
            stolen
        })
        .await;
    assert_eq!(error["payload"]["code"], "PERMISSION_DENIED");
    assert_eq!(bob.client.close().await.0, 1008);
    house.runtime.stop().await;
}

#[tokio::test]
async fn submits_are_answered_in_their_order_whatever_is_wrong_with_them() {
    let house = House::open().await;
    let (mut ann, _) = house.ann().await;
    let mut asked = Vec::new();
    for payload in [
        json!({ "agent": "echo" }),
        json!({ "agent": 7 }),
        json!({ "agent": "nobody" }),
        json!({ "agent": "echo@9" }),
        json!({ "agent": "echo", "lease_request": [] }),
        json!({ "agent": "echo" }),
    ] {
        asked.push(ann.say("job.submit", payload).await);
    }
    let (mut answered, mut codes) = (Vec::new(), Vec::new());
    while answered.len() < asked.len() {
        let message = ann.client.json().await;
        if let Some(id) = message["payload"]["request_id"].as_str() {
            answered.push(id.to_owned());
            codes.extend(message["payload"]["code"].as_str().map(str::to_owned));
        }
    }
    assert_eq!(answered, asked);
    assert_eq!(codes, ["INVALID_REQUEST", "AGENT_NOT_AVAILABLE", "AGENT_VERSION_NOT_AVAILABLE", "INVALID_REQUEST"]);
    house.runtime.stop().await;
}

#[tokio::test]
async fn a_slow_client_misses_nothing_of_a_burst() {
    let house = House::open().await;
    let (mut ann, _) = house.ann().await;
    ann.say("job.submit", json!({ "agent": "burst", "input": { "events": 5_000, "bytes": 100 } })).await;
    ann.next("job.accepted").await;
    let messages = ann.until("job.result").await;
    let numbers: Vec<_> = messages.iter().map(|message| message["event_seq"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
    assert!(numbers.len() > 5_000, "{}", numbers.len());
    let job = messages[0]["job_id"].clone();
    let (mut other, _) = house.ann().await;
    other.say("job.subscribe", json!({ "job_id": job, "history": true })).await;
    let subscribed = other.next("job.subscribed").await;
    assert_eq!(
        (&subscribed["payload"]["replayed"], &subscribed["payload"]["current_status"]),
        (&json!(true), &json!("success"))
    );
    let replayed = other.until("job.result").await;
    assert_eq!(replayed.len(), messages.len());
    assert_eq!(subscribed["payload"]["subscribed_from"], replayed.len());
    house.runtime.stop().await;
}
