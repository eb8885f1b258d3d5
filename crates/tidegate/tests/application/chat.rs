//! The example, built and driven.

use serde_json::{Value, json};
use tidegate_testkit::clients::get;

use crate::fixture::{ask, refused, serve, told};

#[path = "../../examples/chat.rs"]
#[expect(dead_code, reason = "its own main")]
mod example;

#[tokio::test]
async fn people_chat() {
    let source = include_str!("../../examples/chat.rs");
    assert!(source.lines().count() < 80, "a whole application in under 80 lines");
    let served = serve("", example::chat).await;
    assert!(String::from_utf8(get(served.address(), "/").await.body).unwrap().contains("chat::join"));
    let (mut ann, mut bob) = (served.client("ann").await, served.client("bob").await);
    let room = json!({ "room": "lobby" });
    assert_eq!(refused(&mut ann, "chat::say", json!({ "room": "lobby", "text": "?" })).await.0, "not_a_member");
    assert_eq!(refused(&mut ann, "chat::join", json!({})).await.0, "malformed");
    let joined = ask(&mut ann, "chat::join", room.clone()).await;
    assert_eq!(joined["rooms"], json!(["lobby"]));
    let you = &joined["you"];
    bob.send("chat::join", room.clone(), Value::Null).await.unwrap();
    let other = told(&mut bob, "chat::joined").await["who"].clone();
    ask(&mut ann, "chat::typing", room.clone()).await;
    assert_eq!(ask(&mut bob, "chat::who_types", room.clone()).await, json!([you]));
    ann.send("chat::say", json!({ "room": "lobby", "text": "hello" }), Value::Null).await.unwrap();
    let said = json!({ "who": you, "text": "hello" });
    assert_eq!((told(&mut ann, "chat::said").await, told(&mut bob, "chat::said").await), (said.clone(), said));
    assert_eq!(ask(&mut bob, "chat::who_types", room.clone()).await, json!([]));
    ask(&mut bob, "chat::leave", room).await;
    assert_eq!(told(&mut ann, "chat::left").await["who"], other);
    served.gateway.stop().await.unwrap();
}
