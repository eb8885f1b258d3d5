//! Why a peer is refused.

use thiserror::Error;

/// What the peer did that ends the connection. Nothing more is to be fed to the decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Error {
    /// A reserved bit is set that no extension gave a meaning, or where its extension forbids it.
    #[error("a reserved bit is set")]
    ReservedBit,
    /// An opcode that the RFC reserves.
    #[error("opcode {0} is reserved")]
    ReservedOpCode(u8),
    /// A client's frame without a mask, or a server's with one.
    #[error("a frame is masked the wrong way")]
    Mask,
    /// A length in more bytes than it needs, or with its top bit set.
    #[error("a length is not in its shortest form")]
    Length,
    /// A control frame in fragments or longer than 125 bytes.
    #[error("a control frame is fragmented or too long")]
    Control,
    /// A continuation of nothing, or a new message inside another.
    #[error("a fragment is out of order")]
    Fragment,
    /// A close frame of one byte, or with a code that may not be sent.
    #[error("a close frame is malformed")]
    Close,
    /// Text, or a close reason, that is not UTF-8.
    #[error("text is not UTF-8")]
    Utf8,
    /// A compressed message that is not a whole DEFLATE stream.
    #[error("a compressed message is malformed")]
    Deflate,
    /// A frame or message longer than [`crate::Limits`] has it, as sent or inflated.
    #[error("a message is too long")]
    TooLong,
    /// A message in more fragments than [`crate::Limits`] has it.
    #[error("a message is in too many fragments")]
    TooManyFragments,
}

impl Error {
    /// The code to close with (RFC 6455 7.4.1).
    #[must_use]
    pub fn code(&self) -> u16 {
        match self {
            Self::ReservedBit
            | Self::ReservedOpCode(_)
            | Self::Mask
            | Self::Length
            | Self::Control
            | Self::Fragment
            | Self::Close => 1002,
            Self::Utf8 | Self::Deflate => 1007,
            Self::TooLong | Self::TooManyFragments => 1009,
        }
    }
}
