//! What the runtime of agents' jobs has for the connections of one worker.

use std::task::{Context, Poll};

use tidegate_session::runtime::{Letter, Runtime};
use tokio::sync::mpsc;

/// Bundles taken at once.
const BUNDLES: usize = 64;

/// A worker's end of a port; none where no jobs are served. When it is dropped its connections are gone.
#[derive(Default)]
pub(crate) struct Mail(Option<(u64, mpsc::Receiver<Vec<Letter>>)>);

impl Mail {
    pub(crate) fn of(runtime: Option<&Runtime>) -> Self {
        let port = runtime.map(Runtime::port).transpose();
        Self(port.unwrap_or_else(|busy| {
            tracing::error!(%busy, "a worker cannot be reached by jobs");
            None
        }))
    }

    pub(crate) fn port(&self) -> Option<u64> {
        self.0.as_ref().map(|(port, _)| *port)
    }

    /// Ready when there is something; never, once the runtime has ended.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, letters: &mut Vec<Vec<Letter>>) -> Poll<()> {
        let Some((_, mail)) = &mut self.0 else { return Poll::Pending };
        match mail.poll_recv_many(cx, letters, BUNDLES) {
            Poll::Ready(0) => {
                self.0 = None;
                Poll::Pending
            }
            polled => polled.map(drop),
        }
    }
}
