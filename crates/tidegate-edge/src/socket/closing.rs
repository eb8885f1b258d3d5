//! The end of a WebSocket: the last replies, a close, the peer's close, and the time that all of it may take.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tidegate_session::CloseReason;
use tidegate_ws::Event;
use tokio::io::AsyncWrite as _;
use tokio::time::Instant;

use super::{Life, Scratch, Socket, poll_read};

/// For the closing handshake.
const CLOSE_TIME: Duration = Duration::from_secs(2);
/// For that of whoever may not be here any more.
const REVOKED_CLOSE_TIME: Duration = Duration::from_millis(500);
/// Bytes read and thrown away after the close, so that the close is not lost to a reset.
const LINGER_BYTES: usize = 1 << 20;

/// How far the closing handshake is.
pub(super) struct Closing {
    pub(super) by: Instant,
    /// Whether the peer's close is waited for; after it, or after an error, bytes are only thrown away.
    is_listening: bool,
    is_shut: bool,
    left: usize,
}

impl Socket {
    /// Begins the end: the last replies, which may say why, and a close.
    pub(crate) fn close(&mut self, reason: CloseReason, scratch: &mut Scratch) -> Life {
        self.close_hinting(reason, None, scratch)
    }

    /// The same with a hint when to come back.
    pub(crate) fn close_hinting(
        &mut self,
        reason: CloseReason,
        reconnect_after_ms: Option<u64>,
        scratch: &mut Scratch,
    ) -> Life {
        if self.closing.is_some() {
            return Life::Goes;
        }
        self.session.close(reason);
        self.admitted.close(reason);
        if matches!(reason, CloseReason::WriteTimeout | CloseReason::Gone) {
            return Life::Over;
        }
        // What was encoded when the reason came up has been passed on; replies may have come since.
        let _ = self.encode(scratch);
        let (code, text) = self.protocol.goodbye(reason, reconnect_after_ms);
        let mut close = Vec::new();
        tidegate_ws::write_close(self.peer_code.unwrap_or(code), &text, &mut close);
        scratch.out.frames(&close);
        self.needs_flush = true;
        self.unsent.append(&mut scratch.out);
        self.passing = None;
        let is_out = matches!(
            reason,
            CloseReason::Revoked | CloseReason::Expired | CloseReason::Unverified | CloseReason::Unauthenticated
        );
        let by = Instant::now() + if is_out { REVOKED_CLOSE_TIME } else { CLOSE_TIME };
        let is_listening = !matches!(
            reason,
            CloseReason::Normal | CloseReason::Protocol | CloseReason::InvalidText | CloseReason::TooBig
        );
        self.closing = Some(Closing { by, is_listening, is_shut: false, left: LINGER_BYTES });
        Life::Goes
    }

    pub(super) fn poll_close(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Life {
        let is_written = match self.unsent.poll_write(cx, &mut self.wire) {
            Poll::Ready(Ok(())) => true,
            Poll::Ready(Err(_)) => return Life::Over,
            Poll::Pending => false,
        };
        if is_written && self.flush_wire(cx).is_err() {
            return Life::Over;
        }
        let is_flushed = is_written && !self.needs_flush;
        let Some(closing) = &mut self.closing else { return Life::Over };
        loop {
            if is_flushed && !closing.is_listening && !closing.is_shut {
                match Pin::new(&mut self.wire).poll_shutdown(cx) {
                    Poll::Ready(Ok(())) => closing.is_shut = true,
                    Poll::Ready(Err(_)) => return Life::Over,
                    Poll::Pending => {}
                }
            }
            let bytes = match poll_read(&mut self.wire, cx, &mut scratch.read) {
                Poll::Ready(Ok(count)) if count > 0 && count < closing.left => &mut scratch.read[..count],
                Poll::Ready(_) => return Life::Over,
                Poll::Pending => return Life::Goes,
            };
            closing.left -= bytes.len();
            let mut at = 0;
            while closing.is_listening && at < bytes.len() {
                match self.decoder.decode(&mut bytes[at..]) {
                    Ok((_, Some(Event::Close(_)))) | Err(_) => closing.is_listening = false,
                    Ok((_, None)) => break,
                    Ok((taken, Some(_))) => at += taken,
                }
            }
        }
    }
}
