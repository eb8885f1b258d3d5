//! permessage-deflate (RFC 7692), always without context takeover in both directions: a message is compressed by
//! itself, so it is compressed once for all who get it, and no connection keeps a window.

mod offer;

use std::cell::RefCell;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

pub use offer::negotiate;

use crate::Error;
use crate::partial::growth;

/// What both ends agreed on, beside that neither keeps a context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deflate {
    /// Logarithm of the window that the server's messages are compressed with: 9 to 15.
    pub server_window_bits: u8,
    /// Logarithm of the window that the client's messages are compressed with: 8 to 15.
    pub client_window_bits: u8,
}

/// Logarithm of the largest window: what is compressed with it, everybody can read who did not ask for a smaller one.
pub const WINDOW_BITS_MAX: u8 = 15;
/// Windows that messages can be compressed with. zlib has none of 8 bits for raw DEFLATE.
const WINDOW_BITS: std::ops::RangeInclusive<u8> = 9..=WINDOW_BITS_MAX;
/// What an empty stored block leaves at the end of a flush; RFC 7692 7.2.1 cuts it.
const FLUSHED: [u8; 4] = [0, 0, 0xff, 0xff];
/// What was cut, and a last empty block: a message that ends inside a block then has no end of its stream.
const ENDING: [u8; 9] = [0, 0, 0xff, 0xff, 1, 0, 0, 0xff, 0xff];
/// Longest stored block.
const STORED_BYTES_MAX: usize = 0xffff;
/// First guess of how much a message inflates.
const INFLATION: usize = 4;

thread_local! {
    // A quarter of a mebibyte to make and clear, each: one a thread and window, not one a message.
    static COMPRESSORS: RefCell<[Option<Compress>; 7]> = const { RefCell::new([const { None }; 7]) };
    static INFLATER: RefCell<Option<Decompress>> = const { RefCell::new(None) };
}

/// Compresses a message's payload whole, appended to `out`: the payload of a frame with RSV1 set. `window_bits` is
/// taken as 9 to 15.
pub fn compress(payload: &[u8], window_bits: u8, out: &mut Vec<u8>) {
    let bits = window_bits.clamp(*WINDOW_BITS.start(), *WINDOW_BITS.end());
    COMPRESSORS.with_borrow_mut(|compressors| {
        let compressor = compressors[usize::from(bits - WINDOW_BITS.start())]
            .get_or_insert_with(|| Compress::new_with_window_bits(Compression::fast(), false, bits));
        compressor.reset();
        let mut rest = payload;
        loop {
            // More than a flush takes, or its mark is written twice.
            out.reserve(rest.len() / 2 + 64);
            let before = compressor.total_in();
            let done = compressor.compress_vec(rest, out, FlushCompress::Sync);
            rest = &rest[(compressor.total_in() - before) as usize..];
            if done.is_err() || (rest.is_empty() && out.len() < out.capacity()) {
                break;
            }
        }
    });
    debug_assert!(out.ends_with(&FLUSHED));
    out.truncate(out.len() - FLUSHED.len());
}

/// A compressed message whose first part is one client's and whose rest is shared: the frame's payload, appended to
/// `out`. `head` goes in as it is; `shared` was made by [`compress`] and is not compressed again.
pub fn write_compressed(head: &[u8], shared: &[u8], out: &mut Vec<u8>) {
    for chunk in head.chunks(STORED_BYTES_MAX) {
        let len = chunk.len() as u16;
        out.push(0);
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(&(!len).to_le_bytes());
        out.extend_from_slice(chunk);
    }
    out.extend_from_slice(shared);
}

