//! A live query as the body of an HTTP answer: one subscription, for which the protocol is the query that opened it.
//!
//! Each frame is an event named for its `op`, whose id is its token; or a line. Errors come as `error` with
//! `{"op","code","message","retryable"}`.

use tidegate_model::Part;
use tidegate_session::{CloseReason, Item, Session};
use tokio::time::Instant;

use crate::ApiError;
use crate::frames::{self, put};
use crate::out::Out;
use crate::passing::farewell;
use crate::protocol::Protocol;

pub(crate) struct LiveHttp;

impl Protocol for LiveHttp {
    fn text(&mut self, _: &mut Session, _: &str, _: Instant) -> Result<(), CloseReason> {
        Ok(())
    }

    fn item(&mut self, item: Item, out: &mut Out) -> Result<(), CloseReason> {
        match item {
            Item::Frames { seq, view, batch, from, .. } => {
                batch.body(|batch| frames::encode(&view, batch));
                for ((index, delta), seq) in batch.deltas.iter().enumerate().skip(from).zip(seq..) {
                    out.event(Some(delta.op.name()), Some(&view.token(&batch, index + 1)));
                    frames::write_number(seq, out.head());
                    out.send_shared(&batch, Part::Frame(index));
                }
            }
            Item::Synced { position, .. } => {
                out.event(Some("synced"), None);
                put(out.head(), format_args!("{{\"op\":\"synced\",\"position\":\"{position}\"}}"));
                out.send();
            }
            Item::Ended(_, reason) => {
                write_error(&ApiError::from(&reason), out);
                return Err(CloseReason::Ended);
            }
            Item::TooLarge(_, bytes) => {
                write_error(&ApiError::too_large(bytes), out);
                return Err(CloseReason::Refused);
            }
            // One live query a stream.
            Item::Started(..) | Item::Reply(_) | Item::Publication { .. } | Item::Dropped(..) | Item::Gapped(_) => {}
            Item::Told(_) | Item::Event { .. } => {}
        }
        Ok(())
    }

    fn farewell(&mut self, reason: CloseReason, out: &mut Out) {
        if let Some(error) = farewell(reason) {
            write_error(&error, out);
        }
    }
}

/// An error in mid-stream.
fn write_error(error: &ApiError, out: &mut Out) {
    out.event(Some("error"), None);
    let head = out.head();
    head.extend_from_slice(b"{\"op\":\"error\",");
    error.write_parts_retryable(head);
    head.push(b'}');
    out.send();
}
