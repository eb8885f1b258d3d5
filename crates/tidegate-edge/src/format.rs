//! How messages are set apart in the body of an HTTP answer.
//!
//! Whatever a message holds, it stays one: no byte of it begins a field, an event or a line of its own.

use std::fmt::Display;

use axum::http::{HeaderMap, header};

use crate::frames::put;
use crate::metrics::Transport;

/// One of the ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// `text/event-stream`: an event a message, a comment to keep alive.
    Events,
    /// `application/x-ndjson`: a line a message, an empty one to keep alive.
    Lines,
    /// `application/json`: a line a JSON value. None is empty, and a message may be several.
    Values,
    /// `application/octet-stream`: messages that tell their own length.
    Delimited,
}

impl Format {
    /// What the client asked for: lines if it said so, otherwise events.
    pub(crate) fn accepted(headers: &HeaderMap) -> Self {
        let accepted = headers.get(header::ACCEPT).and_then(|accepted| accepted.to_str().ok()).unwrap_or_default();
        let is_lines = accepted.split(',').any(|entry| {
            let kind = entry.split(';').next().unwrap_or_default();
            kind.trim().eq_ignore_ascii_case("application/x-ndjson")
        });
        if is_lines { Format::Lines } else { Format::Events }
    }

    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Format::Events => "text/event-stream",
            Format::Lines => "application/x-ndjson",
            Format::Values => "application/json",
            Format::Delimited => "application/octet-stream",
        }
    }

    pub(crate) fn transport(self) -> Transport {
        match self {
            Format::Events => Transport::Sse,
            Format::Lines | Format::Values | Format::Delimited => Transport::Stream,
        }
    }

    /// What says that the connection still stands; empty where only a message can.
    pub(crate) fn keep_alive(self) -> &'static [u8] {
        match self {
            Format::Events => b":\n\n",
            Format::Lines => b"\n",
            Format::Values | Format::Delimited => b"",
        }
    }

    /// Appends when a client is to come back.
    pub(crate) fn write_retry(self, after_ms: u64, out: &mut Vec<u8>) {
        if self == Format::Events {
            put(out, format_args!("retry: {after_ms}\n\n"));
        }
    }

    /// Appends what only events have, in front of the message that it is about. Neither may have the end of a line in it.
    pub(crate) fn write_event(self, name: Option<&str>, id: Option<&dyn Display>, out: &mut Vec<u8>) {
        if self != Format::Events {
            return;
        }
        if let Some(name) = name {
            put(out, format_args!("event: {name}\n"));
        }
        if let Some(id) = id {
            put(out, format_args!("id: {id}\n"));
        }
    }

    /// Appends a message, made of these parts.
    pub(crate) fn write(self, parts: [&[u8]; 2], out: &mut Vec<u8>) {
        match self {
            Format::Events => {
                out.extend_from_slice(b"data: ");
                parts.iter().for_each(|part| write_data(part, out));
                out.extend_from_slice(b"\n\n");
            }
            Format::Lines | Format::Values => {
                parts.iter().for_each(|part| out.extend_from_slice(part));
                out.push(b'\n');
            }
            Format::Delimited => parts.iter().for_each(|part| out.extend_from_slice(part)),
        }
    }
}

/// Whatever ends a line there ends one of the message, and nothing else.
fn write_data(data: &[u8], out: &mut Vec<u8>) {
    let mut lines = data.split(|byte| matches!(byte, b'\n' | b'\r'));
    out.extend_from_slice(lines.next().unwrap_or_default());
    for line in lines {
        out.extend_from_slice(b"\ndata: ");
        out.extend_from_slice(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(format: Format, message: &str) -> String {
        let mut out = Vec::new();
        let (first, second) = message.as_bytes().split_at(message.len() / 2);
        format.write([first, second], &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn no_message_makes_a_field_or_an_event_of_its_own() {
        assert_eq!(written(Format::Events, "{\"a\":1}"), "data: {\"a\":1}\n\n");
        let hostile = "x\n\nevent: evil\rid: 7\r\nretry: 1";
        let expected = "data: x\ndata: \ndata: event: evil\ndata: id: 7\ndata: \ndata: retry: 1\n\n";
        assert_eq!(written(Format::Events, hostile), expected);
        assert_eq!(written(Format::Events, ""), "data: \n\n");
        assert_eq!(written(Format::Lines, "{}"), "{}\n");
        assert_eq!(written(Format::Values, "{}\n{}"), "{}\n{}\n");
        assert_eq!(written(Format::Delimited, "\u{2}ab"), "\u{2}ab");
    }

    #[test]
    fn only_events_have_names_and_ids() {
        let mut out = Vec::new();
        Format::Events.write_event(Some("reset"), Some(&7), &mut out);
        Format::Events.write_event(None, None, &mut out);
        Format::Lines.write_event(Some("reset"), Some(&7), &mut out);
        assert_eq!(out, b"event: reset\nid: 7\n");
    }

    #[test]
    fn lines_are_for_those_who_accept_them() {
        let accepts = |value: &'static str| {
            let headers = HeaderMap::from_iter([(header::ACCEPT, axum::http::HeaderValue::from_static(value))]);
            Format::accepted(&headers)
        };
        assert_eq!(accepts("text/html, Application/X-NDJSON;q=0.9"), Format::Lines);
        assert_eq!([accepts("*/*"), Format::accepted(&HeaderMap::new())], [Format::Events; 2]);
    }
}
