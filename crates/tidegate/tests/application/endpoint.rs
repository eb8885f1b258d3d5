//! The endpoint: what it is posted, what becomes of its answers, and that one that does not answer harms nobody.

use std::sync::{Arc, Mutex};

use aws_lc_rs::hmac;
use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::post;
use serde_json::{Value, json};
use tidegate_testkit::clients::within;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use crate::fixture::{ask, refused, serve};

const SECRET: &str = "what-the-application-shares-with-the-gateway";

/// An application that checks who asks; events say what it is to answer.
pub(crate) struct Application {
    url: String,
    asked: Arc<Mutex<Vec<Value>>>,
    gate: Arc<Semaphore>,
    // Aborted on drop.
    _task: JoinSet<()>,
}

impl Application {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/events", listener.local_addr().unwrap());
        let (asked, gate) = (Arc::<Mutex<Vec<Value>>>::default(), Arc::new(Semaphore::new(0)));
        let (noted, let_go) = (asked.clone(), gate.clone());
        let answer = move |headers: HeaderMap, body: String| answer(noted.clone(), let_go.clone(), headers, body);
        let mut task = JoinSet::new();
        let router = Router::new().route("/events", post(answer));
        task.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, asked, gate, _task: task }
    }

    pub(crate) fn section(&self, more: &str) -> String {
        section(&self.url, more)
    }

    /// The questions so far.
    pub(crate) fn asked(&self) -> Vec<Value> {
        self.asked.lock().unwrap().clone()
    }
}

fn section(url: &str, more: &str) -> String {
    format!("url = {url:?}\nsecret = {SECRET:?}\n{more}")
}

async fn answer(asked: Arc<Mutex<Vec<Value>>>, gate: Arc<Semaphore>, headers: HeaderMap, body: String) -> Response {
    if !is_signed(&headers, &body) {
        return StatusCode::FORBIDDEN.into_response();
    }
    let question: Value = serde_json::from_str(&body).unwrap();
    let user = question["client"]["user"].clone();
    let (kind, event, data) = (question["type"].clone(), question["event"].clone(), question["data"].clone());
    let topic = question["topic"].as_str().and_then(|topic| topic.strip_prefix("asked:")).map(str::to_owned);
    asked.lock().unwrap().push(question);
    let word = if kind == "subscribe" {
        topic.unwrap_or_default()
    } else {
        event.as_str().or(data.as_str()).unwrap_or_default().to_owned()
    };
    match &*word {
        "yes" => json!({ "allow": true, "data": { "welcome": user }, "info": ["guest"] }).to_string().into_response(),
        "ok" => json!({ "allow": true }).to_string().into_response(),
        "no" if kind != "event" => json!({ "allow": false }).to_string().into_response(),
        "own" => {
            json!({ "error": { "code": "full", "message": "later", "retryable": true } }).to_string().into_response()
        }
        "echo" => json!({ "data": data }).to_string().into_response(),
        "nothing" => "{}".into_response(),
        "no" => json!({ "error": { "code": "sold_out", "message": "tomorrow" } }).to_string().into_response(),
        "garbage" => "nonsense".into_response(),
        "wrong" => json!({ "dta": 1 }).to_string().into_response(),
        "big" => json!({ "data": "x".repeat(70_000) }).to_string().into_response(),
        "moved" => Redirect::temporary("/elsewhere").into_response(),
        "broken" => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        "gated" => {
            gate.acquire().await.unwrap().forget();
            json!({ "data": data }).to_string().into_response()
        }
        _ => std::future::pending().await,
    }
}

fn is_signed(headers: &HeaderMap, body: &str) -> bool {
    let signature = headers.get("tidegate-signature").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let Some((time, mac)) = signature.strip_prefix("t=").and_then(|rest| rest.split_once(",v1=")) else { return false };
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let expected = hmac::sign(&key, format!("{time}.{body}").as_bytes());
    expected.as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>() == mac
}

fn unavailable() -> (String, bool) {
    ("application_unavailable".to_owned(), true)
}

