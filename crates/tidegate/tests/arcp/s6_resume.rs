//! Section 6.3: a session goes on.

use serde_json::{Value, json};

use crate::fixture::{Client, House, code, hello, unique};
use crate::frames::{Frames, kind};

const SLOW: &str = "slow";

fn slow() -> Value {
    json!({ "agent": SLOW, "input": { "ms": 600_000 } })
}

#[tokio::test]
pub(crate) async fn the_token_is_another_after_each_welcome() {
    let house = House::open().await;
    let first = house.connect("ann").await;
    let second = first.again(&house, "ann", 0).await.unwrap();
    assert_eq!(first.session, second.session);
    assert_ne!(first.resume_token(), second.resume_token());
    let mut third = second.again(&house, "ann", 0).await.unwrap();
    assert_ne!(second.resume_token(), third.resume_token());
    // Once it is heard that the welcome came, the one from before is of no use.
    third.is_silent().await;
    let refused = second.again(&house, "ann", 0).await.err().unwrap();
    assert_eq!(code(&refused), "RESUME_WINDOW_EXPIRED");
    third.is_silent().await;
}

#[tokio::test]
pub(crate) async fn what_came_after_the_number_is_told_again() {
    let house = House::open().await;
    let mut client = house.connect("ann").await;
    let job = client.submit(json!({ "agent": "count", "input": { "to": 5 } })).await;
    let told = client.events(&job).await;
    for after in 0..=told.len() {
        client = client.again(&house, "ann", after as u64).await.unwrap();
        for event in &told[after..] {
            let again = client.next().await;
            for part in ["type", "job_id", "event_seq", "payload", "trace_id"] {
                assert_eq!(again[part], event[part]);
            }
        }
    }
    client.is_silent().await;
}

#[tokio::test]
pub(crate) async fn what_is_kept_no_more_is_said_to_be_gone() {
    let house = House::open().await;
    let mut client = house.connect("ann").await;
    client.run(json!({ "agent": "count", "input": { "to": 5 } })).await;
    client.say("session.ack", json!({ "last_processed_seq": 4 })).await;
    client.is_silent().await;
    let head = client.frames.head;
    for (after, token) in [(3, None), (head + 1, None), (head, Some("rt_no")), (head, Some(""))] {
        let mut hello = hello("ann");
        hello["resume"] = client.resume(after);
        if let Some(token) = token {
            hello["resume"]["resume_token"] = token.into();
        }
        let refused = Client::resumed(house.at, hello, after).await.err().unwrap();
        let expected = if token == Some("") { "INVALID_REQUEST" } else { "RESUME_WINDOW_EXPIRED" };
        assert_eq!((kind(&refused), code(&refused)), ("session.error", expected), "{after}");
    }
    // A failed attempt burns nothing.
    assert!(client.again(&house, "ann", 4).await.is_ok());
}

#[tokio::test]
pub(crate) async fn three_forms_of_a_resume_are_taken() {
    let house = House::open().await;
    let mut client = house.connect("ann").await;
    client.is_silent().await;
    let session = client.session.clone();
    // An object in the hello.
    client = client.again(&house, "ann", 2).await.unwrap();
    // At the payload's top, and the token alone says which session.
    let mut hello_then = hello("ann");
    hello_then["resume_token"] = client.resume_token().into();
    hello_then["last_event_seq"] = 2.into();
    client = Client::resumed(house.at, hello_then, 2).await.unwrap();
    assert_eq!(client.session, session);
    // A message of its own.
    for inside in [false, true] {
        let mut payload = hello("ann");
        let resume = client.resume(2);
        if inside {
            payload["resume"] = resume;
        } else {
            resume.as_object().unwrap().iter().for_each(|(name, value)| payload[name] = value.clone());
        }
        let mut again = Client::dial(house.at, "/arcp").await;
        again.frames = Frames::after(2);
        let message = json!({ "arcp": "1.1", "id": unique(), "type": "session.resume", "payload": payload });
        again.send(&message).await;
        client = again.welcomed().await.unwrap();
        assert_eq!(client.session, session);
    }
    client.is_silent().await;
}

#[tokio::test]
pub(crate) async fn a_welcome_that_was_lost_costs_nothing() {
    let house = House::open().await;
    let first = house.connect("ann").await;
    // Of these nobody says a word: the first token stays good.
    for _ in 0..3 {
        assert!(first.again(&house, "ann", 0).await.is_ok());
    }
    let mut last = first.again(&house, "ann", 0).await.unwrap();
    last.is_silent().await;
    assert!(first.again(&house, "ann", 2).await.is_err());
}

#[tokio::test]
pub(crate) async fn a_session_without_a_token_of_its_own_is_not_found() {
    let house = House::open().await;
    let (ann, bob) = (house.connect("ann").await, house.connect("ann").await);
    let mut hello = hello("ann");
    hello["resume"] = bob.resume(0);
    hello["resume"]["session_id"] = ann.session.clone().into();
    let refused = Client::resumed(house.at, hello, 0).await.err().unwrap();
    assert_eq!(code(&refused), "RESUME_WINDOW_EXPIRED");
}

#[tokio::test]
pub(crate) async fn what_is_resumed_is_the_same_session() {
    let house = House::open().await;
    let mut client = house.connect("ann").await;
    let job = client.submit(slow()).await;
    client.event(&job).await;
    let mut again = client.again(&house, "ann", 1).await.unwrap();
    let accepted = again.accepted(json!({ "agent": "echo" })).await;
    assert_eq!(accepted["session_id"], client.session);
    let (cancelled, _) = (again.ask("job.cancel", json!({ "job_id": job })).await, ());
    assert_eq!(kind(&cancelled), "job.cancelled");
    assert_eq!(code(again.events(&job).await.last().unwrap()), "CANCELLED");
}

#[tokio::test]
pub(crate) async fn when_the_window_is_over_so_is_the_session() {
    let house = House::with("resume_window_ms = 1000").await;
    let mut client = house.connect("ann").await;
    let job = client.submit(json!({ "agent": "puppet" })).await;
    let part = house.part().await;
    let mut hello = hello("ann");
    hello["resume"] = client.resume(0);
    drop(client);
    house.two_seconds().await;
    let refused = Client::resumed(house.at, hello, 0).await.err().unwrap();
    assert_eq!(code(&refused), "RESUME_WINDOW_EXPIRED");
    // Its job goes on.
    let mut other = house.connect("ann").await;
    other.ask("job.subscribe", json!({ "job_id": job, "history": true })).await;
    part.done();
    assert_eq!(other.events(&job).await.len(), 2);
}
