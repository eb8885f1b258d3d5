//! Clients of the contracts on the wire, written from the contracts: they share nothing with the server's codecs.

mod body;
mod centrifugo;
mod endpoint;
pub mod h2;
mod http;
mod list;
mod live;
pub mod raw;
mod sse;
mod ws;

use std::future::Future;
use std::time::Duration;

pub use body::SseEvent;
pub use centrifugo::CentrifugoSocket;
pub use endpoint::{Certificate, Endpoint, Io, Link};
pub use http::{API_KEY, Response, get, page, post, request, urlencoded, write};
pub use list::{Entry, Frame, ModelList};
pub use live::{Farewell, LiveClient, Transport};
pub use sse::SseStream;
pub use ws::{EventSocket, LiveSocket, Message};

/// Waits for `future`, and fails the test with `what` if that takes longer than a busy machine explains.
///
/// # Panics
/// After 60 s.
pub fn within<T>(what: &str, future: impl Future<Output = T>) -> impl Future<Output = T> {
    // Scenarios are waited for inside of others: on the heap, none of them makes the next one larger.
    let future = Box::pin(future);
    async move {
        match tokio::time::timeout(Duration::from_secs(60), future).await {
            Ok(output) => output,
            Err(_) => panic!("not within 60 s: {what}"),
        }
    }
}