#[tokio::test]
async fn what_nobody_handles_is_asked_of_the_endpoint() {
    let application = Application::start().await;
    let events = "events = [\"echo\", \"no*\", \"mine\"]";
    let mine = |_, _| async { Ok(json!("compiled in")) };
    let served = serve(&application.section(events), |gateway| gateway.on("mine", mine)).await;
    let mut ann = served.client("ann@acme").await;
    assert_eq!(ask(&mut ann, "echo", json!({ "a": [1, "ü"] })).await, json!({ "a": [1, "ü"] }));
    assert_eq!(ask(&mut ann, "nothing", json!(1)).await, Value::Null);
    assert_eq!(ask(&mut ann, "mine", json!(1)).await, json!("compiled in"));
    assert_eq!(refused(&mut ann, "no", json!(1)).await, ("sold_out".to_owned(), false));
    assert_eq!(refused(&mut ann, "other", json!(1)).await.0, "unknown_event");
    let asked = application.asked();
    let events: Vec<&str> = asked.iter().map(|question| question["event"].as_str().unwrap()).collect();
    assert_eq!(events, ["echo", "nothing", "no"]);
    let name = asked[0]["client"]["client_id"].as_str().unwrap();
    assert!(name.starts_with("c_") && name.len() == 34, "{name}");
    let client = json!({ "client_id": name, "user": "ann", "tenant": "acme", "claims": {} });
    let expected = json!({ "type": "event", "event": "echo", "data": { "a": [1, "ü"] }, "client": client });
    assert_eq!(asked[0], expected);
    assert_eq!(served.metric("tidegate_application_asked_total").await, 3);
    assert_eq!(served.metric("tidegate_application_answered_total").await, 3);
    served.gateway.stop().await.unwrap();
}

#[tokio::test]
async fn an_endpoint_that_does_not_answer_as_agreed_is_unavailable() {
    let application = Application::start().await;
    let served = serve(&application.section("timeout_ms = 300"), |gateway| gateway).await;
    let mut ann = served.client("ann").await;
    for event in ["garbage", "wrong", "big", "moved", "broken", "slow"] {
        assert_eq!(refused(&mut ann, event, json!(1)).await, unavailable(), "{event}");
    }
    assert_eq!(ask(&mut ann, "echo", json!(1)).await, json!(1), "the connection goes on");
    for (reason, count) in [("malformed", 2), ("too_long", 1), ("status", 2), ("late", 1), ("connection", 0)] {
        let name = format!("tidegate_application_failed_total{{reason=\"{reason}\"}}");
        assert_eq!(served.metric(&name).await, count, "{reason}");
    }
    served.gateway.stop().await.unwrap();
}

#[tokio::test]
async fn as_many_questions_are_under_way_as_may() {
    let application = Application::start().await;
    let served = serve(&application.section("max_concurrent = 1"), |gateway| gateway).await;
    let (mut ann, mut bob) = (served.client("ann").await, served.client("bob").await);
    ann.send("gated", json!(1), json!("first")).await.unwrap();
    assert_eq!(refused(&mut ann, "echo", json!(1)).await, unavailable());
    assert_eq!(refused(&mut bob, "echo", json!(1)).await, unavailable());
    application.gate.add_permits(1);
    assert_eq!(within("the first", ann.next()).await.unwrap().data, json!(1));
    assert_eq!(ask(&mut bob, "echo", json!(2)).await, json!(2));
    assert_eq!(served.metric("tidegate_application_turned_away_total").await, 2);
    served.gateway.stop().await.unwrap();
}

/// Hangs up on every first request of two, answers the second.
#[tokio::test]
async fn only_what_may_come_twice_is_sent_twice() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let (tell, mut heard) = mpsc::channel(8);
    let mut task = JoinSet::new();
    task.spawn(async move {
        for number in 0.. {
            let (mut socket, _) = listener.accept().await.unwrap();
            let (mut read, mut piece) = (Vec::new(), [0; 4096]);
            while !read.ends_with(b"}}") {
                let count = socket.read(&mut piece).await.unwrap();
                read.extend_from_slice(&piece[..count]);
            }
            let head = String::from_utf8(read).unwrap().to_lowercase();
            let key = head.lines().find_map(|line| line.strip_prefix("idempotency-key: ")).unwrap().to_owned();
            tell.send(key).await.unwrap();
            if number % 2 == 1 {
                let body = if head.contains("subscribe") { "{\"allow\":true}" } else { "{\"data\":7}" };
                let length = body.len();
                let answer = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}");
                socket.write_all(answer.as_bytes()).await.unwrap();
            }
        }
    });
    let more = "idempotent = [\"again\"]\n[[topic]]\nprefix = \"asked:\"\nask = [\"subscribe\"]";
    let served = serve(&section(&url, more), |gateway| gateway).await;
    let mut ann = served.client("ann").await;
    assert_eq!(ask(&mut ann, "again", json!(1)).await, json!(7));
    let keys = (heard.recv().await.unwrap(), heard.recv().await.unwrap());
    assert!(keys.0 == keys.1 && keys.0.len() == 32, "{keys:?}");
    ask(&mut ann, "topic.subscribe", json!({ "topic": "asked:a" })).await;
    let again = (heard.recv().await.unwrap(), heard.recv().await.unwrap());
    assert!(again.0 == again.1 && again.0 != keys.0, "{again:?}");
    assert_eq!(refused(&mut ann, "once", json!(1)).await, unavailable());
    let third = heard.recv().await.unwrap();
    assert!(third != keys.0 && third != again.0);
    assert!(heard.try_recv().is_err(), "it came once");
    assert_eq!(served.metric("tidegate_application_repeated_total").await, 2);
    served.gateway.stop().await.unwrap();
}
