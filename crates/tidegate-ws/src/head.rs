//! A frame's header as it is read.

use crate::frame::CONTROL_BYTES_MAX;
use crate::{Error, OpCode, Role};

/// Longest header: two bytes, a 64-bit length and a key.
pub(crate) const HEAD_BYTES_MAX: usize = 14;

/// A frame's header that is allowed by itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head {
    pub(crate) op: OpCode,
    pub(crate) fin: bool,
    /// RSV1: the message that this frame begins is compressed.
    pub(crate) compressed: bool,
    pub(crate) key: Option<[u8; 4]>,
    /// Of the payload; may be beyond any limit.
    pub(crate) len: u64,
    /// Of the header itself.
    pub(crate) bytes: usize,
}

impl Head {
    /// Reads a header from the front of `bytes`: `None` if more are needed. Fails at the first byte that is wrong.
    /// `deflate` tells that RSV1 has its meaning; `role` is ours.
    #[inline]
    pub(crate) fn read(bytes: &[u8], role: Role, deflate: bool) -> Result<Option<Self>, Error> {
        let Some(&first) = bytes.first() else { return Ok(None) };
        let bits = first & 0x0f;
        let op = OpCode::from_bits(bits).ok_or(Error::ReservedOpCode(bits))?;
        let fin = first & 0x80 != 0;
        let compressed = first & 0x40 != 0;
        // Compression is a message's: its first frame tells.
        let may_be_compressed = deflate && matches!(op, OpCode::Text | OpCode::Binary);
        if first & 0x30 != 0 || (compressed && !may_be_compressed) {
            return Err(Error::ReservedBit);
        }
        if op.is_control() && !fin {
            return Err(Error::Control);
        }

        let Some(&second) = bytes.get(1) else { return Ok(None) };
        let masked = second & 0x80 != 0;
        if masked != matches!(role, Role::Server) {
            return Err(Error::Mask);
        }
        let short = second & 0x7f;
        if op.is_control() && usize::from(short) > CONTROL_BYTES_MAX {
            return Err(Error::Control);
        }

        let (len, at) = match short {
            126 => {
                let Some(len) = bytes.get(2..).and_then(<[u8]>::first_chunk) else { return Ok(None) };
                let len = u64::from(u16::from_be_bytes(*len));
                (if len > 125 { len } else { return Err(Error::Length) }, 4)
            }
            127 => {
                let Some(len) = bytes.get(2..).and_then(<[u8]>::first_chunk) else { return Ok(None) };
                let len = u64::from_be_bytes(*len);
                (if len > 0xffff && len >> 63 == 0 { len } else { return Err(Error::Length) }, 10)
            }
            short => (u64::from(short), 2),
        };
        if !masked {
            return Ok(Some(Self { op, fin, compressed, key: None, len, bytes: at }));
        }
        let Some(key) = bytes.get(at..).and_then(<[u8]>::first_chunk) else { return Ok(None) };
        Ok(Some(Self { op, fin, compressed, key: Some(*key), len, bytes: at + 4 }))
    }
}
