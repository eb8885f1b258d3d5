//! The server API of Centrifugo: as its clients' own tests and its users' backends call it.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tidegate_testkit::clients::{API_KEY, CentrifugoSocket, Response, request, within};

use crate::fixture::{Who, gateway, get, talker, user};

/// What a method answers a server.
async fn api(at: SocketAddr, method: &str, body: &Value) -> Value {
    raw(at, method, &[("x-api-key", API_KEY)], body.to_string().as_bytes()).await.ok()
}

async fn raw(at: SocketAddr, method: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
    within(method, request(at, "POST", &format!("/api/{method}"), headers, body)).await.unwrap()
}

async fn result(at: SocketAddr, method: &str, body: Value) -> Value {
    let answer = api(at, method, &body).await;
    assert!(answer["result"].is_object(), "{method} {body}: {answer}");
    answer["result"].clone()
}

/// The number of the error.
async fn refused(at: SocketAddr, method: &str, body: Value) -> u64 {
    let answer = api(at, method, &body).await;
    assert_eq!(answer.get("result"), None, "{method} {body}");
    number(&answer).unwrap_or_else(|| panic!("{method} {body}: {answer}"))
}

fn number(answer: &Value) -> Option<u64> {
    assert!(answer["error"].is_null() || answer["error"]["message"].as_str().is_some_and(|text| !text.is_empty()));
    answer["error"]["code"].as_u64()
}

/// The data of a channel's history, oldest first.
async fn told(at: SocketAddr, channel: &str, tenant: Option<&str>) -> Vec<Value> {
    let answer = result(at, "history", json!({"channel": channel, "limit": -1, "tenant": tenant})).await;
    answer["publications"].as_array().unwrap().iter().map(|publication| publication["data"].clone()).collect()
}

/// A user's connection, with its public name.
async fn connected(at: SocketAddr, who: &Who) -> (CentrifugoSocket, String) {
    let Who::User(token) = who else { panic!("only users have tokens") };
    let mut socket = CentrifugoSocket::connect(at).await.unwrap();
    let reply = socket.call("connect", json!({ "token": token })).await;
    let name = reply["connect"]["client"].as_str().unwrap_or_else(|| panic!("{reply}")).to_owned();
    (socket, name)
}

#[tokio::test]
async fn what_is_published_is_in_the_history() {
    let gateway = gateway();
    let at = gateway.address();
    let first =
        raw(at, "publish", &[("x-api-key", API_KEY)], b"{\"channel\":\"log:a\", \"data\": {\"n\": 1.0, \"x\":[ ]} }");
    let first = first.await.ok()["result"].clone();
    let epoch = first["epoch"].as_str().unwrap().to_owned();
    assert_eq!(first, json!({"offset": 1, "epoch": epoch}));
    let tagged = json!({"channel": "log:a", "data": null, "tags": {"b": "2", "a": "1"}, "delta": true, "unknown": 1});
    assert_eq!(result(at, "publish", tagged).await["offset"], 2);
    let binary = json!({"channel": "log:a", "b64data": "/w=="});
    assert_eq!(result(at, "publish", binary).await["offset"], 3);
    let skipped = json!({"channel": "log:a", "data": 4, "skip_history": true});
    result(at, "publish", skipped).await;

    let whole = raw(at, "history", &[("x-api-key", API_KEY)], b"{\"channel\":\"log:a\",\"limit\":10}").await;
    let text = String::from_utf8(whole.body.clone()).unwrap();
    assert!(text.contains("\"data\":{\"n\": 1.0, \"x\":[ ]}"), "as it was written: {text}");
    let publications = json!([
        {"offset": 1, "data": {"n": 1.0, "x": []}},
        {"offset": 2, "data": null, "tags": {"a": "1", "b": "2"}},
        {"offset": 3, "b64data": "/w=="},
    ]);
    assert_eq!(whole.ok()["result"], json!({"publications": publications, "offset": 3, "epoch": epoch}));
    let position = json!({"publications": [], "offset": 3, "epoch": epoch});
    assert_eq!(result(at, "history", json!({"channel": "log:a"})).await, position);
    let since = |epoch: &str| json!({"offset": 1, "epoch": epoch});
    let after = json!({"channel": "log:a", "limit": 1, "since": since(&epoch)});
    assert_eq!(result(at, "history", after).await["publications"][0]["offset"], 2);
    let back = json!({"channel": "log:a", "limit": 1, "reverse": true});
    assert_eq!(result(at, "history", back).await["publications"][0]["offset"], 3);
    let foreign = json!({"channel": "log:a", "limit": 1, "since": since("other")});
    assert_eq!(refused(at, "history", foreign).await, 112);

    assert_eq!(result(at, "history_remove", json!({"channel": "log:a"})).await, json!({}));
    assert_eq!(told(at, "log:a", None).await, [json!(null); 0]);
    assert_eq!(
        result(at, "publish", json!({"channel": "passing", "data": 1})).await,
        json!({}),
        "no history, no offset"
    );
    assert_eq!(refused(at, "history", json!({"channel": "passing", "limit": 1})).await, 108);
}

