//! The frame codec: a batch once into bytes, and those bytes into what each protocol sends.
//!
//! A batch is encoded as the end of a message of `/ws`, `[{"op":…},{"op":…}]}}`: whole, it follows what differs between
//! subscribers there. A frame inside it, `"op":…}`, follows `{"seq":12,` in a message or event of its own. So the bytes are
//! shared by all subscribers of a view, whatever protocol they speak.

use std::io::Write as _;
use std::ops::Range;

use tidegate_live::View;
use tidegate_model::{Batch, Body, Delta, Part, json};

/// What closes the array, its `data` and the message.
const END: &[u8] = b"]}}";

/// Encodes every frame of a batch.
#[must_use]
pub fn encode(view: &View, batch: &Batch) -> Body {
    let mut body = Body::default();
    body.starts.reserve_exact(batch.deltas.len());
    for (index, delta) in batch.deltas.iter().enumerate() {
        body.bytes.extend_from_slice(if index == 0 { b"[{" } else { b",{" });
        // A body beyond 4 GiB is beyond every outbox: the start that saturates is never used.
        body.starts.push(u32::try_from(body.bytes.len()).unwrap_or(u32::MAX));
        write_frame(view, batch, index, delta, &mut body.bytes);
    }
    body.bytes.extend_from_slice(END);
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

/// Where the bytes of one frame are.
pub(crate) fn frame(body: &Body, index: usize) -> Range<usize> {
    let after = body.bytes.len().saturating_sub(END.len());
    let start = body.starts.get(index).map_or(after, |start| *start as usize);
    // Before the next one stands `,{`.
    let end = body.starts.get(index + 1).map_or(after, |next| *next as usize - 2);
    start..end
}

/// Where the bytes of a part are, and what has to precede them: for frames from one on these are an array and the end of
/// the message.
pub(crate) fn part(body: &Body, part: Part) -> (&'static [u8], Range<usize>) {
    match part {
        Part::Frame(index) => (b"", frame(body, index)),
        Part::From(0) => (b"", 0..body.bytes.len()),
        Part::From(from) => (b"[{", frame(body, from).start..body.bytes.len()),
    }
}

/// Appends what precedes a frame in a message of `/v1/live/ws`, in the data of an event of SSE, in a line.
pub(crate) fn write_number(seq: u64, out: &mut Vec<u8>) {
    put(out, format_args!("{{\"seq\":{seq},"));
}

/// Writing to a `Vec` can't fail.
pub(crate) fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(text);
}
