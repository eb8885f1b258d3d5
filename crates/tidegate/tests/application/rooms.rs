//! Rooms, and the ephemeral state that handlers set.

use std::time::Duration;

use serde_json::{Value, json};
use tidegate::{Builder, Client};
use tidegate_testkit::clients::within;
use tokio::sync::mpsc;

use crate::fixture::{ask, refused, serve, told};

fn room(data: &Value) -> String {
    data["room"].as_str().unwrap().to_owned()
}

fn rooms(gateway: Builder) -> Builder {
    gateway
        .on("join", |client, data| async move {
            client.join_room(&room(&data)).await?;
            Ok(json!(client.rooms().await?))
        })
        .on("leave", |client, data| async move {
            client.leave_room(&room(&data)).await?;
            Ok(json!(client.rooms().await?))
        })
        .on("say", |client, data| async move {
            client.broadcast_to_room(&room(&data), "said", &data["text"]).await?;
            Ok(Value::Null)
        })
}

#[tokio::test]
async fn what_is_said_in_a_room_reaches_those_who_are_in_it() {
    let served = serve("", rooms).await;
    let lobby = json!({ "room": "lobby" });
    let say = |text: &str| json!({ "room": "lobby", "text": text });
    let (mut ann, mut bob) = (served.client("ann@acme").await, served.client("bob@acme").await);
    let mut eve = served.client("eve@umbrella").await;
    for socket in [&mut ann, &mut bob, &mut eve] {
        assert_eq!(ask(socket, "join", lobby.clone()).await, json!(["lobby"]));
        assert_eq!(ask(socket, "join", lobby.clone()).await, json!(["lobby"]), "once is enough");
    }
    assert_eq!(ask(&mut ann, "join", json!({ "room": "$attic" })).await, json!(["lobby", "$attic"]));
    ann.send("say", say("1"), Value::Null).await.unwrap();
    for socket in [&mut ann, &mut bob] {
        assert_eq!(told(socket, "said").await, json!("1"));
    }
    // Not in the room, then in it again.
    assert_eq!(ask(&mut bob, "leave", lobby.clone()).await, json!([]));
    assert_eq!(ask(&mut bob, "leave", lobby.clone()).await, json!([]));
    ask(&mut bob, "say", say("2")).await;
    assert_eq!(told(&mut ann, "said").await, json!("2"));
    ask(&mut bob, "join", lobby.clone()).await;
    bob.send("say", say("3"), Value::Null).await.unwrap();
    for socket in [&mut ann, &mut bob] {
        assert_eq!(told(socket, "said").await, json!("3"));
    }
    // Of the same name, and another tenant's.
    eve.send("say", say("4"), Value::Null).await.unwrap();
    assert_eq!(told(&mut eve, "said").await, json!("4"));
    for bad in [String::new(), "x".repeat(250), "a\nb".to_owned()] {
        assert_eq!(refused(&mut ann, "join", json!({ "room": bad })).await, ("invalid_topic".to_owned(), false));
    }
    ask(&mut ann, "join", json!({ "room": "x".repeat(249) })).await;
    served.gateway.stop().await.unwrap();
}

#[tokio::test]
async fn a_place_in_a_room_and_entries_end_with_the_connection() {
    let (tell, mut gone) = mpsc::channel(8);
    let set = |client: Client, _| async move {
        client.set("typing", client.user(), "…", Duration::from_secs(60)).await?;
        Ok(Value::Null)
    };
    let list =
        |client: Client, _| async move { Ok(client.list("typing").await?.iter().map(|entry| &*entry.key).collect()) };
    let clear = |client: Client, data: Value| async move {
        client.clear("typing", data.as_str().unwrap()).await?;
        Ok(Value::Null)
    };
    let served = serve("", |gateway| {
        rooms(gateway).on("set", set).on("list", list).on("clear", clear).on_disconnect(move |_| {
            let tell = tell.clone();
            async move { tell.send(()).await.unwrap() }
        })
    })
    .await;
    let (mut ann, mut bob) = (served.client("ann@acme").await, served.client("bob@acme").await);
    let mut eve = served.client("eve@umbrella").await;
    for socket in [&mut ann, &mut bob, &mut eve] {
        ask(socket, "join", json!({ "room": "lobby" })).await;
        ask(socket, "set", Value::Null).await;
    }
    assert_eq!(ask(&mut ann, "list", Value::Null).await, json!(["ann", "bob"]));
    assert_eq!(ask(&mut eve, "list", Value::Null).await, json!(["eve"]));
    ask(&mut ann, "clear", json!("bob")).await;
    assert_eq!(ask(&mut ann, "list", Value::Null).await, json!(["ann", "bob"]), "bob's is bob's");
    assert_eq!(served.metric("tidegate_session_subscriptions").await, 3);
    drop(bob);
    within("the end", gone.recv()).await.unwrap();
    assert_eq!(ask(&mut ann, "list", Value::Null).await, json!(["ann"]));
    assert_eq!(served.metric("tidegate_session_subscriptions").await, 2);
    ask(&mut ann, "clear", json!("ann")).await;
    assert_eq!(ask(&mut ann, "list", Value::Null).await, json!([]));
    served.gateway.stop().await.unwrap();
}