#[tokio::test]
async fn an_idempotency_key_publishes_once_in_each_channel() {
    let gateway = gateway();
    let at = gateway.address();
    let one = json!({"channel": "log:a", "data": "one", "idempotency_key": "k"});
    let first = result(at, "publish", one.clone()).await;
    assert_eq!(result(at, "publish", one).await, first);
    let both = json!({"channels": ["log:a", "log:b", "$own"], "data": "two", "idempotency_key": "k"});
    let responses = result(at, "broadcast", both).await["responses"].clone();
    assert_eq!((&responses[0]["result"], &responses[1]["result"]["offset"]), (&first, &json!(1)), "{responses}");
    assert_eq!(number(&responses[2]), Some(107));
    assert_eq!(told(at, "log:a", None).await, ["one"]);
    assert_eq!(told(at, "log:b", None).await, ["two"]);
}

#[tokio::test]
async fn a_map_keeps_the_last_of_each_key() {
    let gateway = gateway();
    let at = gateway.address();
    for (key, data) in [("a", 1), ("b", 2), ("a", 3)] {
        result(at, "map_publish", json!({"channel": "board:x", "key": key, "data": data, "tags": {"t": "1"}})).await;
    }
    assert_eq!(result(at, "map_remove", json!({"channel": "board:x", "key": "b"})).await["offset"], 4);
    let values = get(at, &Who::Server, "/v1/topics/board:x/values").await.ok()["values"].clone();
    assert_eq!((values[0]["key"].as_str(), &values[0]["data"]), (Some("a"), &json!(3)), "{values}");
    assert_eq!(values.as_array().map(Vec::len), Some(1));
    let last = result(at, "history", json!({"channel": "board:x", "limit": 1, "reverse": true})).await;
    assert_eq!(last["publications"][0], json!({"offset": 4, "key": "b", "removed": true, "data": null}));
    for (body, code) in [
        (json!({"channel": "board:x", "data": 1}), 107),
        (json!({"channel": "board:x", "key": "", "data": 1}), 107),
        (json!({"channel": "board:x", "key": "k".repeat(256), "data": 1}), 107),
        (json!({"channel": "log:x", "key": "a", "data": 1}), 108),
        (json!({"channel": "board:x", "key": "a", "data": 1, "key_mode": "if_new"}), 108),
        (json!({"channel": "board:x", "key": "a", "data": 1, "score": 7}), 108),
    ] {
        assert_eq!(refused(at, "map_publish", body.clone()).await, code, "{body}");
    }
}

#[tokio::test]
async fn only_a_good_key_is_let_in() {
    let gateway = gateway();
    let at = gateway.address();
    let body = b"{\"channel\":\"log:a\",\"data\":1}";
    let Who::User(token) = talker("ann", "acme") else { unreachable!() };
    let (bearer, key) = (format!("Bearer {token}"), format!("apikey {API_KEY}"));
    let bad: [&[(&str, &str)]; 8] = [
        &[],
        &[("x-api-key", "another-key-for-tests")],
        &[("x-api-key", "")],
        &[("x-api-key", API_KEY), ("x-api-key", API_KEY)],
        &[("authorization", "apikey another-key-for-tests")],
        &[("authorization", API_KEY)],
        &[("authorization", &bearer)],
        &[("authorization", &key), ("x-api-key", "another-key-for-tests")],
    ];
    for headers in bad {
        for method in ["publish", "batch", "no_such"] {
            assert_eq!(raw(at, method, headers, body).await.status, 401, "{method} {headers:?}");
        }
    }
    assert_eq!(told(at, "log:a", None).await, [json!(null); 0]);
    let good: [&[(&str, &str)]; 3] = [
        &[("authorization", &key)],
        &[("authorization", &format!("ApiKey  {API_KEY}"))],
        &[("x-api-key", API_KEY), ("authorization", &bearer)],
    ];
    for headers in good {
        assert_eq!(raw(at, "publish", headers, body).await.ok()["error"], Value::Null);
    }
    assert_eq!(told(at, "log:a", None).await, [1, 1, 1]);
}

