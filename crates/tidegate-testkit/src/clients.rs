//! Clients of the contracts on the wire, written from the contracts: they share nothing with the server's codecs.

mod http;
mod list;
mod sse;
mod ws;

use std::future::Future;
use std::time::Duration;

pub use http::{API_KEY, Response, get, page, post, request, urlencoded, write};
pub use list::{Entry, Frame, ModelList};
pub use sse::{SseEvent, SseStream};
pub use ws::{EventSocket, LiveSocket, Message};

/// Waits for `future`, and fails the test with `what` if that takes longer than a busy machine explains.
///
/// # Panics
/// After 60 s.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(Duration::from_secs(60), future).await {
        Ok(output) => output,
        Err(_) => panic!("not within 60 s: {what}"),
    }
}
