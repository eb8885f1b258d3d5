//! What is asked and what an answer means, against applications that answer all alike.

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use serde_json::{Value, json};
use std::sync::Mutex;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tidegate_identity::{Patterns, PrincipalKind, Secret};
use tidegate_model::Tenant;
use tidegate_topics::Options;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::*;

type Asked = Arc<Mutex<Vec<Value>>>;

/// An application that answers every question with `answer`; what it was asked, and its end.
async fn application(answer: &str) -> (Endpoint, Asked, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let (asked, answer) = (Asked::default(), answer.to_owned());
    let note = |State((asked, answer)): State<(Asked, String)>, body: String| async move {
        asked.lock().unwrap().push(serde_json::from_str(&body).unwrap());
        answer
    };
    let router = Router::new().route("/", post(note)).with_state((asked.clone(), answer));
    let mut serving = JoinSet::new();
    serving.spawn(async move { axum::serve(listener, router).await.unwrap() });
    (endpoint(&url), asked, serving)
}

fn endpoint(url: &str) -> Endpoint {
    let settings = ApplicationEndpoint {
        url: url.parse().unwrap(),
        secret: Secret::new("s3cret"),
        timeout: Duration::from_secs(10),
        asked_max: 8,
        answer_bytes_max: 4096,
        events: Patterns::new(&["order::*".to_owned()]).unwrap(),
        idempotent: Patterns::new(&[]).unwrap(),
    };
    Endpoint::new(settings, Handle::current(), Arc::new(|| 0), Arc::default()).unwrap()
}

fn ann() -> Principal {
    let tenant = Some(Tenant::new("acme"));
    Principal { user: "ann".into(), tenant, ..Principal::new(PrincipalKind::User) }
}

fn topic() -> Topic {
    Topic { tenant: Tenant::new("acme"), name: "chat:1".into(), options: Arc::new(Options::default()) }
}

#[tokio::test]
async fn a_question_says_what_and_who() {
    let (endpoint, asked, _serving) = application(r#"{"allow":true,"data":{"a":1},"info":[2]}"#).await;
    let (principal, topic) = (ann(), topic());
    let from = From("c_1", &principal);
    let permit = endpoint.may_subscribe(from, &topic).await.unwrap();
    assert_eq!(permit.data.as_deref(), Some(&br#"{"a":1}"#[..]));
    assert_eq!(permit.chan_info.as_deref(), Some(&b"[2]"[..]));
    endpoint.may_publish(from, &topic, &Data::Json(Bytes::from("[1.50]"))).await.unwrap();
    endpoint.may_publish(from, &topic, &Data::Binary(Bytes::from_static(b"\xff"))).await.unwrap();
    let client = json!({ "client_id": "c_1", "user": "ann", "tenant": "acme", "claims": {} });
    let expected = [
        json!({ "type": "subscribe", "topic": "chat:1", "client": client }),
        json!({ "type": "publish", "topic": "chat:1", "data": [1.5], "client": client }),
        json!({ "type": "publish", "topic": "chat:1", "b64data": "/w==", "client": client }),
    ];
    assert_eq!(*asked.lock().unwrap(), expected);
    assert!(endpoint.event(from, "other", "null").is_none(), "no pattern has it");
}

#[tokio::test]
async fn only_a_clear_yes_allows() {
    let own = r#"{"error":{"code":"full","message":"come back later","retryable":true}}"#;
    let cases = [
        (r#"{"allow":false}"#, "forbidden", false),
        ("{}", "forbidden", false),
        (own, "full", true),
        (r#"{"allow":true,"error":{"code":"full","message":"no"}}"#, "full", false),
        (r#"{"allow":"true"}"#, "application_unavailable", true),
        (r#"{"alow":true}"#, "application_unavailable", true),
        (r#"[true]"#, "application_unavailable", true),
        ("", "application_unavailable", true),
        (r#"{"error":{"code":"","message":"no"}}"#, "application_unavailable", true),
    ];
    let (principal, topic) = (ann(), topic());
    let from = From("c_1", &principal);
    for (answer, code, retryable) in cases {
        let (endpoint, _asked, _serving) = application(answer).await;
        let subscribe = endpoint.may_subscribe(from, &topic).await.unwrap_err();
        let publish = endpoint.may_publish(from, &topic, &Data::Json(Bytes::from("1"))).await.unwrap_err();
        for error in [subscribe, publish] {
            assert_eq!((error.code(), error.retryable), (code, retryable), "{answer}");
        }
    }
}

#[tokio::test]
async fn an_application_that_is_down_says_no_after_a_second_try() {
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let endpoint = endpoint(&format!("http://{address}/"));
    let principal = ann();
    let error = endpoint.may_subscribe(From("c_1", &principal), &topic()).await.unwrap_err();
    assert_eq!((error.code(), error.retryable), ("application_unavailable", true));
    let metrics = &endpoint.0.metrics;
    assert_eq!((metrics.asked.load(Relaxed), metrics.repeated.load(Relaxed)), (1, 1));
    assert_eq!(metrics.failed[Failed::Connection as usize].load(Relaxed), 1);
    let event = endpoint.event(From("c_1", &principal), "order::place", "{}").unwrap();
    assert_eq!(event.await.unwrap_err().code(), "application_unavailable");
    assert_eq!(metrics.repeated.load(Relaxed), 1, "an event is not repeated unless it is listed");
}