#[tokio::test]
async fn what_cannot_be_meant_is_said_by_number() {
    let gateway = gateway();
    let at = gateway.address();
    let key = [("x-api-key", API_KEY)];
    for body in ["", "{", "{\"channel\":\"a\",}", "\u{0}", "{} {}"] {
        assert_eq!(raw(at, "publish", &key, body.as_bytes()).await.status, 400, "{body:?}");
    }
    let huge = raw(at, "publish", &key, &vec![b' '; (16 << 20) + 1]).await;
    assert_eq!(huge.status, 413);
    let answer = within("GET", request(at, "GET", "/api/publish", &key, b"")).await.unwrap();
    assert_eq!(answer.status, 405);
    assert_eq!(raw(at, "publish?tenant=acme&more=1", &key, b"{}").await.status, 400);
    let of = |rest: Value| {
        let mut body = json!({"channel": "log:a", "data": 1});
        body.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        body
    };
    for (method, body, code) in [
        ("no_such", json!({}), 104),
        ("batch2", json!({}), 104),
        ("rpc", json!({"method": "m", "params": {}}), 108),
        ("publish", json!([]), 107),
        ("publish", json!(null), 107),
        ("publish", json!({}), 107),
        ("publish", json!({"channel": "log:a"}), 107),
        ("publish", json!({"data": 1}), 107),
        ("publish", of(json!({"channel": 1})), 107),
        ("publish", of(json!({"channel": "$own"})), 107),
        ("publish", of(json!({"channel": "a\r\nb"})), 107),
        ("publish", of(json!({"b64data": "QQ=="})), 107),
        ("publish", json!({"channel": "log:a", "b64data": "?"}), 107),
        ("publish", of(json!({"tags": {"a": 1}})), 107),
        ("publish", of(json!({"idempotency_key": "k".repeat(129)})), 107),
        ("publish", of(json!({"tenant": ""})), 107),
        ("publish", of(json!({"data": "x".repeat(1_001)})), 106),
        ("publish", of(json!({"version": 1})), 108),
        ("publish", of(json!({"version_epoch": "e"})), 108),
        ("publish", of(json!({"key": "k"})), 108),
        ("broadcast", of(json!({})), 107),
        ("broadcast", of(json!({"channels": []})), 107),
        ("broadcast", of(json!({"channels": vec!["log:a"; 1_001]})), 107),
        ("map_remove", json!({"channel": "board:a"}), 107),
        ("history", json!({"channel": "", "limit": 1}), 107),
        ("history", json!({"channel": "log:a", "limit": "1"}), 107),
        ("history_remove", json!({}), 107),
        ("presence", json!({"channel": "log:a"}), 108),
        ("presence_stats", json!({"channel": "log:a"}), 108),
        ("channels", json!({"pattern": "a["}), 107),
        ("channels", json!({"pattern": "x".repeat(256)}), 107),
        ("subscribe", json!({"channel": "log:a"}), 107),
        ("subscribe", json!({"user": "ann"}), 107),
        ("subscribe", json!({"user": "ann", "channel": "log:a", "info": {}}), 108),
        ("subscribe", json!({"user": "ann", "channel": "log:a", "override": {}}), 108),
        ("subscribe", json!({"user": "ann", "channel": "log:a", "session": "s"}), 108),
        ("subscribe", json!({"user": "ann", "channel": "log:a", "b64data": "QQ=="}), 108),
        ("subscribe", json!({"user": "ann", "channel": "log:a", "data": "x".repeat(1_001)}), 106),
        ("unsubscribe", json!({"user": "ann"}), 107),
        ("disconnect", json!({}), 107),
        ("disconnect", json!({"user": "ann", "disconnect": {"code": 1000, "reason": "r"}}), 107),
        ("disconnect", json!({"user": "ann", "disconnect": {"code": 5000, "reason": "r"}}), 107),
        ("disconnect", json!({"user": "ann", "disconnect": {"code": 4000, "reason": "r".repeat(124)}}), 107),
        ("disconnect", json!({"user": "ann", "whitelist": ["c_1"]}), 108),
        ("refresh", json!({"user": ""}), 107),
        ("refresh", json!({"user": "ann", "expire_at": -1}), 107),
        ("batch", json!({}), 107),
        ("batch", json!({"commands": []}), 107),
        ("batch", json!({"commands": {}}), 107),
        ("batch", json!({"commands": vec![json!({"info": {}}); 1_001]}), 107),
    ] {
        assert_eq!(refused(at, method, body.clone()).await, code, "{method} {body}");
    }
    assert_eq!(told(at, "log:a", None).await, [json!(null); 0], "nothing of it was published");
}

