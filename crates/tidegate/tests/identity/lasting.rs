//! How long a connection lasts: as long as its token, or a fresher one; and what becomes of what it holds when rights change.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tidegate_testkit::clients::{API_KEY, Endpoint, EventSocket, ModelList, Transport, within, write};
use tidegate_testkit::gateway::Gateway;

use crate::fixture::{SECRET, authenticated, connected, gateway, token};
use crate::transports::{every_note, farewell, metric, refused, shows};

/// So long as to get in on a busy machine.
const SOON_S: u64 = 6;

fn soon() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + SOON_S
}

#[tokio::test]
async fn every_transport_ends_with_its_token() {
    let gateway = gateway("leeway_ms = 0\n");
    let token = token("mara", json!({ "exp": soon() }));
    let endpoint = Endpoint::from(gateway.address()).header("authorization", &format!("Bearer {token}"));
    let mut socket = connected(gateway.address(), &token).await;
    let mut clients = Vec::new();
    for transport in Transport::ALL {
        clients.push((transport, shows(endpoint.clone(), transport, 0).await));
    }
    for (transport, mut client) in clients {
        let said = client.end().await;
        if transport.is_websocket() {
            assert_eq!(said.close, Some((1008, "expired".into())), "{transport:?}");
        } else {
            assert_eq!((said.error.as_deref(), said.is_orderly), (Some("expired"), true), "{transport:?}");
        }
    }
    assert_eq!(farewell(&mut socket).await, Some((1008, "expired".into())));
    assert_eq!(refused(endpoint, Transport::Sse).await, 401);
    // A WebSocket's close is one once the client has answered it.
    let name = "tidegate_connections_closed_total{reason=\"expired\"}";
    within("the count", async { while metric(&gateway, name).await < 7 {} }).await;
}

async fn refresh(socket: &mut EventSocket, token: &str) -> Value {
    let reply = socket.call("auth.refresh", json!({ "token": token }), "refresh").await;
    if reply.error.is_null() { reply.data } else { reply.error }
}

#[tokio::test]
async fn a_fresh_token_keeps_the_connection() {
    let gateway = gateway("leeway_ms = 0\n");
    let first = token("mara", json!({ "exp": soon() }));
    let (mut stays, mut goes) =
        (connected(gateway.address(), &first).await, connected(gateway.address(), &first).await);
    let before = refresh(&mut stays, &first).await;
    let fresh = refresh(&mut stays, &token("mara", json!({}))).await;
    assert_eq!(fresh["client_id"], before["client_id"]);
    assert!(fresh["expires_at"].as_str() > before["expires_at"].as_str(), "{before} {fresh}");
    // A bad one changes nothing, neither for better nor for worse.
    for socket in [&mut stays, &mut goes] {
        assert_eq!(refresh(socket, "x").await["code"], "unauthenticated");
        assert_eq!(refresh(socket, &token("mara", json!({ "exp": 1 }))).await["code"], "unauthenticated");
    }
    assert_eq!(farewell(&mut goes).await, Some((1008, "expired".into())));
    stays.subscribe("notes", &every_note(), ModelList::new()).await;
}

/// Who has the role `odd` sees odd notes, `even` even ones.
fn by_roles() -> Gateway {
    let permission = |role| {
        format!(
            "[[permission]]\nroles = [\"{role}\"]\nentities = [\"note\"]\nmay = [\"read\"]\n\
             where = [{{ column = \"text\", op = \"eq\", value = \"{role}\" }}]\n"
        )
    };
    let config = format!(
        "[identity]\napi_keys = [\"{API_KEY}\"]\n[[identity.issuer]]\nissuer = \"https://id.example\"\n\
         audience = \"tidegate\"\nalgorithm = \"HS256\"\nsecret = \"{SECRET}\"\n{}{}\
         [[entity]]\nname = \"note\"\nkey = [\"id\"]\ntenant = \"org\"\n\
         columns = {{ id = \"int\", org = \"text\", text = \"text\" }}\n",
        permission("odd"),
        permission("even"),
    );
    Gateway::start(env!("CARGO_BIN_EXE_tidegate"), &config)
}

#[tokio::test]
async fn lists_follow_the_roles_of_a_fresh_token() {
    let gateway = by_roles();
    let row = |id, text| json!({ "upsert": { "id": id, "org": "acme", "text": text } });
    write(gateway.address(), "note", json!([row(1, "odd"), row(2, "even"), row(3, "odd")])).await;
    let with = |roles: Value| token("mara", json!({ "roles": roles }));
    let mut socket = connected(gateway.address(), &with(json!(["odd"]))).await;
    socket.subscribe("notes", &every_note(), ModelList::new()).await;
    let shows = |keys: &'static [i64]| {
        move |lists: &std::collections::HashMap<String, ModelList>| {
            lists["notes"].entries().iter().map(|entry| entry.row["id"].as_i64().unwrap()).eq(keys.iter().copied())
        }
    };
    socket.until("odd notes", shows(&[1, 3])).await;
    refresh(&mut socket, &with(json!(["even"]))).await;
    socket.until("even notes", shows(&[2])).await;
    refresh(&mut socket, &with(json!(["even", "odd"]))).await;
    socket.until("all notes", shows(&[1, 2, 3])).await;
    write(gateway.address(), "note", json!([row(4, "even"), row(5, "neither")])).await;
    socket.until("a new one", shows(&[1, 2, 3, 4])).await;

    // A connection with subscriptions does not change hands.
    assert_eq!(refresh(&mut socket, &token("ole", json!({ "roles": ["odd"] }))).await["code"], "other_user");
    assert_eq!(refresh(&mut socket, &token("mara", json!({ "tenant": "umbrella" }))).await["code"], "other_user");
    socket.until("as before", shows(&[1, 2, 3, 4])).await;

    socket.lists.clear();
    assert!(refresh(&mut socket, &with(json!([]))).await["client_id"].is_string());
    let ended = loop {
        let message = socket.next().await.unwrap();
        if message.event == "live.error" {
            break message.data;
        }
    };
    assert_eq!((&ended["sub"], &ended["code"]), (&json!("notes"), &json!("forbidden")), "{ended}");
    assert!(authenticated(&mut socket, &with(json!(["odd"]))).await.error.is_null(), "the connection stands");
}
