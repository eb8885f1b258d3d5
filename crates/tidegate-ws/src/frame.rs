//! Frames as they are sent: each is a whole message.

use std::ops::Deref;

use crate::mask;

/// Longest payload of a control frame.
pub(crate) const CONTROL_BYTES_MAX: usize = 125;

/// What a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum OpCode {
    /// More of the message begun before.
    Continuation = 0,
    /// A message of UTF-8.
    Text = 1,
    /// A message of bytes.
    Binary = 2,
    /// The end of what this side sends.
    Close = 8,
    /// A question whether the other side is there.
    Ping = 9,
    /// The answer to a ping.
    Pong = 10,
}

impl OpCode {
    /// `None` for the reserved ones.
    pub(crate) fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return None,
        })
    }

    pub(crate) fn is_control(self) -> bool {
        self as u8 >= Self::Close as u8
    }
}

/// The bytes of a frame's header: 2, 4 or 10.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    bytes: [u8; 10],
    len: u8,
}

impl Deref for Header {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// The header of a server's frame that is a whole message of `len` payload bytes; `compressed` sets RSV1.
#[must_use]
pub fn header(op: OpCode, compressed: bool, len: usize) -> Header {
    let mut bytes = [0; 10];
    bytes[0] = 0x80 | (u8::from(compressed) << 6) | op as u8;
    let used = match (u8::try_from(len), u16::try_from(len)) {
        (Ok(short @ ..=125), _) => {
            bytes[1] = short;
            2
        }
        (_, Ok(middle)) => {
            bytes[1] = 126;
            bytes[2..4].copy_from_slice(&middle.to_be_bytes());
            4
        }
        _ => {
            bytes[1] = 127;
            bytes[2..].copy_from_slice(&(len as u64).to_be_bytes());
            10
        }
    };
    Header { bytes, len: used }
}

/// A server's frame that is a whole message.
pub fn write_frame(op: OpCode, payload: &[u8], out: &mut Vec<u8>) {
    let header = header(op, false, payload.len());
    out.reserve(header.len() + payload.len());
    out.extend_from_slice(&header);
    out.extend_from_slice(payload);
}

/// A server's close frame. `reason` is cut to 123 bytes, between two characters.
pub fn write_close(code: u16, reason: &str, out: &mut Vec<u8>) {
    let longest = reason.len().min(CONTROL_BYTES_MAX - 2);
    let end = (0..=longest).rev().find(|&end| reason.is_char_boundary(end)).unwrap_or(0);
    let reason = &reason[..end];
    out.extend_from_slice(&header(OpCode::Close, false, 2 + reason.len()));
    out.extend_from_slice(&code.to_be_bytes());
    out.extend_from_slice(reason.as_bytes());
}

/// A client's frame that is a whole message, masked with `key`.
pub fn write_masked(op: OpCode, payload: &[u8], key: [u8; 4], out: &mut Vec<u8>) {
    let mut header = header(op, false, payload.len());
    header.bytes[1] |= 0x80;
    out.reserve(header.len() + key.len() + payload.len());
    out.extend_from_slice(&header);
    out.extend_from_slice(&key);
    let start = out.len();
    out.extend_from_slice(payload);
    mask::apply(&mut out[start..], key);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_takes_as_few_bytes_as_it_can() {
        for (len, header_bytes) in [(0, 2), (125, 2), (126, 4), (255, 4), (256, 4), (65_535, 4), (65_536, 10)] {
            assert_eq!(header(OpCode::Binary, false, len).len(), header_bytes, "{len}");
        }
        assert_eq!(*header(OpCode::Text, true, 300), [0xc1, 126, 1, 44]);
        assert_eq!(*header(OpCode::Pong, false, 65_536), [0x8a, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn a_reason_is_cut_between_characters() {
        let mut out = Vec::new();
        write_close(1001, &"é".repeat(100), &mut out);
        assert_eq!(out.len(), 2 + 2 + 122);
        assert!(std::str::from_utf8(&out[4..]).is_ok());
    }

    #[test]
    fn a_masked_frame_is_the_one_of_the_rfc() {
        let mut out = Vec::new();
        write_masked(OpCode::Text, b"Hello", [0x37, 0xfa, 0x21, 0x3d], &mut out);
        assert_eq!(out, [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]);
    }
}