#[tokio::test]
async fn each_command_of_a_batch_has_its_own_answer() {
    let gateway = gateway();
    let at = gateway.address();
    let batch = json!({"parallel": true, "commands": [
        {"publish": {"channel": "log:a", "data": "first"}},
        {"publish": {"channel": "", "data": 1}},
        {"no_such": {}},
        {"batch": {"commands": []}},
        {"publish": {"channel": "log:a", "data": 1}, "info": {}},
        {},
        7,
        {"publish": "no"},
        {"broadcast": {"channels": ["log:a", ""], "data": "second"}},
        {"history": {"channel": "log:a", "limit": 1}},
        {"presence_stats": {"channel": "room:a"}},
    ]});
    let answer = api(at, "batch", &batch).await;
    let replies = answer["replies"].as_array().unwrap_or_else(|| panic!("{answer}"));
    let codes: Vec<Option<u64>> = replies.iter().map(number).collect();
    let bad = Some(107);
    assert_eq!(codes, [None, bad, Some(104), Some(104), bad, bad, bad, bad, None, None, None]);
    assert_eq!(replies[0]["publish"]["offset"], 1);
    assert_eq!(replies[8]["broadcast"]["responses"][0]["result"]["offset"], 2);
    assert_eq!(number(&replies[8]["broadcast"]["responses"][1]), Some(107));
    assert_eq!(replies[9]["history"]["publications"][0]["data"], "first");
    assert_eq!(replies[10], json!({"presence_stats": {"num_clients": 0, "num_users": 0}}));
    assert_eq!(told(at, "log:a", None).await, ["first", "second"]);

    let broadcast = |count: usize| json!({"broadcast": {"channels": vec!["log:b"; count], "data": 1}});
    let one = json!({"publish": {"channel": "log:b", "data": 1}});
    let many = json!({"commands": [broadcast(600), broadcast(401), broadcast(399), one, one, {"info": {}}]});
    let answer = api(at, "batch", &many).await;
    let codes: Vec<Option<u64>> = answer["replies"].as_array().unwrap().iter().map(number).collect();
    assert_eq!(codes, [None, Some(106), None, None, Some(106), None], "a thousand publications a request");
    assert_eq!(result(at, "history", json!({"channel": "log:b"})).await["offset"], 1_000);
}

#[tokio::test]
async fn tenants_are_apart() {
    let gateway = gateway();
    let at = gateway.address();
    result(at, "publish", json!({"channel": "log:a", "data": "common"})).await;
    result(at, "publish", json!({"channel": "log:a", "data": "acme", "tenant": "acme"})).await;
    result(at, "publish?tenant=bolt", json!({"channel": "log:a", "data": "bolt"})).await;
    let commands = json!([
        {"publish": {"channel": "log:a", "data": "bolt too"}},
        {"publish": {"channel": "log:a", "data": "acme too", "tenant": "acme"}},
    ]);
    let answer = api(at, "batch", &json!({"tenant": "bolt", "commands": commands})).await;
    assert_eq!(answer["replies"][1]["publish"]["offset"], 2, "{answer}");
    for (tenant, all) in
        [(None, vec!["common"]), (Some("acme"), vec!["acme", "acme too"]), (Some("bolt"), vec!["bolt", "bolt too"])]
    {
        assert_eq!(told(at, "log:a", tenant).await, all, "{tenant:?}");
    }

    let (mut here, _) = connected(at, &user("ann", None, "talker")).await;
    let (mut there, name) = connected(at, &talker("ann", "acme")).await;
    for body in [
        json!({"user": "ann", "channel": "room:a"}),
        json!({"user": "ann", "channel": "room:acme", "tenant": "acme"}),
        json!({"user": "ann", "channel": "room:bolt", "tenant": "bolt"}),
        json!({"user": "ann", "channel": "room:stolen", "client": name, "tenant": "bolt"}),
        json!({"user": "bob", "channel": "room:wrong", "client": name, "tenant": "acme"}),
        json!({"user": "ann", "channel": "room:last", "client": name, "tenant": "acme"}),
    ] {
        assert_eq!(result(at, "subscribe", body).await, json!({}));
    }
    assert_eq!(here.pushed("subscribe").await["channel"], "room:a");
    assert_eq!(there.pushed("subscribe").await["channel"], "room:acme");
    assert_eq!(there.pushed("subscribe").await["channel"], "room:last");
    let channels = async |body: Value| result(at, "channels", body).await["channels"].clone();
    let one = json!({"num_clients": 1});
    assert_eq!(channels(json!({})).await, json!({"room:a": one}));
    assert_eq!(channels(json!({"tenant": "acme"})).await, json!({"room:acme": one, "room:last": one}));
    assert_eq!(channels(json!({"tenant": "acme", "pattern": "*:l*"})).await, json!({"room:last": one}));
    assert_eq!(channels(json!({"tenant": "bolt"})).await, json!({}));
}

