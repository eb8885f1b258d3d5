//! What subscribers of a topic are told of its ephemeral entries, as JSON.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tidegate_model::json::write_string;

use super::entries::Gone;
use crate::{Cleared, ClientInfo, Data, Kind, Publication, Record, Set, Topic};

/// Writes events.
pub(super) struct Events {
    /// How a set begins, up to the topic.
    set: Box<[u8]>,
    /// How a clear does.
    clear: Box<[u8]>,
}

impl Events {
    /// Such as have the name of what happened in the field `discriminator`.
    pub(super) fn new(discriminator: &str) -> Self {
        let head = |name| {
            let mut head = vec![b'{'];
            write_string(discriminator, &mut head);
            head.push(b':');
            write_string(name, &mut head);
            head.into()
        };
        Self { set: head("ephemeral.set"), clear: head("ephemeral.clear") }
    }

    /// An entry has a value.
    pub(super) fn set(&self, set: &Set, now_ms: u64) -> Arc<Publication> {
        let client = &set.owner.client;
        // Base64 needs no escapes.
        let payload = STANDARD.encode(&set.payload);
        let rest = set.key.len() + client.len() + payload.len();
        let mut json = entry(&self.set, rest, &set.topic, &set.key, client);
        last(&mut json, "payload", &payload);
        publication(set.topic.clone(), json, client.clone(), now_ms)
    }

    /// An entry is no more.
    pub(super) fn cleared(&self, gone: Gone, reason: Cleared, now_ms: u64) -> Arc<Publication> {
        let Gone { topic, key, client, .. } = gone;
        let mut json = entry(&self.clear, key.len() + client.len(), &topic, &key, &client);
        last(&mut json, "reason", reason.name());
        publication(topic, json, client, now_ms)
    }
}

/// What all events say. `rest` is about how many bytes there will be beyond head, topic and names.
fn entry(head: &[u8], rest: usize, topic: &Topic, key: &str, client: &str) -> Vec<u8> {
    let mut json = Vec::with_capacity(head.len() + topic.name.len() + rest + 64);
    json.extend_from_slice(head);
    for (name, value) in [(&b",\"topic\":"[..], &*topic.name), (b",\"key\":", key), (b",\"client_id\":", client)] {
        json.extend_from_slice(name);
        write_string(value, &mut json);
    }
    json
}

/// The last field, of a value without anything to escape.
fn last(json: &mut Vec<u8>, name: &str, value: &str) {
    for part in [",\"", name, "\":\"", value, "\"}"] {
        json.extend_from_slice(part.as_bytes());
    }
}

fn publication(topic: Arc<Topic>, json: Vec<u8>, client: Arc<str>, time_ms: u64) -> Arc<Publication> {
    let record = Record {
        topic,
        kind: Kind::Ephemeral,
        offset: 0,
        epoch: Arc::default(),
        key: None,
        removed: false,
        data: Data::Json(json.into()),
        client: Some(Arc::new(ClientInfo { client, ..ClientInfo::default() })),
        tags: Box::default(),
        time_ms,
    };
    Arc::new(Publication::new(Arc::new(record), None))
}
