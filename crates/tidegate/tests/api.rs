//! The HTTP API on a real port, over the real store.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use serde_json::{Value, json};
use tidegate_testkit::clients::{API_KEY, LiveSocket, ModelList, get, page, post, request, urlencoded, within, write};
use tidegate_testkit::gateway::Gateway;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const CONFIG: &str = r#"
[edge]
drain_window_ms = 100

[identity]
anonymous = true
api_keys = ["a-key-for-the-tests"]

[[permission]]
roles = ["*"]
entities = ["asset"]
may = ["read"]
where = [{ column = "kind", op = "eq", value = "pump" }]
columns = ["id", "kind", "temp"]

[[entity]]
name = "asset"
key = ["id"]
columns = { id = "text", kind = "text", temp = "float", note = "text" }

[[entity]]
name = "order"
key = ["region", "number"]
tenant = "org"
columns = { org = "text", region = "text", number = "int", total = "decimal" }
sortable = ["total"]
"#;

fn gateway() -> Gateway {
    Gateway::start(env!("CARGO_BIN_EXE_tidegate"), CONFIG)
}

/// An error's code, path, status and whether trying again may help.
fn error(answer: &tidegate_testkit::clients::Response) -> (u16, String, Value, bool) {
    let error = &answer.json()["error"];
    assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()));
    let code = error["code"].as_str().unwrap().to_owned();
    (answer.status, code, error["path"].clone(), error["retryable"].as_bool().unwrap())
}

#[tokio::test]
async fn a_batch_is_written_read_and_deleted() {
    let gateway = gateway();
    let at = gateway.address();
    let body = json!({"changes": [
        {"upsert": {"id": "a/1 ü", "kind": "pump", "temp": 1.5}},
        {"upsert": {"id": "a2", "kind": "valve", "note": "n"}},
        {"delete": {"id": "never there"}},
    ]});
    let written = post(at, "/v1/entities/asset/changes", &body).await.ok();
    assert_eq!(written, json!({"position": "1", "versions": [1, 1, null]}));

    let one = get(at, &format!("/v1/entities/asset/{}", urlencoded("a/1 ü"))).await.ok();
    let row = json!({"id": "a/1 ü", "kind": "pump", "temp": 1.5, "note": null});
    assert_eq!(one, json!({"row": row, "version": 1, "position": "1"}));

    let query = json!({"sort": [{"column": "kind", "desc": true}], "select": ["id"]});
    let by_url = get(at, &format!("/v1/entities/asset?query={}", urlencoded(&query.to_string()))).await.ok();
    let expected = json!({"rows": [
        {"row": {"id": "a2"}, "version": 1, "cursor": {"values": ["valve", "a2"]}},
        {"row": {"id": "a/1 ü"}, "version": 1, "cursor": {"values": ["pump", "a/1 ü"]}},
    ], "position": "1"});
    assert_eq!(by_url, expected);
    assert_eq!(post(at, "/v1/entities/asset/query", &query).await.ok(), expected);

    write(at, "asset", json!([{"delete": {"id": "a2"}, "if_version": 1}])).await;
    assert_eq!(get(at, "/v1/entities/asset/a2").await.status, 404);
}

#[tokio::test]
async fn a_batch_with_a_fault_changes_nothing_and_says_where() {
    let gateway = gateway();
    let at = gateway.address();
    let refused = |changes: Value| async move {
        error(&post(at, "/v1/entities/asset/changes", &json!({ "changes": changes })).await)
    };
    let good = json!({"upsert": {"id": "good"}});
    assert_eq!(
        refused(json!([good, {"upsert": {"id": "b", "temp": "warm"}}])).await,
        (422, "invalid_row".into(), json!("changes[1].upsert.temp"), false)
    );
    assert_eq!(
        refused(json!([good, {"delete": {"id": "b"}, "if_version": 3}])).await,
        (409, "version_conflict".into(), json!("changes[1].if_version"), false)
    );
    assert_eq!(refused(json!([good, {"upsert": {"no": 1}}])).await.1, "unknown_column");
    assert_eq!(refused(json!({"upsert": {}})).await.1, "invalid_body");
    let missing = post(at, "/v1/entities/nothing/changes", &json!({"changes": []})).await;
    assert_eq!(error(&missing), (404, "unknown_entity".into(), Value::Null, false));
    assert_eq!(get(at, "/v1/entities/asset/good").await.status, 404);
}

#[tokio::test]
async fn asking_again_with_the_same_key_answers_the_same() {
    let gateway = gateway();
    let at = gateway.address();
    let send = |key: &'static str, id: &'static str| async move {
        let body = json!({"changes": [{"upsert": {"id": id}}]}).to_string();
        let headers = [("x-api-key", API_KEY), ("idempotency-key", key)];
        within("a write", request(at, "POST", "/v1/entities/asset/changes", &headers, body.as_bytes())).await.unwrap()
    };
    let first = send("once", "a").await.ok();
    write(at, "asset", json!([{"upsert": {"id": "b"}}])).await;
    assert_eq!(send("once", "a").await.ok(), first);
    assert_eq!(error(&send("once", "other").await).1, "idempotency_conflict");
    assert_eq!(error(&send("", "a").await).1, "malformed");
}