#[tokio::test]
async fn connections_are_told_what_to_do() {
    let gateway = gateway();
    let at = gateway.address();
    let (mut ann, name) = connected(at, &user("ann", None, "talker")).await;
    let (mut bob, bobs) = connected(at, &user("bob", None, "talker")).await;
    let before = result(at, "publish", json!({"channel": "log:a", "data": 1})).await;
    result(at, "publish", json!({"channel": "log:a", "data": 2})).await;
    let subscribe = json!({"user": "ann", "channel": "log:a", "data": {"x": [1]}, "recover_since": before});
    assert_eq!(result(at, "subscribe", subscribe).await, json!({}));
    let pushed = ann.pushed("subscribe").await;
    assert_eq!((&pushed["channel"], &pushed["subscribe"]["data"]), (&json!("log:a"), &json!({"x": [1]})), "{pushed}");
    assert_eq!(ann.pushed("pub").await["pub"]["data"], 2, "what it missed");
    result(at, "publish", json!({"channel": "log:a", "data": 3})).await;
    assert_eq!(ann.pushed("pub").await["pub"]["data"], 3);

    for user in ["ann", "bob"] {
        result(at, "subscribe", json!({"user": user, "channel": "room:a"})).await;
    }
    ann.pushed("subscribe").await;
    bob.pushed("subscribe").await;
    let presence = result(at, "presence", json!({"channel": "room:a"})).await;
    let mut present = serde_json::Map::new();
    present.insert(name.clone(), json!({"client": name, "user": "ann"}));
    present.insert(bobs.clone(), json!({"client": bobs, "user": "bob"}));
    assert_eq!(presence["presence"], Value::Object(present));
    let stats = result(at, "presence_stats", json!({"channel": "room:a"})).await;
    assert_eq!(stats, json!({"num_clients": 2, "num_users": 2}));
    let channels = result(at, "channels", json!({})).await;
    assert_eq!(channels["channels"], json!({"log:a": {"num_clients": 1}, "room:a": {"num_clients": 2}}));
    let node = result(at, "info", json!({})).await["nodes"][0].clone();
    let counts = ["num_clients", "num_channels", "num_subs"].map(|count| node[count].as_u64());
    assert_eq!(counts, [Some(2), Some(2), Some(3)], "{node}");
    assert!(node["uid"].as_str().is_some_and(|uid| uid.len() == 32) && node["uptime"].is_u64(), "{node}");

    result(at, "unsubscribe", json!({"user": "ann", "channel": "room:a"})).await;
    let over = ann.pushed("unsubscribe").await;
    assert_eq!((&over["channel"], &over["unsubscribe"]["code"]), (&json!("room:a"), &json!(2000)));
    let channels = result(at, "channels", json!({"pattern": "room:*"})).await;
    assert_eq!(channels["channels"], json!({"room:a": {"num_clients": 1}}));

    result(at, "refresh", json!({"user": "ann", "expire_at": 4_000_000_000_u64})).await;
    assert_eq!(ann.pushed("refresh").await["refresh"]["expires"], true);
    let code = json!({"code": 4_501, "reason": "enough"});
    result(at, "disconnect", json!({"user": "ann", "client": bobs, "disconnect": code})).await;
    result(at, "disconnect", json!({"user": "ann", "client": name, "disconnect": code})).await;
    assert_eq!(ann.farewell().await, (4_501, "enough".to_owned()));
    result(at, "publish", json!({"channel": "room:a", "data": "bob is still there"})).await;
    assert_eq!(bob.pushed("pub").await["pub"]["data"], "bob is still there");
    result(at, "refresh", json!({"user": "bob", "expired": true})).await;
    assert_eq!(bob.farewell().await.0, 3_005);
    let (mut again, _) = connected(at, &user("bob", None, "talker")).await;
    result(at, "disconnect", json!({"user": "bob"})).await;
    assert_eq!(again.farewell().await.0, 3_503);
    assert_eq!(result(at, "disconnect", json!({"user": "nobody"})).await, json!({}));
}
