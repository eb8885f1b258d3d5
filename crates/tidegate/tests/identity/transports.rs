//! Every way to a list of notes, let in or refused.

use std::io;

use serde_json::{Value, json};
use tidegate_testkit::clients::h2::Connection;
use tidegate_testkit::clients::{Endpoint, EventSocket, LiveClient, ModelList, Transport, get, post, request, within};
use tidegate_testkit::gateway::Gateway;

use crate::fixture::gateway;

pub(crate) const NOTES: &str = "/v1/entities/note";

pub(crate) fn every_note() -> Value {
    json!({ "entity": "note", "where": [], "sort": [], "limit": 10 })
}

/// One note of acme's, which nobody else may see.
pub(crate) async fn with_a_note(sections: &str) -> Gateway {
    let gateway = gateway(sections);
    let changes = json!({ "changes": [{ "upsert": { "id": 1, "org": "acme", "text": "hello" } }] });
    let _ = post(gateway.address(), &format!("{NOTES}/changes"), &changes).await.ok();
    gateway
}

pub(crate) async fn shows(endpoint: Endpoint, transport: Transport, notes: usize) -> LiveClient {
    let query = every_note();
    let subscribed = LiveClient::subscribe(endpoint, transport, &query, ModelList::new());
    let subscribed = within("a handshake", subscribed).await;
    let mut client = subscribed.unwrap_or_else(|error| panic!("{transport:?}: {error}"));
    client.until("the list", |list| list.entries().len() == notes).await;
    client
}

/// The status that a subscription was refused with.
pub(crate) async fn refused(endpoint: Endpoint, transport: Transport) -> u16 {
    let query = every_note();
    let subscribed = LiveClient::subscribe(endpoint, transport, &query, ModelList::new());
    match within("a refusal", subscribed).await {
        Ok(_) => panic!("{transport:?}: let in"),
        Err(error) => status(&error),
    }
}

/// The status in what a client says of a refusal.
pub(crate) fn status(error: &io::Error) -> u16 {
    assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
    let said = error.to_string();
    // "expected 101, got …"
    let mut statuses = said.split_whitespace().filter(|word| word.len() == 3).filter_map(|word| word.parse().ok());
    statuses.find(|status| *status != 101).unwrap_or_else(|| panic!("no status: {error}"))
}

/// Over HTTP/1.1 and HTTP/2.
pub(crate) async fn read(endpoint: &Endpoint) -> [(u16, Value); 2] {
    let first = within(NOTES, request(endpoint.clone(), "GET", NOTES, &[], b"")).await.unwrap();
    let mut connection = Connection::open(endpoint).await.unwrap();
    let second = within(NOTES, connection.request("GET", NOTES, &[], b"")).await.unwrap();
    [(first.status, first.json()), (second.status, second.json())]
}

pub(crate) async fn event_socket(endpoint: Endpoint, over_h2: bool) -> io::Result<EventSocket> {
    let connecting = async {
        match over_h2 {
            false => EventSocket::connect(endpoint).await,
            true => EventSocket::connect_h2(endpoint).await,
        }
    };
    within("a handshake of /ws", connecting).await
}

/// Waits until an event socket is closed from there; gives the close code and reason.
pub(crate) async fn farewell(socket: &mut EventSocket) -> Option<(u16, String)> {
    within("the close", async { while socket.next().await.is_some() {} }).await;
    socket.farewell.clone()
}

/// What a counter or gauge of `/metrics` is at, by its name and labels.
pub(crate) async fn metric(gateway: &Gateway, name: &str) -> u64 {
    let metrics = String::from_utf8(get(gateway.address(), "/metrics").await.body).unwrap();
    let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name}: {metrics}"))
}
