//! What is known about topics, as JSON. Payloads are copied as they were published.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tidegate_edge::ApiError;
use tidegate_model::json::write_string;
use tidegate_topics::{ClientInfo, Data, History, Members, Page, Presence, Published, Record};

/// `"epoch":…,"offset":…`
fn write_position(at: &Published, out: &mut Vec<u8>) {
    out.extend_from_slice(b"\"epoch\":");
    write_string(&at.epoch, out);
    out.extend_from_slice(format!(",\"offset\":{}", at.offset).as_bytes());
}

/// `{"epoch":…,"offset":…}`
pub(super) fn write_published(at: &Published, out: &mut Vec<u8>) {
    out.push(b'{');
    write_position(at, out);
    out.push(b'}');
}

/// `{"error":…}`, as the body of such an answer is.
pub(super) fn write_error(error: &ApiError, out: &mut Vec<u8>) {
    let mut parts = serde_json::json!({
        "code": error.code, "message": error.message, "retryable": error.retryable,
    });
    if let Some(path) = &error.path {
        parts["path"] = path.as_str().into();
    }
    out.extend_from_slice(serde_json::json!({ "error": parts }).to_string().as_bytes());
}

/// `{"epoch":…,"offset":…,"messages":[…]}`
pub(super) fn history(history: &History) -> Vec<u8> {
    let mut out = b"{".to_vec();
    write_position(&history.at, &mut out);
    out.extend_from_slice(b",\"messages\":[");
    write_list(&history.records, &mut out, |record, out| write_record(record, out));
    out.extend_from_slice(b"]}");
    out
}

/// `{"epoch":…,"offset":…,"values":[…],"next"?:…}`
pub(super) fn values(page: &Page) -> Vec<u8> {
    let mut out = b"{".to_vec();
    write_position(&page.at, &mut out);
    out.extend_from_slice(b",\"values\":[");
    write_list(&page.records, &mut out, |record, out| write_record(record, out));
    out.push(b']');
    write_next(page.next.as_deref(), &mut out);
    out.push(b'}');
    out
}

/// `{"version":…,"clients":…,"users":…,` and `"members":[…],"next"?:…}`, or `"joined":[…],"left":[…]}`.
pub(super) fn presence(presence: &Presence) -> Vec<u8> {
    let Presence { version, clients, users, members } = presence;
    let mut out = format!("{{\"version\":{version},\"clients\":{clients},\"users\":{users},").into_bytes();
    match members {
        Members::Page(members, next) => {
            out.extend_from_slice(b"\"members\":[");
            write_list(members, &mut out, |member, out| write_member(member, out));
            out.push(b']');
            write_next(next.as_deref(), &mut out);
        }
        Members::Changes { joined, left } => {
            out.extend_from_slice(b"\"joined\":[");
            write_list(joined, &mut out, |member, out| write_member(member, out));
            out.extend_from_slice(b"],\"left\":[");
            write_list(left, &mut out, |name, out| write_string(name, out));
            out.push(b']');
        }
    }
    out.push(b'}');
    out
}

pub(super) fn write_list<T>(items: &[T], out: &mut Vec<u8>, write: impl Fn(&T, &mut Vec<u8>)) {
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write(item, out);
    }
}

fn write_next(next: Option<&str>, out: &mut Vec<u8>) {
    if let Some(next) = next {
        write_member_text("next", next, out);
    }
}

/// `,"name":"text"`
fn write_member_text(name: &str, text: &str, out: &mut Vec<u8>) {
    out.push(b',');
    write_string(name, out);
    out.push(b':');
    write_string(text, out);
}

/// `{"offset":…,"time_ms":…,"data":…}` and what else it has; `data_base64` instead of `data` where it is no JSON.
fn write_record(record: &Record, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("{{\"offset\":{},\"time_ms\":{}", record.offset, record.time_ms).as_bytes());
    if let Some(key) = &record.key {
        write_member_text("key", key, out);
    }
    if record.removed {
        out.extend_from_slice(b",\"removed\":true");
    }
    if let Some(client) = &record.client {
        write_named("client_id", &client.client, out);
        write_named("user", &client.user, out);
    }
    if !record.tags.is_empty() {
        out.extend_from_slice(b",\"tags\":{");
        write_list(&record.tags, out, |(name, value), out| {
            write_string(name, out);
            out.push(b':');
            write_string(value, out);
        });
        out.push(b'}');
    }
    match &record.data {
        Data::Json(json) => {
            out.extend_from_slice(b",\"data\":");
            out.extend_from_slice(json);
        }
        Data::Binary(bytes) => write_member_text("data_base64", &STANDARD.encode(bytes), out),
    }
    out.push(b'}');
}

