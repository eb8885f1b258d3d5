use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Map, Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_websockets::{Message, ServerBuilder, WebSocketStream};

use super::*;
use crate::agents::client::Runtime;

/// A runtime that does what a test says, a connection at a time.
struct Scripted(TcpListener);

struct Connection(WebSocketStream<TcpStream>);

impl Scripted {
    async fn new() -> (Self, Runtime) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}/arcp", listener.local_addr().unwrap());
        (Self(listener), Runtime { url, token: Some("secret".into()) })
    }

    /// The next connection, and what its hello says.
    async fn hello(&self) -> (Connection, Value) {
        let (socket, _) = self.0.accept().await.unwrap();
        let (_, socket) = ServerBuilder::new().accept(socket).await.unwrap();
        let mut connection = Connection(socket);
        let hello = connection.hears("session.hello").await;
        (connection, hello["payload"].clone())
    }

    /// The same, welcomed.
    async fn welcome(&self, session: &str, token: &str) -> (Connection, Value) {
        let (mut connection, hello) = self.hello().await;
        let payload = json!({ "resume_token": token, "resume_window_sec": 60, "capabilities": {} });
        connection.says("session.welcome", json!({ "session_id": session, "payload": payload })).await;
        (connection, hello)
    }
}

impl Connection {
    async fn hears(&mut self, kind: &str) -> Value {
        let message = self.0.next().await.unwrap().unwrap();
        let message: Value = serde_json::from_str(message.as_text().unwrap()).unwrap();
        assert_eq!(message["type"], kind, "{message}");
        message
    }

    async fn says(&mut self, kind: &str, rest: Value) {
        let mut message = json!({ "arcp": "1.1", "id": "m", "type": kind });
        message.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        self.0.send(Message::text(message.to_string())).await.unwrap();
    }

    async fn accepts(&mut self, submit: &Value) {
        let payload = json!({ "job_id": "job_1", "agent": "echo@1.0.0", "request_id": submit["id"] });
        self.says("job.accepted", json!({ "job_id": "job_1", "payload": payload })).await;
    }

    async fn event(&mut self, seq: u64, chunk: u64, data: &str, more: bool) {
        let body = json!({ "chunk_seq": chunk, "data": data, "encoding": "utf8", "more": more });
        let payload = json!({ "kind": "result_chunk", "body": body });
        self.says("job.event", json!({ "job_id": "job_1", "event_seq": seq, "payload": payload })).await;
    }

    async fn ends(&mut self, seq: u64, payload: Value) {
        let kind = if payload["final_status"] == "success" { "job.result" } else { "job.error" };
        self.says(kind, json!({ "job_id": "job_1", "event_seq": seq, "payload": payload })).await;
        self.hears("session.close").await;
        self.says("session.closed", json!({ "payload": {} })).await;
    }
}

fn submit() -> Wanted {
    let submit = Submit {
        agent: "echo".into(),
        input: None,
        lease_request: Map::new(),
        lease_constraints: None,
        idempotency_key: "k".into(),
        max_runtime_sec: None,
    };
    Wanted::Submit { submit: Box::new(submit), detach: false }
}

/// Follows a job; how that ended, and the result as it was written.
async fn follow(runtime: Runtime, wanted: Wanted) -> (Result<Outcome, String>, String) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("result");
    let screen = Screen::open(false, Some(&file)).unwrap();
    let followed = async {
        let (client, _) = Client::connect(runtime).await?;
        Follow::new(client, screen, wanted).run().await
    };
    let outcome = followed.await.map_err(|error| error.to_string());
    (outcome, std::fs::read_to_string(file).unwrap())
}