/// The message of which `payload` is the compressed form, if it is no longer than `bytes_max`.
pub(crate) fn inflate(payload: &[u8], bytes_max: usize) -> Result<Vec<u8>, Error> {
    INFLATER.with_borrow_mut(|inflater| {
        let inflater = inflater.get_or_insert_with(|| Decompress::new(false));
        inflater.reset(false);
        let mut out = Vec::new();
        // One more than is allowed tells a message that is too long from one that just fits.
        let room_max = bytes_max.saturating_add(1);
        out.reserve_exact(payload.len().saturating_mul(INFLATION).max(64).min(room_max));
        let mut ending = false;
        let mut rest = payload;
        loop {
            let (before, len) = (inflater.total_in(), out.len());
            let status = inflater.decompress_vec(rest, &mut out, FlushDecompress::Sync).map_err(|_| Error::Deflate)?;
            rest = &rest[(inflater.total_in() - before) as usize..];
            if out.len() > bytes_max {
                return Err(Error::TooLong);
            }
            match status {
                Status::StreamEnd if rest.is_empty() => return Ok(out),
                // RFC 7692 7.2.3.4: a block may call itself the last and yet be followed by another.
                Status::StreamEnd => inflater.reset(false),
                _ if out.len() == out.capacity() => {
                    let room = growth(out.len(), out.capacity(), 1, room_max);
                    out.reserve_exact(room);
                }
                _ if !rest.is_empty() && out.len() > len => {}
                _ if ending || !rest.is_empty() => return Err(Error::Deflate),
                _ => {}
            }
            if rest.is_empty() && !ending {
                rest = &ENDING;
                ending = true;
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compressed(payload: &[u8], window_bits: u8) -> Vec<u8> {
        let mut out = Vec::new();
        compress(payload, window_bits, &mut out);
        out
    }

    /// Bytes that do not compress.
    fn noise(len: usize) -> Vec<u8> {
        let mut state = 0x9e37_79b9_u32;
        std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .take(len)
        .collect()
    }

    #[test]
    fn what_is_compressed_inflates_to_the_same() {
        for len in [0, 1, 63, 64, 120, 1000, 65_535, 65_536, 300_000] {
            for payload in [vec![b'a'; len], noise(len), b"{\"key\":12}".repeat(len / 10)] {
                for bits in 9..=15 {
                    let small = compressed(&payload, bits);
                    assert_eq!(inflate(&small, payload.len()).as_ref(), Ok(&payload), "{len} {bits}");
                    if !payload.is_empty() {
                        assert_eq!(inflate(&small, payload.len() - 1), Err(Error::TooLong));
                    }
                }
            }
        }
    }

    #[test]
    fn the_messages_of_the_rfc() {
        // RFC 7692 7.2.3: one block, without compression, with a last block, in two blocks, and an empty message.
        for payload in [
            &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00][..],
            &[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00],
            &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00],
            &[0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00],
        ] {
            assert_eq!(inflate(payload, 5).as_deref(), Ok(&b"Hello"[..]), "{payload:x?}");
        }
        assert_eq!(inflate(&[0x00], 0).as_deref(), Ok(&b""[..]));
    }

    #[test]
    fn a_message_cut_short_is_refused() {
        let whole = compressed(b"{\"a\":1,\"b\":[1,2,3,4,5,6,7]}", 15);
        for cut in 1..whole.len() {
            assert_eq!(inflate(&whole[..cut], 1 << 16), Err(Error::Deflate), "{cut} of {}", whole.len());
        }
    }

    #[test]
    fn a_bomb_ends_at_the_limit() {
        let bomb = compressed(&vec![0; 64 << 20], 15);
        assert!(bomb.len() < 1 << 20);
        assert_eq!(inflate(&bomb, 1 << 16), Err(Error::TooLong));
    }

    #[test]
    fn a_head_of_ones_own_before_what_is_shared() {
        let shared = compressed(b"\"rows\":[1,2,3]}", 15);
        for len in [0, 1, 20, STORED_BYTES_MAX, STORED_BYTES_MAX + 1] {
            let head = noise(len);
            let mut out = Vec::new();
            write_compressed(&head, &shared, &mut out);
            assert_eq!(inflate(&out, 1 << 20), Ok([&head[..], b"\"rows\":[1,2,3]}"].concat()));
        }
    }
}
