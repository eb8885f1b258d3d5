//! Compiled-in handlers: what they answer, and that none of them harms anybody else.

use std::sync::Arc;

use serde_json::{Value, json};
use tidegate::identity::Revocation;
use tidegate::{Builder, Failure};
use tidegate_testkit::clients::raw::{PING, PONG, RawSocket, TEXT};
use tidegate_testkit::clients::{EventSocket, within};
use tokio::sync::{Semaphore, mpsc};

use crate::fixture::{ask, code, refused, serve, told};

fn echo(gateway: Builder) -> Builder {
    gateway.on("echo", |_, data| async { Ok(data) })
}

/// Handlers of `gated` wait until the semaphore lets one pass.
fn gated(gateway: Builder, gate: &Arc<Semaphore>) -> Builder {
    let gate = gate.clone();
    gateway.on("gated", move |_, data| {
        let gate = gate.clone();
        async move {
            gate.acquire().await.unwrap().forget();
            Ok(data)
        }
    })
}

#[tokio::test]
async fn a_handler_answers_by_name() {
    let no = |client: tidegate::Client, _| async move {
        let who = (client.user().to_owned(), client.tenant().map(str::to_owned), client.claims().len());
        assert_eq!(who, ("ann".to_owned(), Some("acme".to_owned()), 0));
        Err(Failure { retryable: true, ..Failure::new("out_of_stock", "come back on Monday") })
    };
    let served = serve("", |gateway| echo(gateway).on("order::place", no)).await;
    let mut ann = served.client("ann@acme").await;
    for data in [json!(null), json!([1, {"a": "ü\u{0}"}]), json!("x"), json!({ "n": 1.5 })] {
        assert_eq!(ask(&mut ann, "echo", data.clone()).await, data);
    }
    let reply = ann.call("order::place", json!({}), "1").await;
    let error = json!({ "code": "out_of_stock", "message": "come back on Monday", "retryable": true });
    assert_eq!(reply.error, error);
    assert_eq!(refused(&mut ann, "order::cancel", json!({})).await, ("unknown_event".to_owned(), false));
    // Without an id nothing is answered, and it is handled all the same.
    ann.send("echo", json!(1), Value::Null).await.unwrap();
    assert_eq!(ask(&mut ann, "echo", json!(2)).await, json!(2));
    served.gateway.stop().await.unwrap();
}

#[tokio::test]
async fn a_slow_handler_holds_up_nobody_and_32_of_a_connection_are_under_way() {
    let gate = Arc::new(Semaphore::new(0));
    let served = serve("", |gateway| gated(echo(gateway), &gate)).await;
    let (mut ann, mut bob) = (served.client("ann").await, served.client("bob").await);
    for number in 0..32 {
        ann.send("gated", json!(number), json!(number)).await.unwrap();
    }
    // Answered while all of those wait: on the same connection, and on another.
    assert_eq!(refused(&mut ann, "gated", json!(0)).await, ("overloaded".to_owned(), true));
    assert_eq!(ask(&mut bob, "echo", json!(1)).await, json!(1));
    gate.add_permits(32);
    let mut answered = Vec::new();
    while answered.len() < 32 {
        let reply = within("the answers", ann.next()).await.unwrap();
        assert_eq!((&reply.event[..], &reply.id), ("reply", &reply.data));
        answered.push(reply.id.as_u64().unwrap());
    }
    answered.sort_unstable();
    assert_eq!(answered, (0..32).collect::<Vec<_>>());
    assert_eq!(ask(&mut ann, "echo", json!(3)).await, json!(3));
    served.gateway.stop().await.unwrap();
}

