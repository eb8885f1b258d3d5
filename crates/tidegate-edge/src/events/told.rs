//! What clients are told, as the protocol has it: replies, errors, and what happens in topics.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tidegate_model::json;
use tidegate_topics::{
    ClientInfo, Data, Entry, History, Joined, Kind, Members, Page, Presence, Publication, Published, Record,
};

use crate::ApiError;
use crate::frames::put;

/// The reply to the message of that `id`.
pub(super) fn reply(id: &str, data: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len() + id.len() + 40);
    put(&mut out, format_args!("{{\"event\":\"reply\",\"id\":{id},\"data\":"));
    out.extend_from_slice(data);
    out.push(b'}');
    out
}

pub(super) fn error_reply(id: &str, error: &ApiError) -> Vec<u8> {
    let mut out = Vec::new();
    put(&mut out, format_args!("{{\"event\":\"reply\",\"id\":{id},\"error\":{{"));
    error.write_parts_retryable(&mut out);
    out.extend_from_slice(b"}}");
    out
}

/// Tells that a live subscription has ended.
pub(super) fn error_message(name: &str, error: &ApiError) -> Vec<u8> {
    let mut message = Vec::new();
    put(&mut message, format_args!("{{\"event\":\"live.error\",\"data\":{{\"sub\":{name},"));
    error.write_parts_retryable(&mut message);
    message.extend_from_slice(b"}}");
    message
}

pub(super) fn error_event(error: &ApiError) -> Vec<u8> {
    let mut out = b"{\"event\":\"error\",\"data\":{".to_vec();
    error.write_parts_retryable(&mut out);
    out.extend_from_slice(b"}}");
    out
}

/// A publication as every subscriber is told it: a whole message.
pub(super) fn publication(publication: &Publication) -> Vec<u8> {
    let record = &*publication.record;
    let (event, who) = match record.kind {
        // The application's own.
        Kind::Event => return record.data.bytes().to_vec(),
        Kind::Message | Kind::Ephemeral => ("message", None),
        Kind::Join => ("join", record.client.as_deref()),
        Kind::Leave => ("leave", record.client.as_deref()),
    };
    let mut out = Vec::with_capacity(record.data.bytes().len() + record.topic.name.len() + 160);
    open(&mut out, event, &record.topic.name);
    out.push(b',');
    match who {
        Some(who) => write_client(who, &mut out),
        None => write_record(record, &mut out),
    }
    out.extend_from_slice(b"}}");
    out
}

/// Something about a topic that has no more to say than what `rest` appends.
pub(super) fn event(event: &str, topic: &str, rest: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    open(&mut out, event, topic);
    rest(&mut out);
    out.extend_from_slice(b"}}");
    out
}

/// The subscription is over, and why.
pub(super) fn error(topic: &str, error: &ApiError) -> Vec<u8> {
    event("error", topic, |out| {
        out.push(b',');
        error.write_parts_retryable(out);
    })
}

/// The answer to a subscribe, without the braces: it also follows a topic's name. Where what was missed has no room, nothing
/// is recovered.
pub(super) fn joined(joined: &Joined, data: Option<&[u8]>, room: usize) -> Vec<u8> {
    let write = |recovered: Option<bool>, records: &[Arc<Record>]| {
        let mut out = Vec::new();
        write_position(&joined.at, &mut out);
        if let Some(recovered) = recovered {
            put(&mut out, format_args!(",\"recovered\":{recovered}"));
        }
        let written = write_messages(records, room, &mut out);
        if let Some(data) = data {
            out.extend_from_slice(b",\"data\":");
            out.extend_from_slice(data);
        }
        (out, written == records.len())
    };
    match write(joined.recovered, &joined.records) {
        (out, true) => out,
        (_, false) => write(joined.recovered.map(|_| false), &[]).0,
    }
}

/// What the application has to say.
pub(super) fn sent(data: &Data) -> Vec<u8> {
    let mut out = b"{\"event\":\"message\",".to_vec();
    write_data(data, &mut out);
    out.push(b'}');
    out
}

pub(super) fn published(at: &Published) -> Vec<u8> {
    let mut out = b"{".to_vec();
    write_position(at, &mut out);
    out.push(b'}');
    out
}

/// A history, as far as there is room; `None` if there is none for the first.
pub(super) fn history(history: &History, room: usize) -> Option<Vec<u8>> {
    let mut out = b"{".to_vec();
    write_position(&history.at, &mut out);
    let written = write_messages(&history.records, room, &mut out);
    out.push(b'}');
    (written > 0 || history.records.is_empty()).then_some(out)
}

/// A page of values, as far as there is room: it goes on after the last that is in it. `None` if there is none for the first.
pub(super) fn values(page: &Page, room: usize) -> Option<Vec<u8>> {
    let mut out = b"{".to_vec();
    write_position(&page.at, &mut out);
    let written = write_messages(&page.records, room, &mut out);
    let next = match written < page.records.len() {
        true => Some(page.records[..written].last()?.key.as_deref()?),
        false => page.next.as_deref(),
    };
    write_next(next, &mut out);
    out.push(b'}');
    Some(out)
}

