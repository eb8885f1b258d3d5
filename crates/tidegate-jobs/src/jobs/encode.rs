//! Payloads of events, encoded once for all who are told.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde::Serialize;

use crate::{AgentRef, BODY_BYTES_MAX, Chunk, Delegation, JobId, Kind, Streaming, time};

/// Longest text of a chunk that stays within [`BODY_BYTES_MAX`] even if each of its bytes is escaped with six.
const ESCAPED_BYTES_MAX: usize = (BODY_BYTES_MAX - 1024) / 6;

/// `{"kind":…,"ts":…,"body":…}`, in one line.
pub(super) fn event(kind: &Kind, body: &str, now_ms: u64) -> Bytes {
    let mut out = Vec::with_capacity(body.len() + 80);
    out.extend_from_slice(b"{\"kind\":\"");
    out.extend_from_slice(kind.name().as_bytes());
    out.extend_from_slice(b"\",\"ts\":\"");
    time::write(now_ms, &mut out);
    out.extend_from_slice(b"\",\"body\":");
    out.extend(one_line(body));
    out.push(b'}');
    out.into()
}

/// JSON without breaks of lines, which there can be only between its tokens.
pub(super) fn one_line(json: &str) -> impl Iterator<Item = u8> {
    json.bytes().filter(|byte| !matches!(byte, b'\n' | b'\r'))
}

/// The body of an event, made here.
pub(super) fn body(of: &impl Serialize) -> String {
    // Of plain structs of texts and numbers, which always can be encoded.
    serde_json::to_string(of).unwrap_or_default()
}

/// `status` of a job whose agent has begun.
pub(super) const RUNNING: &str = r#"{"phase":"running"}"#;

/// A `log` event's body.
pub(super) fn warning(message: &str) -> String {
    #[derive(Serialize)]
    struct Log<'a> {
        level: &'a str,
        message: &'a str,
    }
    body(&Log { level: "warn", message })
}

/// A `metric` event's body that says what is left of a budget.
pub(super) fn remaining(unit: &str, left: &rust_decimal::Decimal) -> String {
    #[derive(Serialize)]
    struct Unit<'a> {
        unit: &'a str,
    }
    let unit = body(&Unit { unit });
    format!(r#"{{"name":"{}","value":{},{}"#, super::hear::REMAINING, left.normalize(), &unit[1..])
}

/// A metric's body with its dimensions under both of the names that clients know.
pub(super) fn with_dims(metric: &str, dimensions: &str) -> String {
    let open = metric.trim_end().strip_suffix('}').unwrap_or_default();
    format!(r#"{open},"dims":{dimensions}}}"#)
}

/// A `delegate` event's body.
pub(super) fn delegation(delegation: &Delegation, agent: &AgentRef, child: JobId) -> String {
    #[derive(Serialize)]
    struct Delegate<'a> {
        delegate_id: &'a str,
        agent: String,
        input: &'a serde_json::value::RawValue,
        #[serde(skip_serializing_if = "Option::is_none")]
        lease_request: Option<&'a crate::lease::Lease>,
        #[serde(skip_serializing_if = "Option::is_none")]
        lease_constraints: Option<Constraints>,
        child_job_id: JobId,
    }
    #[derive(Serialize)]
    struct Constraints {
        expires_at: String,
    }
    let expires_at = delegation.constraints.expires_at_ms.map(|at_ms| {
        let mut text = Vec::new();
        time::write(at_ms, &mut text);
        String::from_utf8(text).unwrap_or_default()
    });
    body(&Delegate {
        delegate_id: &delegation.id,
        agent: agent.to_string(),
        input: &delegation.input,
        lease_request: Some(&delegation.lease).filter(|lease| !lease.is_empty()),
        lease_constraints: expires_at.map(|expires_at| Constraints { expires_at }),
        child_job_id: child,
    })
}