#[tokio::test]
async fn as_many_handlers_run_as_may() {
    let gate = Arc::new(Semaphore::new(0));
    let served = serve("max_handlers = 1", |gateway| gated(gateway, &gate)).await;
    let (mut ann, mut bob) = (served.client("ann").await, served.client("bob").await);
    ann.send("gated", json!(1), json!("first")).await.unwrap();
    // Taken in before anything that follows on its connection.
    assert_eq!(refused(&mut ann, "gated", json!(2)).await, ("application_unavailable".to_owned(), true));
    assert_eq!(refused(&mut bob, "gated", json!(3)).await.0, "application_unavailable");
    gate.add_permits(2);
    assert_eq!(within("the first", ann.next()).await.unwrap().data, json!(1));
    assert_eq!(ask(&mut bob, "gated", json!(4)).await, json!(4));
    assert_eq!(served.metric("tidegate_application_handlers_busy_total").await, 2);
    served.gateway.stop().await.unwrap();
}

#[tokio::test]
async fn a_panic_and_a_handler_without_end_are_answered() {
    let boom = |_, data: Value| async move {
        if data == json!("panic") { panic!("as the test wants it") } else { std::future::pending().await }
    };
    let served = serve("handler_timeout_ms = 20", |gateway| echo(gateway).on("boom", boom)).await;
    let mut ann = served.client("ann").await;
    assert_eq!(refused(&mut ann, "boom", json!("panic")).await, ("internal".to_owned(), true));
    assert_eq!(refused(&mut ann, "boom", json!("wait")).await, ("handler_timeout".to_owned(), true));
    assert_eq!(ask(&mut ann, "echo", json!(1)).await, json!(1));
    assert_eq!(served.metric("tidegate_application_handlers_panicked_total").await, 1);
    assert_eq!(served.metric("tidegate_application_handlers_timed_out_total").await, 1);
    served.gateway.stop().await.unwrap();
}

#[tokio::test]
async fn who_comes_and_goes_is_told_once() {
    let (tell, mut heard) = mpsc::channel(64);
    let (came, went) = (tell.clone(), tell);
    let served = serve("", |gateway| {
        gateway
            .on_connect(move |client| {
                let came = came.clone();
                async move { came.send(format!("+{}", client.user())).await.unwrap() }
            })
            .on_disconnect(move |client| {
                let went = went.clone();
                async move { went.send(format!("-{}", client.user())).await.unwrap() }
            })
    })
    .await;
    let mut next = async || within("who came or went", heard.recv()).await.unwrap();
    let ann = served.client("ann").await;
    assert_eq!(next().await, "+ann");
    // By a message; a refresh of the same identity is nothing new.
    let mut bob = EventSocket::connect(served.address()).await.unwrap();
    for event in ["auth", "auth.refresh"] {
        assert!(bob.call(event, json!({ "token": "bob@acme" }), "auth").await.error.is_null());
    }
    assert_eq!(code(&bob.call("auth", json!({ "token": "eve" }), "auth").await).0, "other_user");
    assert_eq!(next().await, "+bob");
    drop(bob);
    assert_eq!(next().await, "-bob");
    // Who never said anything is nobody.
    drop(EventSocket::connect(served.address()).await.unwrap());
    let _eve = served.client("eve").await;
    assert_eq!(next().await, "+eve");
    drop(ann);
    assert_eq!(next().await, "-ann");
    served.gateway.stop().await.unwrap();
    assert_eq!(next().await, "-eve");
    assert!(heard.recv().await.is_none(), "nothing else is told, and the gateway holds on to nothing");
}

#[tokio::test]
async fn who_is_revoked_goes_once() {
    let (tell, mut heard) = mpsc::channel(8);
    let served = serve("", |gateway| {
        echo(gateway).on_disconnect(move |client| {
            let tell = tell.clone();
            async move { tell.send(client.user().to_owned()).await.unwrap() }
        })
    })
    .await;
    let (mut ann, mut bob) = (served.client("ann").await, served.client("bob").await);
    for socket in [&mut ann, &mut bob] {
        ask(socket, "echo", json!(1)).await;
    }
    served.revoked.send(Revocation::User { user: "ann".into(), tenant: None }).unwrap();
    while within("the end", ann.next()).await.is_some() {}
    assert_eq!(within("the end", heard.recv()).await.unwrap(), "ann");
    drop(ann);
    assert_eq!(ask(&mut bob, "echo", json!(2)).await, json!(2));
    served.gateway.stop().await.unwrap();
    assert_eq!(heard.recv().await.unwrap(), "bob");
    assert!(heard.recv().await.is_none(), "nothing else");
}