pub(super) fn presence(presence: &Presence) -> Vec<u8> {
    let mut out = Vec::new();
    let Presence { version, clients, users, members } = presence;
    put(&mut out, format_args!("{{\"version\":{version},\"clients\":{clients},\"users\":{users}"));
    let client = |client: &_, out: &mut Vec<u8>| {
        out.push(b'{');
        write_client(client, out);
        out.push(b'}');
    };
    match members {
        Members::Page(members, next) => {
            out.extend_from_slice(b",\"members\":");
            write_list(members, &mut out, |member, out| client(member, out));
            write_next(next.as_deref(), &mut out);
        }
        Members::Changes { joined, left } => {
            out.extend_from_slice(b",\"joined\":");
            write_list(joined, &mut out, |member, out| client(member, out));
            out.extend_from_slice(b",\"left\":");
            write_list(left, &mut out, |name, out| json::write_string(name, out));
        }
    }
    out.push(b'}');
    out
}

/// Ephemeral entries; `None` if there is no room for all of them.
pub(super) fn entries(entries: &[Entry], room: usize) -> Option<Vec<u8>> {
    let bytes: usize = entries.iter().map(|entry| entry.payload.len() / 3 * 4 + entry.key.len() + 100).sum();
    if bytes > room {
        return None;
    }
    let mut out = Vec::with_capacity(bytes);
    out.extend_from_slice(b"{\"entries\":");
    write_list(entries, &mut out, |entry, out| {
        out.extend_from_slice(b"{\"key\":");
        json::write_string(&entry.key, out);
        put(out, format_args!(",\"payload\":\"{}\",\"client_id\":", STANDARD.encode(&entry.payload)));
        json::write_string(&entry.client, out);
        put(out, format_args!(",\"expires_in_ms\":{}}}", entry.expires_in_ms));
    });
    out.push(b'}');
    Some(out)
}

fn open(out: &mut Vec<u8>, event: &str, topic: &str) {
    put(out, format_args!("{{\"event\":\"topic.{event}\",\"data\":{{\"topic\":"));
    json::write_string(topic, out);
}

fn write_position(at: &Published, out: &mut Vec<u8>) {
    out.extend_from_slice(b"\"epoch\":");
    json::write_string(&at.epoch, out);
    put(out, format_args!(",\"offset\":{}", at.offset));
}

/// Writes `,"messages":[…]`: as many as fit into `room`. How many.
fn write_messages(records: &[Arc<Record>], room: usize, out: &mut Vec<u8>) -> usize {
    out.extend_from_slice(b",\"messages\":[");
    let mut written = 0;
    for record in records {
        let before = out.len();
        out.extend_from_slice(if written == 0 { b"{" } else { b",{" });
        write_record(record, out);
        put(out, format_args!(",\"time_ms\":{}}}", record.time_ms));
        if out.len() > room {
            out.truncate(before);
            break;
        }
        written += 1;
    }
    out.push(b']');
    written
}

fn write_record(record: &Record, out: &mut Vec<u8>) {
    write_data(&record.data, out);
    if record.offset > 0 {
        put(out, format_args!(",\"offset\":{}", record.offset));
    }
    // What happened to an entry says itself whose it is.
    let client = record.client.as_ref().filter(|client| record.kind == Kind::Message && !client.client.is_empty());
    if let Some(client) = client {
        out.extend_from_slice(b",\"client_id\":");
        json::write_string(&client.client, out);
    }
    if let Some(key) = &record.key {
        out.extend_from_slice(b",\"key\":");
        json::write_string(key, out);
    }
    if record.removed {
        out.extend_from_slice(b",\"removed\":true");
    }
    if !record.tags.is_empty() {
        out.extend_from_slice(b",\"tags\":{");
        for (index, (name, value)) in record.tags.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            json::write_string(name, out);
            out.push(b':');
            json::write_string(value, out);
        }
        out.push(b'}');
    }
}

fn write_data(data: &Data, out: &mut Vec<u8>) {
    out.extend_from_slice(b"\"data\":");
    match data {
        Data::Json(json) => out.extend_from_slice(json),
        Data::Binary(bytes) => put(out, format_args!("\"{}\",\"encoding\":\"base64\"", STANDARD.encode(bytes))),
    }
}

fn write_client(client: &ClientInfo, out: &mut Vec<u8>) {
    out.extend_from_slice(b"\"client_id\":");
    json::write_string(&client.client, out);
    out.extend_from_slice(b",\"user\":");
    json::write_string(&client.user, out);
    for (name, info) in [("conn_info", &client.conn_info), ("chan_info", &client.chan_info)] {
        if let Some(info) = info {
            put(out, format_args!(",\"{name}\":"));
            out.extend_from_slice(info);
        }
    }
}

fn write_next(next: Option<&str>, out: &mut Vec<u8>) {
    if let Some(next) = next {
        out.extend_from_slice(b",\"next\":");
        json::write_string(next, out);
    }
}

fn write_list<T>(items: &[T], out: &mut Vec<u8>, mut write: impl FnMut(&T, &mut Vec<u8>)) {
    out.push(b'[');
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write(item, out);
    }
    out.push(b']');
}
