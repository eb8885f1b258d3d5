//! The bounds of what agents say, whoever they are.

use serde_json::value::RawValue;

use crate::{BODY_BYTES_MAX, CHUNK_BYTES_MAX, Chunk, DEPTH_MAX, Fault, Kind, RESULT_BYTES_MAX, Said, depth};

/// Longest text for people, in bytes.
const TEXT_BYTES_MAX: usize = 32 << 10;
/// Longest details of a fault, in bytes of JSON.
const DETAILS_BYTES_MAX: usize = 64 << 10;
/// Longest path, URL or name that a permit is asked for, in bytes.
const TARGET_BYTES_MAX: usize = 8 << 10;
/// Longest name of a delegation, in bytes.
const DELEGATE_ID_BYTES_MAX: usize = 256;

/// Whether something may be said. What is only for people is cut instead.
pub(super) fn check(said: &mut Said) -> Result<(), Fault> {
    match said {
        Said::Event { kind, .. } if *kind == Kind::DELEGATE || *kind == Kind::RESULT_CHUNK => {
            Err(Fault::invalid(format!("an event of the kind {kind} is the runtime's to make")))
        }
        Said::Event { kind, body } => {
            kind.check(body)?;
            let said = std::mem::replace(body, RawValue::NULL.to_owned());
            *body = kind.tidy(said);
            Ok(())
        }
        Said::Chunk { data, .. } => chunk(data),
        Said::Authorize { target, .. } => is_within(target.len(), TARGET_BYTES_MAX, "a target"),
        Said::Delegate { delegation, .. } => {
            if delegation.id.is_empty() {
                return Err(Fault::invalid("a delegation has a name"));
            }
            is_within(delegation.id.len(), DELEGATE_ID_BYTES_MAX, "the name of a delegation")?;
            json(&delegation.input, BODY_BYTES_MAX, "an input")
        }
        Said::Done { result, summary } => {
            if let Some(summary) = summary {
                cut(summary);
            }
            result.as_ref().map_or(Ok(()), |result| json(result, RESULT_BYTES_MAX, "a result that is not streamed"))
        }
        Said::Back { .. } => Ok(()),
        Said::Failed(fault) => {
            cut(&mut fault.message);
            if fault.message.is_empty() {
                fault.code.name().clone_into(&mut fault.message);
            }
            fault.details.take_if(|details| json(details, DETAILS_BYTES_MAX, "details").is_err());
            Ok(())
        }
    }
}

fn chunk(data: &Chunk) -> Result<(), Fault> {
    let (bytes, on_the_wire) = match data {
        Chunk::Binary(bytes) => (bytes.len(), 0),
        Chunk::Text(text) => (text.len(), escaped(text)),
    };
    is_within(bytes, CHUNK_BYTES_MAX, "a chunk")?;
    is_within(on_the_wire, BODY_BYTES_MAX, "a chunk of text, as a string of JSON,")
}

/// Bytes of a text as a string of JSON.
fn escaped(text: &str) -> usize {
    let bytes = |byte: u8| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 8 | 12 => 2,
        0..0x20 => 6,
        _ => 1,
    };
    text.bytes().map(bytes).sum()
}

fn json(json: &RawValue, bytes_max: usize, what: &str) -> Result<(), Fault> {
    is_within(json.get().len(), bytes_max, what)?;
    if depth(json.get()) > DEPTH_MAX {
        return Err(Fault::invalid(format!("{what} nests at most {DEPTH_MAX} deep")));
    }
    Ok(())
}

fn is_within(bytes: usize, bytes_max: usize, what: &str) -> Result<(), Fault> {
    if bytes > bytes_max {
        return Err(Fault::invalid(format!("{what} has at most {bytes_max} bytes, not {bytes}")));
    }
    Ok(())
}

fn cut(text: &mut String) {
    let mut end = text.len().min(TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
}
