//! A worker and a client as somebody outside writes them, and a whole gateway between: nothing of a job is lost or doubled when the
//! worker is cut off in the middle of it, nor when the gateway is started again.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on says where")]

use std::path::Path;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value as Json, json};
use tempfile::TempDir;
use tidegate::{Config, Flags, Gateway};
use tidegate_testkit::clients::{API_KEY, within};
use tokio::net::TcpStream;
use tokio_websockets::{ClientBuilder, MaybeTlsStream, Message, WebSocketStream};

async fn start(dir: &TempDir, grace_ms: u64) -> Gateway {
    let text = format!(
        "[log]\nlevel = \"warn\"\n[identity]\napi_keys = [\"{API_KEY}\"]\n[edge]\ndrain_window_ms = 0\n[arcp]\nworker_grace_ms = {grace_ms}\n"
    );
    let flags = Flags { listen: Some("127.0.0.1:0".into()), data_dir: Some(dir.path().into()) };
    let config = Config::layered(Some((Path::new("c.toml"), &text)), [], &flags).unwrap();
    within("the start", Gateway::builder(config).start()).await.unwrap()
}

async fn stop(gateway: Gateway) {
    within("the stop", gateway.stop()).await.unwrap();
}

struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    async fn open(gateway: &Gateway, path: &str) -> Self {
        let uri = format!("{}{path}", gateway.url().replace("http://", "ws://")).parse().unwrap();
        let key = API_KEY.parse().unwrap();
        let builder = ClientBuilder::from_uri(uri).add_header("x-api-key".parse().unwrap(), key).unwrap();
        Self(within(path, builder.connect()).await.unwrap().0)
    }

    async fn say(&mut self, message: Json) {
        within("a message", self.0.send(Message::text(message.to_string()))).await.unwrap();
    }

    async fn next(&mut self) -> Json {
        loop {
            let message = within("a message", self.0.next()).await.expect("the end").unwrap();
            if let Some(text) = message.as_text() {
                return serde_json::from_str(text).unwrap();
            }
            assert!(!message.is_close(), "{:?}", message.as_close());
        }
    }
}

struct Worker(Socket);

impl Worker {
    /// Serves `far`, and says that it still has these jobs.
    async fn connect(gateway: &Gateway, jobs: &[&Json]) -> Self {
        let mut socket = Socket::open(gateway, "/arcp/worker").await;
        let jobs: Vec<_> = jobs.iter().map(|job| json!({ "job_id": job })).collect();
        let agents = json!([{ "name": "far", "version": "1" }]);
        socket.say(json!({ "type": "register", "agents": agents, "jobs": jobs })).await;
        assert_eq!(socket.next().await, json!({ "type": "registered" }));
        Self(socket)
    }

    async fn told(&mut self, kind: &str) -> Json {
        let line = self.0.next().await;
        assert_eq!(line["type"], kind, "{line}");
        line
    }

    async fn say(&mut self, job: &Json, numbers: std::ops::RangeInclusive<u64>) {
        for n in numbers {
            let body = json!({ "text": n.to_string() });
            self.0.say(json!({ "type": "event", "job_id": job, "n": n, "kind": "thought", "body": body })).await;
        }
    }
}

struct Client {
    socket: Socket,
    session: Json,
    token: Json,
    /// What its session was told, in its order.
    events: Vec<Json>,
    count: u32,
}

impl Client {
    async fn connect(gateway: &Gateway) -> Self {
        let (socket, welcome) = Self::hello(gateway, json!({})).await;
        let (session, token) = (welcome["session_id"].clone(), welcome["payload"]["resume_token"].clone());
        Self { socket, session, token, events: Vec::new(), count: 0 }
    }

    async fn hello(gateway: &Gateway, mut payload: Json) -> (Socket, Json) {
        let mut socket = Socket::open(gateway, "/arcp").await;
        payload["auth"] = json!({ "scheme": "bearer", "token": API_KEY });
        payload["capabilities"] = json!({ "encodings": ["json"], "features": ["subscribe"] });
        socket.say(json!({ "arcp": "1.1", "id": "hello", "type": "session.hello", "payload": payload })).await;
        let welcome = socket.next().await;
        assert_eq!(welcome["type"], "session.welcome", "{welcome}");
        (socket, welcome)
    }

    async fn resume(&mut self, gateway: &Gateway) {
        let resume =
            json!({ "session_id": self.session, "resume_token": self.token, "last_event_seq": self.events.len() });
        let (socket, welcome) = Self::hello(gateway, json!({ "resume": resume })).await;
        assert_eq!(welcome["session_id"], self.session);
        (self.socket, self.token) = (socket, welcome["payload"]["resume_token"].clone());
    }

