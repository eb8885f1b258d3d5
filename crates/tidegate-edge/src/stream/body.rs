//! What hyper holds of a stream.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use axum::body::Body as ApiBody;
use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use crate::client::Client;
use crate::worker::Worker;

/// Why a body that was let go has no orderly end.
#[derive(Debug, thiserror::Error)]
#[error("the client took nothing for too long")]
pub(crate) struct Cut;

/// A stream's bytes, as hyper asks for them. Dropping it ends the client.
pub(crate) struct StreamBody {
    worker: Rc<Worker>,
    client: Rc<Client>,
}

impl StreamBody {
    pub(crate) fn new(worker: Rc<Worker>, client: Rc<Client>) -> Self {
        Self { worker, client }
    }
}

impl Drop for StreamBody {
    fn drop(&mut self) {
        self.worker.leave(&self.client);
    }
}

/// The body of any answer of the edge.
pub(crate) enum Payload {
    /// Of the API, or a whole one.
    Api(ApiBody),
    /// Of a stream.
    Stream(StreamBody),
}

impl Body for Payload {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        match self.get_mut() {
            Payload::Api(body) => Pin::new(body).poll_frame(cx),
            Payload::Stream(StreamBody { worker, client }) => {
                let polled = worker.poll_stream(client, cx);
                polled.map(|bytes| bytes.map(|bytes| bytes.map(Frame::data).map_err(axum::Error::new)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Payload::Api(body) if body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Payload::Api(body) => body.size_hint(),
            Payload::Stream(_) => SizeHint::default(),
        }
    }
}
