//! From the stream to the applier: events in batches, and the way back for what is durable.

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;

use futures_util::FutureExt as _;

use super::applier::{Epoch, Input};
use super::session::{Ended, Source};
use super::stream::{ReplicationStream, StreamEvent};

/// Events of one batch.
const BATCH_EVENTS: usize = 4_096;
/// Bytes of one batch, at least which it is sent; one event may be larger.
const BATCH_BYTES: usize = 256 << 10;

/// Runs until the stream or the applier ends. While the applier is busy nothing more is read, and the server waits.
pub(crate) async fn run(
    source: &Source,
    session: Epoch,
    stream: &mut impl ReplicationStream,
) -> Result<Infallible, Ended> {
    let mut report = source.report.clone();
    loop {
        let first = tokio::select! {
            event = stream.next() => event?,
            changed = report.changed() => {
                changed.map_err(|_| Ended::Stopped)?;
                stream.confirm(report.borrow_and_update().flushed);
                continue;
            }
        };
        let events = batch(stream, first).await?;
        let mut sent = pin!(source.inputs.send(Input::Events { session, events }));
        loop {
            tokio::select! {
                sent = &mut sent => {
                    sent.map_err(|_| Ended::Stopped)?;
                    break;
                }
                changed = report.changed() => {
                    changed.map_err(|_| Ended::Stopped)?;
                    stream.confirm(report.borrow_and_update().flushed);
                }
            }
        }
    }
}

/// What has come already, up to a batch; a transaction that has begun is waited for as long as it fits.
async fn batch(stream: &mut impl ReplicationStream, first: StreamEvent) -> Result<Vec<StreamEvent>, Ended> {
    let (mut events, mut bytes) = (Vec::new(), 0);
    let mut open = false;
    let mut next = Some(first);
    while let Some(event) = next.take() {
        match &event {
            StreamEvent::Begin { .. } => open = true,
            StreamEvent::Commit { .. } => open = false,
            StreamEvent::Data(raw) => bytes += raw.bytes.len(),
            StreamEvent::Message { content, .. } => bytes += content.len(),
            StreamEvent::KeepAlive { .. } => {}
        }
        events.push(event);
        if events.len() >= BATCH_EVENTS || bytes >= BATCH_BYTES {
            break;
        }
        next = if open { Some(stream.next().await?) } else { ready(stream.next()).transpose()? };
    }
    Ok(events)
}

/// What a future has to say at once.
fn ready<T>(future: impl Future<Output = T>) -> Option<T> {
    future.now_or_never()
}