#[tokio::test]
async fn a_lost_connection_is_taken_up_where_it_was() {
    let (scripted, runtime) = Scripted::new().await;
    let script = async {
        let (mut first, hello) = scripted.welcome("sess_1", "rt_1").await;
        assert_eq!((&hello["auth"]["token"], &hello["resume"]), (&json!("secret"), &Value::Null));
        let submit = first.hears("job.submit").await;
        assert_eq!(submit["session_id"], "sess_1");
        first.accepts(&submit).await;
        first.event(1, 0, "a", true).await;
        first.event(2, 1, "b", true).await;
        // A number is missing: what comes after is not believed.
        first.event(4, 3, "d", true).await;
        let (mut second, hello) = scripted.welcome("sess_1", "rt_2").await;
        let resume = json!({ "session_id": "sess_1", "resume_token": "rt_1", "last_event_seq": 2 });
        assert_eq!(hello["resume"], resume);
        // Once more what it has: skipped.
        second.event(2, 1, "b", true).await;
        second.event(3, 2, "c", true).await;
        drop(second);
        let (mut third, hello) = scripted.welcome("sess_1", "rt_3").await;
        assert_eq!((&hello["resume"]["resume_token"], &hello["resume"]["last_event_seq"]), (&json!("rt_2"), &json!(3)));
        third.event(4, 3, "d", false).await;
        third.ends(5, json!({ "final_status": "success", "result_id": "res_1", "result_size": 4 })).await;
    };
    let (followed, ()) = tokio::join!(follow(runtime, submit()), script);
    assert_eq!(followed, (Ok(Outcome::Success), "abcd".into()));
}

#[tokio::test]
async fn a_submit_that_was_not_answered_is_said_again_with_its_key() {
    let (scripted, runtime) = Scripted::new().await;
    let script = async {
        let (mut first, _) = scripted.welcome("sess_1", "rt_1").await;
        let before = first.hears("job.submit").await;
        drop(first);
        let (mut second, _) = scripted.welcome("sess_1", "rt_2").await;
        let again = second.hears("job.submit").await;
        // Another message: the same one would be skipped.
        assert_ne!(before["id"], again["id"]);
        assert_eq!((&before["payload"], &again["payload"]["idempotency_key"]), (&again["payload"], &json!("k")));
        second.accepts(&again).await;
        second.ends(1, json!({ "final_status": "cancelled", "code": "CANCELLED", "message": "m" })).await;
    };
    let (followed, ()) = tokio::join!(follow(runtime, submit()), script);
    assert_eq!(followed.0, Ok(Outcome::Ended));
}

#[tokio::test]
async fn a_session_that_is_over_is_followed_by_another_that_subscribes() {
    let (scripted, runtime) = Scripted::new().await;
    let script = async {
        let (mut first, _) = scripted.welcome("sess_1", "rt_1").await;
        let submit = first.hears("job.submit").await;
        first.accepts(&submit).await;
        first.event(1, 0, "a", true).await;
        drop(first);
        let (mut refused, _) = scripted.hello().await;
        let payload = json!({ "code": "RESUME_WINDOW_EXPIRED", "message": "m" });
        refused.says("session.error", json!({ "session_id": "sess_x", "payload": payload })).await;
        let (mut second, hello) = scripted.welcome("sess_2", "rt_2").await;
        assert_eq!(hello["resume"], Value::Null);
        let subscribe = second.hears("job.subscribe").await;
        assert_eq!(subscribe["payload"], json!({ "job_id": "job_1", "from_event_seq": 1, "history": true }));
        second.event(1, 1, "b", false).await;
        second.ends(2, json!({ "final_status": "success", "result_size": 2 })).await;
    };
    let (followed, ()) = tokio::join!(follow(runtime, submit()), script);
    assert_eq!(followed, (Ok(Outcome::Success), "ab".into()));
}

#[tokio::test]
async fn what_is_refused_or_not_whole_is_said() {
    let (scripted, runtime) = Scripted::new().await;
    let script = async {
        let (mut first, _) = scripted.welcome("sess_1", "rt_1").await;
        let submit = first.hears("job.submit").await;
        let payload = json!({ "code": "AGENT_NOT_AVAILABLE", "message": "no", "request_id": submit["id"] });
        first.says("session.error", json!({ "payload": payload })).await;
        first.hears("session.close").await;
        drop(first);
        let (mut second, _) = scripted.welcome("sess_2", "rt_2").await;
        let subscribe = second.hears("job.subscribe").await;
        assert_eq!(subscribe["payload"]["from_event_seq"], 0);
        second.event(1, 3, "rest", false).await;
        second.ends(2, json!({ "final_status": "success", "result_size": 9 })).await;
    };
    let followed = async {
        let refused = follow(runtime.clone(), submit()).await.0;
        (refused, follow(runtime, Wanted::Watch("job_1".into())).await)
    };
    let ((refused, partial), ()) = tokio::join!(followed, script);
    assert_eq!(refused, Err("AGENT_NOT_AVAILABLE: no".into()));
    assert_eq!(partial, (Err("pieces of the result are missing: there are 4 of 9 bytes".into()), "rest".into()));
}