/// Bodies of `result_chunk` events: one, but for a text that is much longer when it is escaped, which comes in pieces. Counts
/// them and their bytes.
pub(super) fn chunks(data: &Chunk, is_last: bool, streaming: &mut Streaming) -> Vec<String> {
    #[derive(Serialize)]
    struct ResultChunk<'a> {
        result_id: crate::ResultId,
        chunk_seq: u64,
        data: &'a str,
        encoding: &'a str,
        more: bool,
    }
    let mut one = |data: &str, encoding: &str, bytes: usize, more: bool| {
        let chunk = ResultChunk { result_id: streaming.id, chunk_seq: streaming.chunks, data, encoding, more };
        let body = body(&chunk);
        streaming.chunks += 1;
        streaming.bytes = streaming.bytes.saturating_add(bytes as u64);
        streaming.is_whole = !more;
        body
    };
    match data {
        Chunk::Binary(data) => vec![one(&BASE64_STANDARD.encode(data), "base64", data.len(), !is_last)],
        Chunk::Text(text) if escaped_len(text) <= BODY_BYTES_MAX - 1024 => {
            vec![one(text, "utf8", text.len(), !is_last)]
        }
        Chunk::Text(text) => {
            let mut bodies = Vec::new();
            let mut rest = &**text;
            while !rest.is_empty() {
                let (piece, after) = rest.split_at(start(rest, ESCAPED_BYTES_MAX).len());
                rest = after;
                bodies.push(one(piece, "utf8", piece.len(), !(is_last && rest.is_empty())));
            }
            bodies
        }
    }
}

/// As much of the start of a text as has at most so many bytes.
pub(super) fn start(text: &str, bytes_max: usize) -> &str {
    let len = (0..=bytes_max.min(text.len())).rev().find(|len| text.is_char_boundary(*len));
    &text[..len.unwrap_or_default()]
}

/// Bytes of a text in JSON, at most.
fn escaped_len(text: &str) -> usize {
    let len = |byte: u8| match byte {
        b'"' | b'\\' => 2,
        0..0x20 => 6,
        _ => 1,
    };
    text.bytes().map(len).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ResultId;

    #[test]
    fn an_event_is_one_line_of_json() {
        let event = event(&Kind::LOG, "{\n  \"level\": \"info\",\r\n \"message\": \"a\\nb\"}", 1_000);
        let expected =
            r#"{"kind":"log","ts":"1970-01-01T00:00:01.000Z","body":{  "level": "info", "message": "a\nb"}}"#;
        assert_eq!(event, expected);
    }

    #[test]
    fn dimensions_have_both_names() {
        assert_eq!(
            with_dims(r#"{"dimensions":{"a":"}"}}"#, r#"{"a":"}"}"#),
            r#"{"dimensions":{"a":"}"},"dims":{"a":"}"}}"#
        );
    }

    #[test]
    fn what_is_left_is_a_number() {
        let left = "1.4200".parse().unwrap();
        assert_eq!(remaining("U\"", &left), r#"{"name":"cost.budget.remaining","value":1.42,"unit":"U\""}"#);
    }

    #[test]
    fn a_text_that_grows_when_escaped_comes_in_pieces_that_fit() {
        let mut streaming = Streaming { id: ResultId::new(1, 1), chunks: 0, bytes: 0, is_whole: false };
        let text: Box<str> = "\u{1}é".repeat(200_000).into();
        let bodies = chunks(&Chunk::Text(text.clone()), true, &mut streaming);
        assert!(bodies.len() > 1 && bodies.iter().all(|body| body.len() <= BODY_BYTES_MAX));
        assert_eq!((streaming.chunks, streaming.bytes), (bodies.len() as u64, text.len() as u64));
        assert!(streaming.is_whole && bodies.iter().rev().skip(1).all(|body| body.ends_with("\"more\":true}")));
        let whole: String = bodies
            .iter()
            .map(|body| serde_json::from_str::<serde_json::Value>(body).unwrap()["data"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(whole, &*text);
    }
}
