//! Bytes of client libraries and of the public schema: see `made` in the files.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::centrifugo::wire::*;
use crate::centrifugo::{json, protobuf};

#[derive(Deserialize)]
struct Golden {
    commands: BTreeMap<String, Both>,
    replies: BTreeMap<String, Both>,
}

#[derive(Deserialize)]
struct Both {
    json: String,
    protobuf: String,
}

#[derive(Deserialize)]
struct Clients {
    js_json: BTreeMap<String, String>,
    js_protobuf: BTreeMap<String, String>,
    python_protobuf: BTreeMap<String, String>,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("golden.json")).unwrap()
}

fn clients() -> Clients {
    serde_json::from_str(include_str!("clients.json")).unwrap()
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// Both encodings of one message, there and back.
fn check<M: Message + Default + PartialEq + serde::Serialize + DeserializeOwned>(name: &str, both: &Both) {
    let from_json: M = serde_json::from_str(&both.json).unwrap();
    let from_protobuf = M::decode_length_delimited(&*bytes(&both.protobuf)).unwrap();
    assert!(from_json == from_protobuf, "{name}");
    assert_eq!(String::from_utf8(json::encode(&from_json).unwrap()).unwrap(), both.json, "{name}");
    assert_eq!(protobuf::encode(&from_json), bytes(&both.protobuf), "{name}");
}

#[test]
fn every_reply_and_push_is_as_the_schema_has_it() {
    let golden = golden();
    assert_eq!(golden.replies.len(), 30);
    for (name, both) in &golden.replies {
        check::<Reply>(name, both);
    }
    assert_eq!(json::encode(&Reply::default()).unwrap(), json::PING);
    assert_eq!(protobuf::encode(&Reply::default()), protobuf::PING);
}

#[test]
fn every_command_is_as_the_schema_has_it() {
    let golden = golden();
    assert_eq!(golden.commands.len(), 13);
    for (name, both) in &golden.commands {
        check::<Command>(name, both);
        let text: Vec<_> = json::commands(&both.json, 1).collect();
        assert_eq!(text, protobuf::commands(&bytes(&both.protobuf), 1).collect::<Vec<_>>(), "{name}");
        assert!(matches!(text[..], [Ok(_)]), "{name}");
    }
}

/// What a library wrote of each kind, under the names of the files.
fn expected(name: &str, id: u32) -> Received {
    let news = || "news".to_owned();
    let json = |text: &'static str| Bytes::from_static(text.as_bytes());
    let since = Some(StreamPosition { offset: 3, epoch: "ep".to_owned() });
    let leaf = |key: &str, cmp: &str| FilterNode { key: key.to_owned(), cmp: cmp.to_owned(), ..FilterNode::default() };
    let request = match name {
        "pong" => return Received::Pong,
        "connect" => Request::Connect(ConnectRequest {
            token: "connection-token".to_owned(),
            data: json(r#"{"who":"me"}"#),
            name: "js".to_owned(),
            version: "5.8".to_owned(),
            headers: [("x-trace".to_owned(), "1".to_owned())].into(),
            ..ConnectRequest::default()
        }),
        "subscribe" => Request::Subscribe(SubscribeRequest {
            channel: news(),
            token: "subscription-token".to_owned(),
            recover: true,
            epoch: "ep".to_owned(),
            offset: 5,
            data: json(r#"{"a":1}"#),
            positioned: true,
            recoverable: true,
            join_leave: true,
            delta: "fossil".to_owned(),
            flag: FLAG_NUMERIC,
            ..SubscribeRequest::default()
        }),
        "subscribe_2" => Request::Subscribe(SubscribeRequest {
            channel: "ticks".to_owned(),
            flag: FLAG_NUMERIC,
            tf: Some(FilterNode {
                op: "and".to_owned(),
                nodes: vec![
                    FilterNode { vals: vec!["BTC".to_owned(), "ETH".to_owned()], ..leaf("ticker", "in") },
                    FilterNode { val: "50000".to_owned(), ..leaf("price", "gt") },
                ],
                ..FilterNode::default()
            }),
            ..SubscribeRequest::default()
        }),
        "unsubscribe" => Request::Unsubscribe(UnsubscribeRequest { channel: "ticks".to_owned() }),
        "unsubscribe_2" => Request::Unsubscribe(UnsubscribeRequest { channel: news() }),
        "publish" => Request::Publish(PublishRequest {
            channel: news(),
            data: json(r#"{"text":"hällo\nworld"}"#),
            ..PublishRequest::default()
        }),
        "presence" => Request::Presence(PresenceRequest { channel: news() }),
        "presence_stats" => Request::PresenceStats(PresenceStatsRequest { channel: news() }),
        "history" => Request::History(HistoryRequest { channel: news(), limit: 10, since, reverse: true }),
        "history_2" => Request::History(HistoryRequest { channel: news(), limit: -1, ..HistoryRequest::default() }),
        "rpc" => Request::Rpc(RpcRequest { data: json("[1,2]"), method: "sum".to_owned() }),
        "send" => Request::Send(SendRequest { data: json(r#"{"one":"way"}"#) }),
        "refresh" => Request::Refresh(RefreshRequest { token: "next-token".to_owned() }),
        "sub_refresh" => Request::SubRefresh(SubRefreshRequest {
            channel: news(),
            token: "next-subscription-token".to_owned(),
            r#type: 0,
        }),
        _ => panic!("{name}"),
    };
    Received::Request(id, Box::new(request))
}

fn id_of(received: &Received) -> u32 {
    match received {
        Received::Pong => 0,
        Received::Request(id, _) => *id,
    }
}

#[test]
fn what_the_javascript_library_writes() {
    let clients = clients();
    assert_eq!((clients.js_json.len(), clients.js_protobuf.len()), (15, 15));
    let mut ids = Vec::new();
    for (name, text) in &clients.js_json {
        let received = json::commands(text, 1).next().unwrap().unwrap();
        assert_eq!(received, expected(name, id_of(&received)), "{name}");
        ids.push(id_of(&received));
    }
    for (name, hex) in &clients.js_protobuf {
        let received = protobuf::commands(&bytes(hex), 1).next().unwrap().unwrap();
        assert_eq!(received, expected(name, id_of(&received)), "{name}");
    }
    ids.sort_unstable();
    assert_eq!(ids, [0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]);
}

#[test]
fn what_the_python_library_writes() {
    let clients = clients();
    assert_eq!(clients.python_protobuf.len(), 13);
    let all: Vec<u8> = clients.python_protobuf.values().flat_map(|hex| bytes(hex)).collect();
    let received: BTreeMap<&str, Received> = clients
        .python_protobuf
        .keys()
        .map(String::as_str)
        .zip(protobuf::commands(&all, 13).map(Result::unwrap))
        .collect();
    let request = |name: &str| match &received[name] {
        Received::Request(_, request) => (**request).clone(),
        Received::Pong => panic!("{name}"),
    };
    assert_eq!(received["pong"], Received::Pong);
    assert_eq!(received["ping"], Received::Request(8, Box::new(Request::Ping)));
    assert_eq!(request("send"), Request::Send(SendRequest { data: Bytes::from_static(b"[]") }));
    assert_eq!(id_of(&received["sub_refresh"]), u32::MAX);
    let Request::Connect(connect) = request("connect") else { panic!() };
    assert_eq!(connect.subs["news"].offset, u64::MAX);
    assert!(connect.subs["news"].recover);
    let Request::Subscribe(subscribe) = request("subscribe") else { panic!() };
    assert_eq!(subscribe.flag, FLAG_NUMERIC | FLAG_REJECT_UNRECOVERED);
    assert_eq!(subscribe.tf.unwrap().nodes[0].val, "v");
    let Request::History(history) = request("history") else { panic!() };
    assert_eq!((history.limit, history.since.unwrap().offset, history.reverse), (-1, 3, true));
    for (name, hex) in &clients.python_protobuf {
        assert_eq!(protobuf::commands(&bytes(hex), 1).next().unwrap().as_ref(), Ok(&received[&**name]), "{name}");
    }
}