/// The same as [`write_member_text`] of a name that is not empty.
fn write_named(name: &str, text: &str, out: &mut Vec<u8>) {
    if !text.is_empty() {
        write_member_text(name, text, out);
    }
}

/// `{"client_id":…,"user"?:…,"conn_info"?:…,"chan_info"?:…}`
fn write_member(member: &ClientInfo, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"client_id\":");
    write_string(&member.client, out);
    write_named("user", &member.user, out);
    for (name, info) in [("conn_info", &member.conn_info), ("chan_info", &member.chan_info)] {
        if let Some(info) = info {
            out.extend_from_slice(format!(",\"{name}\":").as_bytes());
            out.extend_from_slice(info);
        }
    }
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use serde_json::{Value, json};
    use tidegate_model::Tenant;
    use tidegate_topics::{Kind, Namespaces};

    use super::*;

    fn record(offset: u64, data: Data) -> Record {
        Record {
            topic: Namespaces::new(Vec::new()).topic(Tenant::common(), "t").unwrap(),
            kind: Kind::Message,
            offset,
            epoch: "e".into(),
            key: None,
            removed: false,
            data,
            client: None,
            tags: Box::default(),
            time_ms: 5,
        }
    }

    fn read(bytes: &[u8]) -> Value {
        serde_json::from_slice(bytes).unwrap()
    }

    #[test]
    fn records_say_what_they_have_and_nothing_else() {
        let full = Record {
            key: Some("k\"".into()),
            removed: true,
            client: Some(Arc::new(ClientInfo { user: "ann".into(), ..ClientInfo::default() })),
            tags: [("a".into(), "b".into()), ("c".into(), "d".into())].into(),
            ..record(2, Data::Json(Bytes::from_static(b"{ \"big\":1e400 }")))
        };
        let at = Published { epoch: "e".into(), offset: 3 };
        let records = [record(1, Data::Binary(Bytes::from_static(b"\xff"))), full].map(Arc::new);
        let text = history(&History { at: at.clone(), records: records[..1].to_vec() });
        let bare = json!({"offset": 1, "time_ms": 5, "data_base64": "/w=="});
        assert_eq!(read(&text), json!({"epoch": "e", "offset": 3, "messages": [bare]}));
        let page = Page { at, records: records.to_vec(), next: Some("k".into()) };
        let text = values(&page);
        let expected = r#"{"epoch":"e","offset":3,"values":[{"offset":1,"time_ms":5,"data_base64":"/w=="},{"offset":2,"time_ms":5,"key":"k\"","removed":true,"user":"ann","tags":{"a":"b","c":"d"},"data":{ "big":1e400 }}],"next":"k"}"#;
        assert_eq!(String::from_utf8(text).unwrap(), expected);
    }

    #[test]
    fn presence_is_a_page_or_a_difference() {
        let member = ClientInfo {
            client: "c_1".into(),
            user: "ann".into(),
            conn_info: Some(Bytes::from_static(b"{\"a\":1}")),
            chan_info: Some(Bytes::from_static(b"null")),
        };
        let of = |members| Presence { version: 9, clients: 2, users: 1, members };
        let shown = json!({"client_id": "c_1", "user": "ann", "conn_info": {"a": 1}, "chan_info": null});
        let page = presence(&of(Members::Page(vec![Arc::new(member.clone())], Some("c_1".into()))));
        let counted = json!({"version": 9, "clients": 2, "users": 1, "members": [shown], "next": "c_1"});
        assert_eq!(read(&page), counted);
        let changes = Members::Changes { joined: vec![Arc::new(member)], left: vec!["c_0".into(), "c_2".into()] };
        let difference = json!({"version": 9, "clients": 2, "users": 1, "joined": [shown], "left": ["c_0", "c_2"]});
        assert_eq!(read(&presence(&of(changes))), difference);
    }
}
