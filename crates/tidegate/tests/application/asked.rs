//! Namespaces about which the endpoint is asked: only a clear yes lets anybody in, over either protocol.

use serde_json::{Value, json};
use tidegate_testkit::clients::{CentrifugoSocket, Endpoint};

use crate::endpoint::Application;
use crate::fixture::{Served, ask, refused, serve, told};

const NAMESPACE: &str = r#"
timeout_ms = 300
[[topic]]
prefix = "asked:"
presence = true
history_size = 10
ask = ["subscribe", "publish"]
"#;

async fn gateway(application: &Application) -> Served {
    serve(&application.section(NAMESPACE), |gateway| gateway).await
}

fn post(data: &str) -> Value {
    json!({ "topic": "asked:yes", "data": data })
}

#[tokio::test]
async fn who_subscribes_and_publishes_is_the_applications_decision() {
    let application = Application::start().await;
    let served = gateway(&application).await;
    let (mut ann, mut bob) = (served.client("ann").await, served.client("bob").await);
    let yes = json!({ "topic": "asked:yes" });
    for event in ["topic.history", "topic.presence", "ephemeral.list"] {
        assert_eq!(refused(&mut ann, event, yes.clone()).await.0, "not_subscribed", "{event}");
    }
    assert_eq!(refused(&mut ann, "topic.publish", post("ok")).await.0, "not_subscribed");
    assert_eq!(application.asked(), Vec::<Value>::new(), "nothing that is refused anyway");
    let subscribed = ask(&mut ann, "topic.subscribe", yes.clone()).await;
    assert_eq!(subscribed["data"], json!({ "welcome": "ann" }));
    ask(&mut bob, "topic.subscribe", yes.clone()).await;
    let present = ask(&mut bob, "topic.presence", yes.clone()).await;
    assert_eq!(present["members"][0]["chan_info"], json!(["guest"]));
    for (topic, code, retryable) in [
        ("asked:no", "forbidden", false),
        ("asked:own", "full", true),
        ("asked:broken", "application_unavailable", true),
        ("asked:wrong", "application_unavailable", true),
        ("asked:slow", "application_unavailable", true),
    ] {
        let refusal = refused(&mut ann, "topic.subscribe", json!({ "topic": topic })).await;
        assert_eq!(refusal, (code.to_owned(), retryable), "{topic}");
    }
    for (data, code) in
        [("no", "forbidden"), ("broken", "application_unavailable"), ("slow", "application_unavailable")]
    {
        assert_eq!(refused(&mut ann, "topic.publish", post(data)).await.0, code, "{data}");
    }
    ask(&mut ann, "topic.publish", post("ok")).await;
    assert_eq!(told(&mut bob, "topic.message").await["data"], "ok");
    let history = ask(&mut bob, "topic.history", yes).await;
    assert_eq!(history["messages"].as_array().unwrap().len(), 1);
    let asked = application.asked();
    let client = &asked[0]["client"];
    assert_eq!(asked[0], json!({ "type": "subscribe", "topic": "asked:yes", "client": client }));
    assert_eq!((&client["user"], &client["tenant"]), (&json!("ann"), &Value::Null));
    let last = asked.last().unwrap();
    assert_eq!(*last, json!({ "type": "publish", "topic": "asked:yes", "data": "ok", "client": client }));
    served.gateway.stop().await.unwrap();
}

#[tokio::test]
async fn the_same_holds_over_the_centrifugo_protocol() {
    let application = Application::start().await;
    let served = gateway(&application).await;
    let endpoint = Endpoint::from(served.address()).header("authorization", "Bearer ann@acme");
    let mut ann = CentrifugoSocket::connect(endpoint).await.unwrap();
    assert!(ann.call("connect", json!({})).await["connect"].is_object());
    let yes = json!({ "channel": "asked:yes" });
    for command in ["history", "presence", "presence_stats"] {
        assert_eq!(ann.call(command, yes.clone()).await["error"]["code"], 103, "{command}");
    }
    for (channel, code) in [("asked:no", 103), ("asked:broken", 100), ("asked:wrong", 100), ("asked:slow", 100)] {
        let reply = ann.call("subscribe", json!({ "channel": channel })).await;
        assert_eq!(reply["error"]["code"], code, "{channel}: {reply}");
    }
    let reply = ann.call("subscribe", yes.clone()).await;
    assert_eq!(reply["subscribe"]["data"], json!({ "welcome": "ann" }), "{reply}");
    let present = ann.call("presence", yes.clone()).await;
    let member = present["presence"]["presence"].as_object().unwrap().values().next().unwrap();
    assert_eq!(member["chan_info"], json!(["guest"]), "{present}");
    for (data, code) in [("no", 103), ("broken", 100), ("slow", 100)] {
        let reply = ann.call("publish", json!({ "channel": "asked:yes", "data": data })).await;
        assert_eq!(reply["error"]["code"], code, "{data}: {reply}");
    }
    let reply = ann.call("publish", json!({ "channel": "asked:yes", "data": "ok" })).await;
    assert!(reply["error"].is_null(), "{reply}");
    let history = ann.call("history", json!({ "channel": "asked:yes", "limit": 10 })).await;
    assert_eq!(history["history"]["publications"].as_array().unwrap().len(), 1, "{history}");
    assert_eq!(application.asked()[0]["client"]["tenant"], "acme");
    served.gateway.stop().await.unwrap();
}
