//! The WebSocket protocol as functions of bytes: RFC 6455 frames and messages, RFC 7692 compression, and the parts of
//! the opening handshake that are not HTTP.
//!
//! # What it is
//! A [`Decoder`] is fed whatever bytes have arrived and gives [`Event`]s; [`header`], [`write_frame`], [`write_close`]
//! and [`write_masked`] make frames. No socket, clock, task or randomness is known here: who owns the socket answers
//! pings, echoes closes, keeps time and picks masking keys.
//!
//! # Invariants
//! - **Bounded.** A length is checked against [`Limits`] from the frame's header alone, before anything is allocated.
//!   Buffers grow with the bytes that arrived, never with those a header claims, and never past the limit; a message is
//!   inflated into no more than the limit either. A message of endless empty fragments ends at `Limits::fragments`.
//! - **Nothing is copied that need not be.** A message that lies whole in the input is unmasked in place and borrowed.
//!   Only one that arrives in pieces is gathered, and between messages a decoder owns no heap.
//! - **Strict, at once.** What the RFC forbids is refused at the first byte that shows it: a reserved bit or opcode, a
//!   mask missing or where none may be, a length longer than need be, a bad UTF-8 byte in the middle of a fragment.
//! - **However it is cut.** The same bytes give the same events and the same error, whatever the chunks they came in.
//!
//! # Where the RFC says so
//! | here | RFC 6455 |
//! |---|---|
//! | [`handshake`] | 4.2.1, 4.2.2 |
//! | frame headers, masking | 5.2, 5.3 |
//! | fragments, control frames | 5.4, 5.5 |
//! | close codes and reasons | 5.5.1, 7.4 |
//! | UTF-8 | 5.6, 8.1 |
//! | [`deflate`] | RFC 7692: 7.1 (parameters), 7.2 (messages) |

mod decode;
pub mod deflate;
mod error;
mod frame;
pub mod handshake;
mod head;
mod mask;
mod partial;
mod text;

pub use decode::{Decoder, Event, Limits, Role};
pub use error::Error;
pub use frame::{Header, OpCode, header, write_close, write_frame, write_masked};
