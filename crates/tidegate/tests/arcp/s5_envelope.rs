//! Section 5: the envelope. What holds for every message of the gateway is in `frames.rs`.

use serde_json::{Value, json};

use crate::fixture::{Client, House, code, end, hello, job_of, unique};
use crate::frames::kind;

#[tokio::test]
pub(crate) async fn fields_that_are_not_known_are_ignored() {
    let house = House::open().await;
    let mut client = house.connect("ann").await;
    let mut submit = client.message("with-more", "job.submit", json!({ "agent": "echo", "more": 1 }));
    submit["priority"] = json!({ "high": [1, null] });
    submit["event_seq"] = Value::Null;
    submit["job_id"] = Value::Null;
    submit["extensions"] = json!({ "x-vendor.acme.note": "hi" });
    client.send(&submit).await;
    assert_eq!(kind(&client.answer("with-more").await), "job.accepted");
}

#[tokio::test]
pub(crate) async fn a_bad_message_is_answered_and_the_session_lives_on() {
    let house = House::open().await;
    let mut client = house.connect("ann").await;
    let session = client.session.clone();
    for text in [
        "no JSON".to_owned(),
        "[]".to_owned(),
        json!({ "arcp": "1.1", "type": "job.submit", "session_id": session, "payload": {} }).to_string(),
        json!({ "arcp": "1.0", "id": unique(), "type": "job.submit", "session_id": session }).to_string(),
        json!({ "arcp": "1.1", "id": unique(), "type": "session.ping", "session_id": session, "payload": 7 })
            .to_string(),
        json!({ "arcp": "1.1", "id": unique(), "type": "session.list_jobs", "payload": {} }).to_string(),
        json!({ "arcp": "1.1", "id": unique(), "session_id": session, "payload": {} }).to_string(),
    ] {
        client.send_text(text.clone()).await;
        let error = client.next().await;
        assert_eq!((kind(&error), code(&error)), ("session.error", "INVALID_REQUEST"), "{text}");
        assert_eq!(error["session_id"], session);
    }
    client.is_silent().await;
}

#[tokio::test]
pub(crate) async fn types_that_are_not_known_are_refused_unless_they_may_be_ignored() {
    let house = House::open().await;
    let mut client = house.connect("ann").await;
    for name in ["session.nope", "job.nope", "job.event", "nope", "x-vendor.acme.wave"] {
        let error = client.ask(name, json!({})).await;
        assert_eq!((kind(&error), code(&error)), ("session.error", "INVALID_REQUEST"), "{name}");
    }
    let mut wave = client.message(&unique(), "x-vendor.acme.wave", json!({}));
    wave["extensions"] = json!({ "optional": true });
    client.send(&wave).await;
    let mut other = client.message(&unique(), "session.nope", json!({}));
    other["extensions"] = json!({ "optional": true });
    client.send(&other).await;
    assert_eq!(code(&client.next().await), "INVALID_REQUEST");
    let mut named = client.message(&unique(), "session.ping", json!({ "nonce": "n" }));
    named["extensions"] = json!({ "acme": 1 });
    client.send(&named).await;
    assert_eq!(code(&client.next().await), "INVALID_REQUEST");
    client.is_silent().await;
}

#[tokio::test]
pub(crate) async fn a_message_counts_once_also_after_a_resume() {
    let house = House::open().await;
    let mut client = house.connect("ann").await;
    let submit = client.message("the-same", "job.submit", json!({ "agent": "echo" }));
    client.send(&submit).await;
    let job = job_of(&client.answer("the-same").await);
    let head = end(&client.events(&job).await)["event_seq"].as_u64().unwrap();
    client.send(&submit).await;
    client.is_silent().await;
    let mut again = client.again(&house, "ann", head + 2).await.unwrap();
    again.send(&submit).await;
    again.is_silent().await;
    assert_eq!(again.list(json!({})).await.len(), 3, "one, and those that looked for silence");
    // A ping is answered each time.
    let ping = again.message("ping", "session.ping", json!({ "nonce": "n" }));
    for _ in 0..2 {
        again.send(&ping).await;
        assert_eq!(again.take("session.pong").await["payload"]["ping_nonce"], "n");
    }
}

#[tokio::test]
pub(crate) async fn any_id_will_do_that_is_one() {
    let house = House::open().await;
    for id in ["1", "ä b", &"x".repeat(256)] {
        assert!(Client::open(house.at, "/arcp", id, hello("ann")).await.is_ok(), "{id}");
    }
    for id in ["", &"x".repeat(257)] {
        let refused = Client::open(house.at, "/arcp", id, hello("ann")).await.err().unwrap();
        assert_eq!(code(&refused), "INVALID_REQUEST");
    }
}