#[tokio::test]
async fn strangers_see_what_the_permission_grants() {
    let gateway = gateway();
    let at = gateway.address();
    write(
        at,
        "asset",
        json!([{"upsert": {"id": "p", "kind": "pump", "note": "secret"}}, {"upsert": {"id": "v", "kind": "valve"}}]),
    )
    .await;
    let ask = |path: &'static str| async move { within(path, request(at, "GET", path, &[], b"")).await.unwrap() };
    let page = ask("/v1/entities/asset").await.ok();
    assert_eq!(page["rows"].as_array().unwrap().len(), 1);
    assert_eq!(page["rows"][0]["row"], json!({"id": "p", "kind": "pump", "temp": null}));
    assert_eq!(ask("/v1/entities/asset/p").await.ok()["row"], page["rows"][0]["row"]);
    assert_eq!(ask("/v1/entities/asset/v").await.status, 404);
    let catalog = ask("/v1/entities").await.ok();
    let entities = catalog["entities"].as_array().unwrap();
    assert_eq!(entities.len(), 1);
    assert_eq!((entities[0]["columns"].as_array().unwrap().len(), &entities[0]["may"]), (3, &json!(["read"])));
    assert_eq!(error(&ask("/v1/entities/order").await).1, "forbidden");
    let note = urlencoded(r#"{"where":[{"column":"note","op":"eq","value":"secret"}]}"#);
    let path = format!("/v1/entities/asset?query={note}");
    assert_eq!(within("a page", request(at, "GET", &path, &[], b"")).await.unwrap().status, 403);
    let body = br#"{"changes":[{"upsert":{"id":"x"}}]}"#;
    let refused = within("a write", request(at, "POST", "/v1/entities/asset/changes", &[], body)).await.unwrap();
    assert_eq!(error(&refused).1, "forbidden");
    let wrong = within("a key", request(at, "GET", "/v1/entities", &[("x-api-key", "wrong")], b"")).await.unwrap();
    assert_eq!(error(&wrong), (401, "unauthenticated".into(), Value::Null, false));
}

#[tokio::test]
async fn a_key_names_its_tenant() {
    let gateway = gateway();
    let at = gateway.address();
    let order = |org: &str| json!({"upsert": {"org": org, "region": "eu", "number": 1, "total": "9.90"}});
    write(at, "order", json!([order("a"), order("b")])).await;
    let nobody =
        post(at, "/v1/entities/order/changes", &json!({"changes": [{"upsert": {"region": "eu", "number": 2}}]})).await;
    assert_eq!(error(&nobody).2, "changes[0].upsert.org");
    assert_eq!(error(&get(at, "/v1/entities/order").await).1, "tenant_needed");
    let query = json!({"entity": "order", "where": [{"column": "org", "op": "eq", "value": "a"}]});
    assert_eq!(page(at, &query).await.0.len(), 1);
    let key = urlencoded(r#"["eu",1]"#);
    let one = get(at, &format!("/v1/entities/order/{key}?tenant=b")).await.ok();
    assert_eq!((&one["row"]["org"], &one["row"]["total"]), (&json!("b"), &json!("9.90")));
    assert_eq!(get(at, &format!("/v1/entities/order/{key}?tenant=c")).await.status, 404);
}

#[tokio::test]
async fn bad_questions_name_what_is_wrong() {
    let gateway = gateway();
    let at = gateway.address();
    let ask = |query: &'static str| async move {
        error(&get(at, &format!("/v1/entities/asset?query={}", urlencoded(query))).await)
    };
    assert_eq!(ask("[1]").await, (400, "invalid_query".into(), json!("query"), false));
    assert_eq!(ask(r#"{"entity":"order"}"#).await.2, "query");
    assert_eq!(ask(r#"{"limit":0}"#).await.2, "limit");
    assert_eq!(ask(r#"{"where":[{"column":"temp","op":"eq","value":[]}]}"#).await.2, "where[0].value");
    let key = get(at, "/v1/entities/order/x?tenant=a").await;
    assert_eq!(error(&key).1, "invalid_key");
}

#[tokio::test]
async fn every_error_has_the_one_shape() {
    let gateway = gateway();
    let at = gateway.address();
    assert_eq!(error(&get(at, "/v1/nothing").await), (404, "not_found".into(), Value::Null, false));
    let wrong = within("a method", request(at, "PUT", "/v1/entities", &[], b"")).await.unwrap();
    assert_eq!(error(&wrong).0, 405);
    let wrong = within("a method", request(at, "PUT", "/v1/live", &[], b"")).await.unwrap();
    assert_eq!(error(&wrong).0, 405);
    assert_eq!(error(&get(at, "/v1/entities/%ff").await).1, "malformed");
    assert_eq!(error(&get(at, "/v1/entities/asset?query={}&query={}").await).1, "malformed");
}

#[tokio::test]
async fn a_row_may_be_named_like_a_route() {
    let gateway = gateway();
    let at = gateway.address();
    write(at, "asset", json!([{"upsert": {"id": "query"}}, {"upsert": {"id": "changes"}}])).await;
    for key in ["query", "changes"] {
        assert_eq!(get(at, &format!("/v1/entities/asset/{key}")).await.ok()["row"]["id"], key);
    }
}

#[tokio::test]
async fn bodies_are_bounded() {
    let gateway = Gateway::start(
        env!("CARGO_BIN_EXE_tidegate"),
        &format!("[api]\nmax_body_bytes = 2000\nmax_bodies_bytes = 4000\nmax_changes = 2\n{CONFIG}"),
    );
    let at = gateway.address();
    let long = json!({"changes": [{"upsert": {"id": "x".repeat(3000)}}]});
    assert_eq!(error(&post(at, "/v1/entities/asset/changes", &long).await).1, "too_large");
    let query = json!({"select": ["x".repeat(70_000)]});
    assert_eq!(error(&post(at, "/v1/entities/asset/query", &query).await).0, 413);
    let many = json!({"changes": [{"delete": {"id": "a"}}, {"delete": {"id": "b"}}, {"delete": {"id": "c"}}]});
    assert_eq!(error(&post(at, "/v1/entities/asset/changes", &many).await).1, "too_many_changes");
}

#[tokio::test]
async fn a_body_that_does_not_come_holds_its_room_for_a_while_only() {
    let gateway = Gateway::start(
        env!("CARGO_BIN_EXE_tidegate"),
        &format!("[api]\nmax_body_bytes = 2048\nmax_bodies_bytes = 2048\nbody_timeout_ms = 1500\n{CONFIG}"),
    );
    let at = gateway.address();
    let mut slow = TcpStream::connect(at).await.unwrap();
    let head = "POST /v1/entities/asset/changes HTTP/1.1\r\nhost: x\r\nx-api-key: a-key-for-the-tests\r\ncontent-length: 2048\r\n\
                expect: 100-continue\r\n\r\n";
    slow.write_all(head.as_bytes()).await.unwrap();
    // Asked for the body: its room is taken.
    let mut go_on = vec![0; b"HTTP/1.1 100 Continue\r\n\r\n".len()];
    within("the wish for a body", slow.read_exact(&mut go_on)).await.unwrap();
    let refused = post(at, "/v1/entities/asset/changes", &json!({"changes": []})).await;
    assert_eq!(error(&refused), (503, "overloaded".into(), Value::Null, true));
    let mut answer = vec![0; 12];
    within("the slow one's answer", slow.read_exact(&mut answer)).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 408");
    assert_eq!(post(at, "/v1/entities/asset/changes", &json!({"changes": []})).await.status, 200);
}

#[tokio::test]
async fn operators_get_answers_without_credentials() {
    let mut gateway = gateway();
    let at = gateway.address();
    write(at, "asset", json!([{"upsert": {"id": "a", "kind": "pump"}}])).await;
    let query = json!({"entity": "asset"});
    let mut live = LiveSocket::subscribe(at, &query, ModelList::new()).await.unwrap();
    live.until("the snapshot", ModelList::is_whole).await;
    let ask = |path: &'static str| async move { within(path, request(at, "GET", path, &[], b"")).await.unwrap() };
    assert_eq!(ask("/healthz").await.ok(), json!({"status": "ok"}));
    assert_eq!(ask("/readyz").await.ok(), json!({"status": "ready"}));
    assert!(String::from_utf8(ask("/").await.body).unwrap().starts_with("Tidegate "));
    let metrics = String::from_utf8(ask("/metrics").await.body).unwrap();
    for line in [
        "tidegate_position 1",
        "tidegate_connections 1",
        "tidegate_live_subscriptions 1",
        "tidegate_feed_transactions_total 1",
        "tidegate_connections_closed_total{reason=\"slow_client\"} 0",
        "tidegate_connections_refused_total{reason=\"rate\"} 0",
        "tidegate_connections_refused_total{reason=\"memory\"} 0",
        "tidegate_connections_refused_total{reason=\"strangers\"} 0",
        "tidegate_connections_by_transport{transport=\"sse\"} 0",
        "tidegate_messages_paused_total{reason=\"bytes\"} 0",
        "tidegate_messages_compressed_total 0",
        "# TYPE tidegate_strangers gauge",
        "# TYPE tidegate_memory_bytes gauge",
        "# TYPE tidegate_edge_queued gauge",
    ] {
        assert!(metrics.lines().any(|other| other == line), "{line}\n{metrics}");
    }
    assert!(gateway.terminate().success());
    // The close of the drain, and after it the end.
    while live.next_raw().await.is_some() {}
}

#[tokio::test]
async fn what_was_answered_outlives_a_kill() {
    let mut gateway = gateway();
    write(gateway.address(), "asset", json!([{"upsert": {"id": "a", "kind": "pump"}}])).await;
    gateway.restart();
    assert_eq!(get(gateway.address(), "/v1/entities/asset/a").await.ok()["version"], 1);
}