    async fn submit(&mut self) -> Json {
        self.count += 1;
        let (id, payload) = (format!("m{}", self.count), json!({ "agent": "far" }));
        let submit =
            json!({ "arcp": "1.1", "id": id, "type": "job.submit", "session_id": self.session, "payload": payload });
        self.socket.say(submit).await;
        let accepted = self.socket.next().await;
        assert_eq!(accepted["type"], "job.accepted", "{accepted}");
        accepted["job_id"].clone()
    }

    /// The next of its session, which has the next number.
    async fn next(&mut self) -> &Json {
        let event = self.socket.next().await;
        assert_eq!(event["event_seq"], self.events.len() + 1, "{event}");
        self.events.push(event);
        &self.events[self.events.len() - 1]
    }

    /// Waits for what the worker said under this number.
    async fn until(&mut self, n: u64) {
        while self.next().await["payload"]["body"]["text"] != *n.to_string() {}
    }

    /// What the worker has said.
    fn heard(&self) -> Vec<u64> {
        self.events.iter().filter_map(|event| event["payload"]["body"]["text"].as_str()?.parse().ok()).collect()
    }

    /// Waits for a job to fail because nobody came (back) for it.
    async fn sees_it_fail(&mut self, job: &Json) {
        while self.next().await["type"] != "job.error" {}
        let end = &self.events[self.events.len() - 1];
        assert_eq!(end["job_id"], *job);
        assert_eq!((&end["payload"]["code"], &end["payload"]["retryable"]), (&json!("INTERNAL_ERROR"), &json!(true)));
    }
}

#[tokio::test]
async fn a_worker_goes_on_after_a_cut_and_after_a_restart_of_the_gateway() {
    let dir = TempDir::new().unwrap();
    let gateway = start(&dir, 60_000).await;
    let mut worker = Worker::connect(&gateway, &[]).await;
    let mut client = Client::connect(&gateway).await;
    let job = client.submit().await;
    assert_eq!(worker.told("job").await["job_id"], job);
    worker.say(&job, 1..=10).await;
    client.until(10).await;

    // It is cut off, and does not know what of this has arrived.
    worker.say(&job, 11..=20).await;
    drop(worker);
    let mut worker = Worker::connect(&gateway, &[&job]).await;
    let heard = worker.told("heard").await;
    let n = heard["n"].as_u64().unwrap();
    assert!(heard["job_id"] == job && (10..=20).contains(&n), "{heard}");
    worker.say(&job, n + 1..=30).await;
    client.until(30).await;

    worker.say(&job, 31..=40).await;
    stop(gateway).await;
    let gateway = start(&dir, 60_000).await;
    client.resume(&gateway).await;
    let mut worker = Worker::connect(&gateway, &[&job]).await;
    let heard = worker.told("heard").await;
    let n = heard["n"].as_u64().unwrap();
    assert!(heard["job_id"] == job && (30..=40).contains(&n), "{heard}");
    // Said twice it counts once.
    worker.say(&job, n..=50).await;
    worker.0.say(json!({ "type": "result", "job_id": job, "n": 51, "result": "done" })).await;
    while client.next().await["type"] != "job.result" {}
    assert_eq!(client.events[client.events.len() - 1]["payload"]["result"], "done");
    assert_eq!(client.heard(), (1..=50).collect::<Vec<_>>());
    // The first event says that it runs: once, not once a connection.
    assert_eq!(client.events.len(), 52);
    while worker.0.next().await["type"] != "stop" {}
    stop(gateway).await;
}

#[tokio::test]
async fn a_job_that_no_worker_comes_back_for_fails_and_may_be_tried_again() {
    let dir = TempDir::new().unwrap();
    let gateway = start(&dir, 200).await;
    let mut client = Client::connect(&gateway).await;
    let mut worker = Worker::connect(&gateway, &[]).await;
    let first = client.submit().await;
    worker.told("job").await;
    drop(worker);
    client.sees_it_fail(&first).await;
    // Whoever comes back with it is told that it is over, and is given another.
    let mut worker = Worker::connect(&gateway, &[&first]).await;
    assert_eq!(worker.told("stop").await["job_id"], first);
    let second = client.submit().await;
    worker.told("job").await;
    stop(gateway).await;

    let gateway = start(&dir, 200).await;
    client.resume(&gateway).await;
    client.sees_it_fail(&second).await;
    let mut worker = Worker::connect(&gateway, &[&second]).await;
    assert_eq!(worker.told("stop").await["job_id"], second);
    stop(gateway).await;
}
