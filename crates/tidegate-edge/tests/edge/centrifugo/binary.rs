//! The binary encoding: the same protocol, in the messages of the public schema as far as they are needed here.

use std::collections::BTreeMap;

use futures_util::{SinkExt as _, StreamExt as _};
use prost::Message as _;
use tidegate_topics::{Data, Publish};
use tokio::time::timeout;
use tokio_websockets::Message;

use super::{connected, publish, start};
use crate::gateway::{Client, PATIENCE};

#[derive(Clone, PartialEq, prost::Message)]
struct Command {
    #[prost(uint32, tag = "1")]
    id: u32,
    #[prost(message, optional, tag = "4")]
    connect: Option<Token>,
    #[prost(message, optional, tag = "5")]
    subscribe: Option<Channel>,
    #[prost(message, optional, tag = "7")]
    publish: Option<Channel>,
    #[prost(message, optional, tag = "8")]
    presence: Option<Channel>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Token {
    #[prost(string, tag = "1")]
    token: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Empty {}

#[derive(Clone, PartialEq, prost::Message)]
struct Channel {
    #[prost(string, tag = "1")]
    channel: String,
    #[prost(bytes, tag = "2")]
    data: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Reply {
    #[prost(uint32, tag = "1")]
    id: u32,
    #[prost(message, optional, tag = "2")]
    error: Option<Error>,
    #[prost(message, optional, tag = "4")]
    push: Option<Push>,
    #[prost(message, optional, tag = "5")]
    connect: Option<Connect>,
    #[prost(message, optional, tag = "6")]
    subscribe: Option<Subscribe>,
    #[prost(message, optional, tag = "9")]
    presence: Option<Presence>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Error {
    #[prost(uint32, tag = "1")]
    code: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Push {
    #[prost(string, tag = "2")]
    channel: String,
    #[prost(message, optional, tag = "4")]
    publication: Option<Publication>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Publication {
    #[prost(bytes, tag = "4")]
    data: Vec<u8>,
    #[prost(uint64, tag = "6")]
    offset: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Connect {
    #[prost(string, tag = "1")]
    client: String,
    #[prost(bool, tag = "3")]
    expires: bool,
    #[prost(uint32, tag = "7")]
    ping: u32,
    #[prost(bool, tag = "8")]
    pong: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Subscribe {
    #[prost(bool, tag = "3")]
    recoverable: bool,
    #[prost(string, tag = "6")]
    epoch: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Presence {
    #[prost(btree_map = "string, message", tag = "1")]
    presence: BTreeMap<String, Empty>,
}

async fn send(client: &mut Client, commands: &[Command]) {
    let bytes: Vec<u8> = commands.iter().flat_map(prost::Message::encode_length_delimited_to_vec).collect();
    client.socket.send(Message::binary(bytes)).await.unwrap();
}

async fn replies(client: &mut Client) -> Vec<Reply> {
    loop {
        let message = timeout(PATIENCE, client.socket.next()).await.expect("nothing came").expect("the end").unwrap();
        assert!(message.is_binary() || message.is_ping(), "{message:?}");
        if message.is_binary() {
            let mut bytes = &message.as_payload()[..];
            let mut replies = Vec::new();
            while !bytes.is_empty() {
                replies.push(Reply::decode_length_delimited(&mut bytes).unwrap());
            }
            return replies;
        }
    }
}

#[tokio::test]
async fn the_binary_encoding_says_the_same() {
    let gateway = start().await;
    for path in ["?cf_protocol=protobuf", "?format=protobuf"] {
        let mut client = gateway.ws(&format!("/connection/websocket{path}")).await;
        send(&mut client, &[Command { id: 1, connect: Some(Token::default()), ..Command::default() }]).await;
        let connect = replies(&mut client).await.remove(0).connect.unwrap();
        assert!(connect.client.starts_with("c_") && connect.ping == 25 && connect.pong);
        let channel = |data: &[u8]| Some(Channel { channel: "chat:p".into(), data: data.into() });
        send(
            &mut client,
            &[
                Command { id: 2, subscribe: channel(b""), ..Command::default() },
                Command { id: 3, presence: channel(b""), ..Command::default() },
                Command { id: 4, subscribe: channel(b""), ..Command::default() },
            ],
        )
        .await;
        let mut all = Vec::new();
        while all.len() < 3 {
            all.extend(replies(&mut client).await);
        }
        assert!(all[0].subscribe.as_ref().unwrap().recoverable);
        assert!(all[1].presence.as_ref().unwrap().presence.contains_key(&connect.client));
        assert_eq!(all[2].error, Some(Error { code: 105 }));
        // Bytes of any kind.
        send(&mut client, &[Command { id: 5, publish: channel(&[0, 255]), ..Command::default() }]).await;
        let mut all = Vec::new();
        while all.len() < 2 {
            all.extend(replies(&mut client).await);
        }
        let push = all.iter().find_map(|reply| reply.push.clone()).unwrap();
        assert_eq!((&*push.channel, push.publication.unwrap().data), ("chat:p", vec![0, 255]));
        client.socket.send(Message::text("{}")).await.unwrap();
        assert_eq!(client.close().await.0, 3501);
    }
}

#[tokio::test]
async fn one_channel_is_told_in_both_encodings() {
    let gateway = start().await;
    let (mut text, _) = connected(&gateway).await;
    super::result(&mut text, "subscribe", serde_json::json!({"channel": "b"})).await;
    let mut client = gateway.ws("/connection/websocket?cf_protocol=protobuf").await;
    let subscribe = Some(Channel { channel: "b".into(), data: Vec::new() });
    send(
        &mut client,
        &[
            Command { id: 1, connect: Some(Token::default()), ..Command::default() },
            Command { id: 2, subscribe, ..Command::default() },
        ],
    )
    .await;
    let mut all = Vec::new();
    while all.len() < 2 {
        all.extend(replies(&mut client).await);
    }
    publish(&gateway, "b", "{\"x\":1}").await;
    assert_eq!(text.json().await["push"]["pub"]["data"]["x"], 1);
    assert_eq!(replies(&mut client).await[0].push.clone().unwrap().publication.unwrap().data, b"{\"x\":1}");
    let topics = gateway.edge.topics();
    let topic = topics.namespaces.topic(tidegate_model::Tenant::common(), "b").unwrap();
    topics.broker.publish(Publish::new(topic, Data::Binary(vec![0, 1].into()))).wait().await.unwrap();
    assert_eq!(replies(&mut client).await[0].push.clone().unwrap().publication.unwrap().data, [0, 1]);
    assert_eq!(text.close().await, (3506, "inappropriate protocol".into()));
}

#[tokio::test]
async fn a_ping_is_an_empty_message() {
    let config = tidegate_edge::EdgeConfig {
        ping_interval: std::time::Duration::from_millis(50),
        ..tidegate_edge::EdgeConfig::default()
    };
    let gateway = super::start_with(config).await;
    let mut client = gateway.ws("/connection/websocket?cf_protocol=protobuf").await;
    send(&mut client, &[Command { id: 1, connect: Some(Token::default()), ..Command::default() }]).await;
    replies(&mut client).await;
    for _ in 0..2 {
        assert_eq!(replies(&mut client).await, [Reply::default()]);
        client.socket.send(Message::binary(&[0u8][..])).await.unwrap();
    }
}

#[tokio::test]
async fn a_token_in_a_binary_message_says_who_connects() {
    let gateway = start().await;
    let claims = |exp: u64| super::orders::signed(&serde_json::json!({"sub": "ann", "exp": exp}));
    let mut client = gateway.ws("/connection/websocket?cf_protocol=protobuf").await;
    let connect = Some(Token { token: claims(90_000_000_000) });
    let mine = Some(Channel { channel: "chat:p".into(), data: Vec::new() });
    // What waits for the answer is answered too.
    let subscribe = Command { id: 2, subscribe: mine.clone(), ..Command::default() };
    send(&mut client, &[Command { id: 1, connect, ..Command::default() }, subscribe]).await;
    let mut all = Vec::new();
    while all.len() < 2 {
        all.extend(replies(&mut client).await);
    }
    assert!(all[0].connect.as_ref().unwrap().expires && all[1].subscribe.is_some(), "{all:?}");
    let mut client = gateway.ws("/connection/websocket?cf_protocol=protobuf").await;
    let connect = Some(Token { token: claims(999) });
    send(&mut client, &[Command { id: 1, connect, ..Command::default() }]).await;
    assert_eq!(replies(&mut client).await[0].error, Some(Error { code: 109 }));
}
