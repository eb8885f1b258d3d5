//! `/connection/websocket`: the Centrifugo client protocol, as its clients expect it.

use std::sync::Arc;

use axum::http::StatusCode;
use bytes::Bytes;
use serde_json::{Value as Json, json};
use tidegate_edge::{ApiError, Application, EdgeConfig, Peer, Permit, PositionsOnly};
use tidegate_identity::{ClientTokens, Secret};
use tidegate_model::{Answer, Later, Tenant};
use tidegate_topics::{Data, Keep, Namespace, Options, Publish, Topic};

use crate::gateway::{Client, Gateway};

mod binary;
mod commands;
mod connecting;
mod live;
mod maps;
mod orders;
mod recovering;
mod telling;
mod uni;

const PATH: &str = "/connection/websocket";
/// What tokens are signed with, at second 1,000.
const SECRET: &str = "secret";

fn namespaces() -> Vec<Namespace> {
    let history = Options { history_size: 100, ..Options::default() };
    let of = |prefix: &str, options: Options| Namespace { prefix: prefix.into(), options: Arc::new(options) };
    vec![
        of("chat:", Options { presence: true, join_leave: true, ..history.clone() }),
        of("small:", Options { history_size: 2, ..Options::default() }),
        of("delta:", Options { delta: true, ..history.clone() }),
        of("last:", Options { keep: Keep::Last, ..history.clone() }),
        of("map:", Options { keep: Keep::LastOfKey, ..Options::default() }),
        of("kept:", Options { keep: Keep::LastOfKey, delta: true, ..history.clone() }),
        of("asked:", Options { ask_subscribe: true, ask_publish: true, ..history }),
    ]
}

/// An application that answers some time later.
struct App;

impl Application for App {
    fn event(&self, peer: &Peer, event: &str, data: &str) -> Option<Later<Bytes, ApiError>> {
        let (name, data) = (peer.name().clone(), data.to_owned());
        match event {
            "echo" => Some(Box::pin(async move {
                tokio::task::yield_now().await;
                Ok(format!("{{\"of\":\"{name}\",\"data\":{data}}}").into())
            })),
            "fail" => Some(Box::pin(async { Err(ApiError::new(StatusCode::FORBIDDEN, "no", "not today")) })),
            _ => None,
        }
    }

    fn may_subscribe(&self, _: &Peer, topic: &Arc<Topic>) -> Answer<Permit, ApiError> {
        let is_secret = topic.name.contains("secret");
        Answer::Later(Box::pin(async move {
            tokio::task::yield_now().await;
            match is_secret {
                true => Err(ApiError::new(StatusCode::FORBIDDEN, "forbidden", "it is a secret")),
                false => Ok(Permit { data: Some("{\"hello\":1}".into()), chan_info: Some("\"in\"".into()) }),
            }
        }))
    }

    fn may_publish(&self, _: &Peer, _: &Arc<Topic>, data: &Data) -> Answer<(), ApiError> {
        let is_slow = data.bytes().starts_with(b"\"slow");
        Answer::Later(Box::pin(async move {
            for _ in 0..if is_slow { 50 } else { 1 } {
                tokio::task::yield_now().await;
            }
            Ok(())
        }))
    }
}

async fn start() -> Gateway {
    start_with(EdgeConfig::default()).await
}

async fn start_with(config: EdgeConfig) -> Gateway {
    Gateway::furnished(config, true, Arc::new(PositionsOnly), namespaces(), |edge| {
        let tokens = ClientTokens::new(&Secret::new(SECRET), Arc::new(|| 1_000_000));
        edge.with_client_tokens(tokens).application(Arc::new(App))
    })
    .await
}

/// Without tokens and an application.
async fn plain() -> Gateway {
    Gateway::furnished(EdgeConfig::default(), true, Arc::new(PositionsOnly), namespaces(), |edge| edge).await
}

/// A client that is connected, and the result of that.
async fn connected(gateway: &Gateway) -> (Client, Json) {
    connected_with(gateway, json!({})).await
}

async fn connected_with(gateway: &Gateway, connect: Json) -> (Client, Json) {
    let mut client = gateway.ws(PATH).await;
    let reply = ask(&mut client, 1, "connect", connect).await;
    assert_eq!(reply["id"], 1, "{reply}");
    (client, reply["connect"].clone())
}

async fn ask(client: &mut Client, id: u32, method: &str, request: Json) -> Json {
    client.send(&json!({"id": id, method: request}).to_string()).await;
    client.json().await
}

/// The result of a command, which has to be the next message.
async fn result(client: &mut Client, method: &str, request: Json) -> Json {
    let reply = ask(client, 7, method, request).await;
    assert!(reply.get("error").is_none() && reply["id"] == 7, "{reply}");
    reply[method].clone()
}

/// The code of the error that answers a command.
async fn refused(client: &mut Client, method: &str, request: Json) -> u64 {
    let reply = ask(client, 7, method, request).await;
    assert_eq!(reply["id"], 7);
    reply["error"]["code"].as_u64().unwrap_or_else(|| panic!("no error: {reply}"))
}

/// What a server publishes.
async fn publish(gateway: &Gateway, topic: &str, data: &str) -> u64 {
    let topics = gateway.edge.topics();
    let topic = topics.namespaces.topic(Tenant::common(), topic).unwrap();
    let published = topics.broker.publish(Publish::new(topic, Data::Json(data.to_owned().into()))).wait().await;
    published.unwrap().offset
}

async fn publish_key(gateway: &Gateway, topic: &str, key: &str, data: &str, tags: &[(&str, &str)]) {
    let topics = gateway.edge.topics();
    let topic = topics.namespaces.topic(Tenant::common(), topic).unwrap();
    let tags = tags.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    let key = (!key.is_empty()).then(|| key.into());
    let publish = Publish { key, tags, ..Publish::new(topic, Data::Json(data.to_owned().into())) };
    topics.broker.publish(publish).wait().await.unwrap();
}
