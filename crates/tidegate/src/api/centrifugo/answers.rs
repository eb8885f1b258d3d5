//! What is answered, as JSON. Payloads are copied as they were published.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use tidegate_edge::CentrifugoFault as Fault;
use tidegate_model::json::write_string;
use tidegate_topics::{ClientInfo, Data, History, Published, Record};

/// `{}`
pub(super) fn nothing() -> Vec<u8> {
    b"{}".to_vec()
}

/// `{"name":value}`
pub(super) fn named(name: &str, value: &[u8]) -> Vec<u8> {
    let mut out = b"{".to_vec();
    write_string(name, &mut out);
    out.push(b':');
    out.extend_from_slice(value);
    out.push(b'}');
    out
}

/// `{"name":[…]}`
pub(super) fn list(name: &str, values: &[Vec<u8>]) -> Vec<u8> {
    let mut array = b"[".to_vec();
    array.extend_from_slice(&values.join(&b','));
    array.push(b']');
    named(name, &array)
}

/// `{"error":{"code":…,"message":…}}`
pub(super) fn error(fault: &Fault) -> Vec<u8> {
    json!({ "error": { "code": fault.number(), "message": fault.message() } }).to_string().into_bytes()
}

/// `{"offset":…,"epoch":…}`; without a history `{}`.
pub(super) fn published(at: &Published) -> Vec<u8> {
    if at.epoch.is_empty() {
        return nothing();
    }
    json!({ "offset": at.offset, "epoch": &*at.epoch }).to_string().into_bytes()
}

/// `{"publications":[…],"offset":…,"epoch":…}`
pub(super) fn history(history: &History) -> Vec<u8> {
    let publications: Vec<Vec<u8>> = history.records.iter().map(|record| publication(record)).collect();
    let mut out = list("publications", &publications);
    out.pop();
    out.extend_from_slice(format!(",\"offset\":{},\"epoch\":", history.at.offset).as_bytes());
    write_string(&history.at.epoch, &mut out);
    out.push(b'}');
    out
}

/// `{"offset":…,"data":…}` and what else it has; `b64data` instead of `data` where it is no JSON.
fn publication(record: &Record) -> Vec<u8> {
    let mut out = format!("{{\"offset\":{}", record.offset).into_bytes();
    if let Some(client) = &record.client {
        out.extend_from_slice(b",\"info\":");
        write_client(client, &mut out);
    }
    if let Some(key) = &record.key {
        out.extend_from_slice(b",\"key\":");
        write_string(key, &mut out);
    }
    if record.removed {
        out.extend_from_slice(b",\"removed\":true");
    }
    if !record.tags.is_empty() {
        let tags: BTreeMap<&str, &str> = record.tags.iter().map(|(name, value)| (&**name, &**value)).collect();
        out.extend_from_slice(format!(",\"tags\":{}", json!(tags)).as_bytes());
    }
    match &record.data {
        Data::Json(data) => {
            out.extend_from_slice(b",\"data\":");
            out.extend_from_slice(data);
        }
        Data::Binary(data) => {
            out.extend_from_slice(b",\"b64data\":");
            write_string(&STANDARD.encode(data), &mut out);
        }
    }
    out.push(b'}');
    out
}

/// `{"presence":{"c_…":{…}}}`
pub(super) fn presence<'a>(members: impl Iterator<Item = &'a ClientInfo>) -> Vec<u8> {
    let mut map = b"{".to_vec();
    for member in members {
        if map.len() > 1 {
            map.push(b',');
        }
        write_string(&member.client, &mut map);
        map.push(b':');
        write_client(member, &mut map);
    }
    map.push(b'}');
    named("presence", &map)
}

/// `{"client":…,"user":…,"conn_info"?:…,"chan_info"?:…}`
fn write_client(client: &ClientInfo, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"client\":");
    write_string(&client.client, out);
    out.extend_from_slice(b",\"user\":");
    write_string(&client.user, out);
    for (name, info) in [("conn_info", &client.conn_info), ("chan_info", &client.chan_info)] {
        if let Some(info) = info {
            out.extend_from_slice(format!(",\"{name}\":").as_bytes());
            out.extend_from_slice(info);
        }
    }
    out.push(b'}');
}