#[tokio::test]
async fn pings_go_on_under_a_slow_handler() {
    let gate = Arc::new(Semaphore::new(0));
    let served = serve("", |gateway| gated(gateway, &gate)).await;
    let mut ann = RawSocket::connect(served.address(), "/ws", false).await;
    ann.frame(true, TEXT, br#"{"event":"auth","data":{"token":"ann"}}"#).await;
    ann.frame(true, TEXT, br#"{"event":"gated","data":7,"id":"slow"}"#).await;
    let mut pings = 0;
    while pings < 2 {
        let (opcode, payload) = within("a ping", ann.next()).await.unwrap();
        assert!(!String::from_utf8_lossy(&payload).contains("slow"), "it waits");
        if opcode == PING {
            pings += 1;
            ann.frame(true, PONG, &payload).await;
        }
    }
    gate.add_permits(1);
    while !within("the answer", ann.next()).await.unwrap().1.ends_with(br#""id":"slow","data":7}"#) {}
    served.gateway.stop().await.unwrap();
}

#[tokio::test]
async fn a_handler_goes_on_when_its_client_leaves() {
    let (tell, mut heard) = mpsc::channel(8);
    let gate = Arc::new(Semaphore::new(0));
    let (let_go, went) = (gate.clone(), tell.clone());
    let served = serve("", |gateway| {
        gateway
            .on("order::place", move |client, _| {
                let (tell, gate) = (tell.clone(), let_go.clone());
                async move {
                    tell.send("begun").await.unwrap();
                    gate.acquire().await.unwrap().forget();
                    // Lost, and no error.
                    client.emit("late", json!(1))?;
                    assert_eq!(client.join_room("lobby").await.unwrap_err().code.as_ref(), "unknown_client");
                    tell.send("done").await.unwrap();
                    Ok(json!(1))
                }
            })
            .on_disconnect(move |_| {
                let went = went.clone();
                async move { went.send("gone").await.unwrap() }
            })
    })
    .await;
    let mut ann = served.client("ann").await;
    ann.send("order::place", json!({}), json!(1)).await.unwrap();
    assert_eq!(within("the handler", heard.recv()).await, Some("begun"));
    drop(ann);
    assert_eq!(within("the end", heard.recv()).await, Some("gone"));
    gate.add_permits(1);
    assert_eq!(within("the handler's end", heard.recv()).await, Some("done"));
    served.gateway.stop().await.unwrap();
}

#[tokio::test]
async fn events_are_sent_to_one_and_to_all_of_a_tenant() {
    let tell = |client: tidegate::Client, data: Value| async move {
        client.emit("one", &data)?;
        client.broadcast("all", &data)?;
        Ok(Value::Null)
    };
    let served = serve("", |gateway| gateway.on("tell", tell)).await;
    let words = ["ann@acme", "bob@acme", "eve@umbrella", "joe"];
    let mut sockets = Vec::new();
    for who in words {
        let mut socket = served.client(who).await;
        // It is there.
        let _ = refused(&mut socket, "nothing", json!(0)).await;
        sockets.push(socket);
    }
    let [ann, bob, eve, joe] = &mut sockets[..] else { panic!("four") };
    ann.send("tell", json!("acme"), Value::Null).await.unwrap();
    assert_eq!((told(ann, "one").await, told(ann, "all").await), (json!("acme"), json!("acme")));
    assert_eq!(told(bob, "all").await, json!("acme"));
    // The first that others are told is their own.
    for (socket, tenant) in [(eve, "umbrella"), (joe, "common")] {
        socket.send("tell", json!(tenant), Value::Null).await.unwrap();
        assert_eq!(told(socket, "all").await, json!(tenant));
    }
    served.gateway.stop().await.unwrap();
}
