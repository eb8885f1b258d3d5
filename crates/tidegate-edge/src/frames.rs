//! The frame codec: a batch once into bytes, and those bytes into what each protocol sends.
//!
//! A frame is encoded without what differs between subscribers: `"op":…,…}`, to which `{"seq":12,` (or `{`) is put in
//! front. So the bytes are shared by all subscribers of a view, whatever protocol they speak.

use std::io::Write as _;

use tidegate_live::View;
use tidegate_model::{Batch, Body, Delta, json};

/// Encodes every frame of a batch.
#[must_use]
pub fn encode(view: &View, batch: &Batch) -> Body {
    let mut body = Body::default();
    body.starts.reserve_exact(batch.deltas.len());
    for (index, delta) in batch.deltas.iter().enumerate() {
        // A body beyond 4 GiB is beyond every outbox: the start that saturates is never used.
        body.starts.push(u32::try_from(body.bytes.len()).unwrap_or(u32::MAX));
        write_frame(view, batch, index, delta, &mut body.bytes);
    }
    body
}

fn write_frame(view: &View, batch: &Batch, index: usize, delta: &Delta, out: &mut Vec<u8>) {
    let (query, entity) = (&view.query, &view.query.entity);
    put(out, format_args!("\"op\":\"{}\",\"agg_id\":", delta.op.name()));
    match &delta.row {
        Some(row) => json::write_string(&json::key_text(entity, row), out),
        None => out.extend_from_slice(b"\"\""),
    }
    put(out, format_args!(",\"version\":{},\"row\":", delta.version));
    match &delta.row {
        Some(row) => json::write_row(entity, &query.select, row, out),
        None => out.extend_from_slice(b"null"),
    }
    put(out, format_args!(",\"old_index\":{},\"new_index\":{},\"cursor\":", delta.old_index, delta.new_index));
    match &delta.row {
        Some(row) => json::write_cursor(&query.order, row, out),
        None => out.extend_from_slice(b"null"),
    }
    put(out, format_args!(",\"stream_id\":\"{}\"", view.token(batch, index + 1)));
    let is_last = index + 1 == batch.deltas.len();
    out.extend_from_slice(if is_last { b",\"last\":true}" } else { b"}" });
}

/// The shared bytes of one frame.
pub(crate) fn frame(body: &Body, index: usize) -> &[u8] {
    let start = body.starts.get(index).map_or(body.bytes.len(), |start| *start as usize);
    let end = body.starts.get(index + 1).map_or(body.bytes.len(), |start| *start as usize);
    body.bytes.get(start..end).unwrap_or_default()
}

/// Appends a frame with its number: a message of `/v1/live/ws`, the data of an event of SSE.
pub(crate) fn write_numbered(seq: u64, frame: &[u8], out: &mut Vec<u8>) {
    put(out, format_args!("{{\"seq\":{seq},"));
    out.extend_from_slice(frame);
}

/// Appends frames `from ..` as a JSON array, without numbers.
pub(crate) fn write_array(body: &Body, from: usize, out: &mut Vec<u8>) {
    out.push(b'[');
    for index in from..body.starts.len() {
        out.extend_from_slice(if index > from { b",{" } else { b"{" });
        out.extend_from_slice(frame(body, index));
    }
    out.push(b']');
}

/// Appends an event of SSE for each of the frames `from ..`, numbered from `seq`; how many.
pub(crate) fn write_events(view: &View, batch: &Batch, body: &Body, from: usize, seq: u64, out: &mut Vec<u8>) -> usize {
    let deltas = batch.deltas.iter().enumerate().skip(from);
    let mut written = 0;
    for ((index, delta), seq) in deltas.zip(seq..) {
        put(out, format_args!("event: {}\nid: {}\ndata: ", delta.op.name(), view.token(batch, index + 1)));
        write_numbered(seq, frame(body, index), out);
        out.extend_from_slice(b"\n\n");
        written += 1;
    }
    written
}

/// Writing to a `Vec` can't fail.
pub(crate) fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(text);
}
