//! Publications as subscribers get them: each form made once for all of them.

use bytes::Bytes;
use tidegate_topics::{ClientInfo, Kind, Publication, Record};

use super::wire::{self, NotJson, Push, Reply};
use super::{delta, json, protobuf};

/// How a subscriber is told: its encoding, and whether it was promised differences.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Form {
    Json,
    /// Data is text in a JSON string, whole or a difference.
    JsonDelta,
    Protobuf,
    ProtobufDelta,
    /// JSON without an envelope, for who is only told.
    Bare,
}

impl Form {
    /// Where a publication keeps it: see [`Publication::form`].
    pub(crate) const fn slot(self) -> usize {
        match self {
            Self::Json => 1,
            Self::JsonDelta => 2,
            Self::Protobuf => 3,
            Self::ProtobufDelta => 4,
            Self::Bare => 6,
        }
    }
}

/// The whole message that tells subscribers what happened in a topic. Empty where it cannot be told so, because JSON
/// cannot carry its data: the connection ends with
/// [`InappropriateProtocol`](super::codes::Disconnected::InappropriateProtocol).
///
/// A difference is to the publication's `previous`. Who has not got that, or keeps another one, is told [`push_whole`].
pub(crate) fn push(publication: &Publication, form: Form) -> Vec<u8> {
    encode(&publication.record, publication.previous.as_deref(), form)
}

/// As [`push`], without what came before.
pub(crate) fn push_whole(record: &Record, form: Form) -> Vec<u8> {
    encode(record, None, form)
}

fn encode(record: &Record, previous: Option<&Record>, form: Form) -> Vec<u8> {
    let mut push = Push { channel: record.topic.name.to_string(), ..Push::default() };
    let info = record.client.as_deref().map(info);
    match record.kind {
        Kind::Join => push.join = Some(wire::Join { info }),
        Kind::Leave => push.leave = Some(wire::Leave { info }),
        Kind::Message | Kind::Ephemeral | Kind::Event => match publication(record, previous, form) {
            Ok(publication) => push.publication = Some(publication),
            Err(NotJson) => return Vec::new(),
        },
    }
    let enveloped = |push| Reply { push: Some(push), ..Reply::default() };
    match form {
        Form::Json | Form::JsonDelta => json::encode(&enveloped(push)).unwrap_or_default(),
        Form::Protobuf | Form::ProtobufDelta => protobuf::encode(&enveloped(push)),
        Form::Bare => json::encode(&push).unwrap_or_default(),
    }
}

/// A record as histories, recovered publications and pushes have it. `previous` is what the client has of the same
/// key; without it the record is told whole. In [`Form::Json`] and [`Form::Bare`] it is [`json::encode`] that finds data that is no JSON.
pub(crate) fn publication(
    record: &Record,
    previous: Option<&Record>,
    form: Form,
) -> Result<wire::Publication, NotJson> {
    let (data, delta) = data(record, previous, form)?;
    Ok(wire::Publication {
        data,
        delta,
        info: record.client.as_deref().map(info),
        offset: record.offset,
        tags: record.tags.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
        time: record.time_ms.try_into().unwrap_or(i64::MAX),
        key: record.key.as_deref().unwrap_or_default().to_owned(),
        removed: record.removed,
        ..wire::Publication::default()
    })
}

fn data(record: &Record, previous: Option<&Record>, form: Form) -> Result<(Bytes, bool), NotJson> {
    let after = record.data.bytes();
    // What was removed a client has not kept.
    let before = previous.filter(|previous| !previous.removed).map(|previous| previous.data.bytes());
    match form {
        // Clients parse it, whatever it says.
        Form::JsonDelta if after.is_empty() => Ok((Bytes::from_static(b"\"null\""), false)),
        Form::Json | Form::Bare | Form::Protobuf => Ok((after.clone(), false)),
        Form::ProtobufDelta => match before.and_then(|before| delta::difference(before, after)) {
            Some(difference) => Ok((difference.into(), true)),
            None => Ok((after.clone(), false)),
        },
        Form::JsonDelta => {
            if !json::is_json(after) {
                return Err(NotJson);
            }
            // A difference may cut a character in two, and then it is no text.
            let difference = before.and_then(|before| delta::difference(before, after));
            match difference.as_deref().and_then(|difference| str::from_utf8(difference).ok()) {
                Some(difference) => Ok((quote(difference)?, true)),
                None => Ok((quote(str::from_utf8(after).map_err(|_| NotJson)?)?, false)),
            }
        }
    }
}

fn quote(text: &str) -> Result<Bytes, NotJson> {
    json::encode(&text).map(Bytes::from)
}

/// Who, as clients see it.
pub(crate) fn info(client: &ClientInfo) -> wire::ClientInfo {
    wire::ClientInfo {
        user: client.user.to_string(),
        client: client.client.to_string(),
        conn_info: client.conn_info.clone().unwrap_or_default(),
        chan_info: client.chan_info.clone().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests;
