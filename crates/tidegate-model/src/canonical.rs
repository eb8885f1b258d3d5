//! One spelling for equal JSON documents.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::value::RawValue;

use crate::{Decimal, ValueError};

/// How deep a document may nest. Each level is read once more than the one above it, so this also bounds the work.
const DEPTH_MAX: usize = 32;

/// Keys sorted (the last of equal keys wins), no white space, numbers by value.
pub(crate) fn canonical_json(text: &str) -> Result<String, ValueError> {
    let mut out = String::with_capacity(text.len());
    write(text, DEPTH_MAX, &mut out)?;
    Ok(out)
}

fn write(raw: &str, depth: usize, out: &mut String) -> Result<(), ValueError> {
    let invalid = |e: serde_json::Error| ValueError(format!("not valid JSON: {e}"));
    let raw = raw.trim();
    if depth == 0 {
        return Err(ValueError(format!("a JSON document may nest at most {DEPTH_MAX} deep")));
    }
    match raw.as_bytes().first() {
        Some(b'{') => {
            let members: BTreeMap<String, &RawValue> = serde_json::from_str(raw).map_err(invalid)?;
            out.push('{');
            for (i, (name, member)) in members.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                out.push_str(&serde_json::to_string(name).map_err(invalid)?);
                out.push(':');
                write(member.get(), depth - 1, out)?;
            }
            out.push('}');
        }
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(raw).map_err(invalid)?;
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write(item.get(), depth - 1, out)?;
            }
            out.push(']');
        }
        Some(b'"') => {
            let text: String = serde_json::from_str(raw).map_err(invalid)?;
            out.push_str(&serde_json::to_string(&text).map_err(invalid)?);
        }
        Some(b'-' | b'0'..=b'9') => {
            let _: &RawValue = serde_json::from_str(raw).map_err(invalid)?;
            let number: Decimal = raw.parse().map_err(|e| ValueError(format!("a number in the document: {e}")))?;
            for byte in number.key() {
                let _ = write!(out, "{byte:02x}");
            }
        }
        _ => {
            let _: &RawValue = serde_json::from_str(raw).map_err(invalid)?;
            out.push_str(raw);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_is_bounded() {
        let deep = |n: usize| format!("{}1{}", "[".repeat(n), "]".repeat(n));
        assert!(canonical_json(&deep(DEPTH_MAX - 1)).is_ok());
        assert!(canonical_json(&deep(DEPTH_MAX)).is_err());
        assert!(canonical_json(&deep(100_000)).is_err());
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for bad in ["", "{", "[1,]", "nul", "tru", "01", "1.", "\"\\x\"", "{\"a\"}"] {
            assert!(canonical_json(bad).is_err(), "{bad}");
        }
    }
}
