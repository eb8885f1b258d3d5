//! Follows the stream: waits for entries, takes them in, and looks whether it missed any.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use redis::aio::MultiplexedConnection;
use tokio::time::timeout;

use super::Core;
use super::connect::{Address, Trouble};
use super::continuity::{Continuity, Place};
use super::reply::{self, Entry, Look};

/// Between two attempts to connect.
const DELAY_MAX: Duration = Duration::from_millis(400);

/// See the module.
pub(super) struct Subscriber {
    pub(super) core: Arc<Core>,
    pub(super) address: Address,
    pub(super) stream: String,
    /// Longest wait for an entry.
    pub(super) block: Duration,
    /// Longest wait for an answer.
    pub(super) answer_timeout: Duration,
    /// Survives reconnects.
    pub(super) place: Option<Place>,
}

impl Subscriber {
    /// Goes on until it is dropped.
    pub(super) async fn run(mut self) {
        // Jitter may double a delay: a second at most after Redis is back.
        let backoff = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(50))
            .with_max_delay(DELAY_MAX)
            .without_max_times()
            .with_jitter();
        let mut said = String::new();
        let mut delays = backoff.build();
        loop {
            let before = *self.core.proven.borrow();
            let Err(trouble) = self.follow().await;
            self.core.metrics.in_step.store(0, Relaxed);
            self.core.metrics.disconnects.fetch_add(1, Relaxed);
            if *self.core.proven.borrow() != before {
                delays = backoff.build();
                said.clear();
            }
            // Once for each trouble: it may go on for days.
            let trouble = trouble.to_string();
            if trouble != said {
                tracing::warn!(stream = self.stream, trouble, "lost step with the stream of sessions; trying again");
                said = trouble;
            }
            tokio::time::sleep(delays.next().unwrap_or(DELAY_MAX)).await;
        }
    }

    /// One connection, until it fails.
    async fn follow(&mut self) -> Result<Infallible, Trouble> {
        let mut connection = self.address.connect().await?;
        self.look(&mut connection).await?;
        tracing::info!(stream = self.stream, "in step with the stream of sessions");
        loop {
            let entries = self.wait(&mut connection).await?;
            self.take(&entries);
            self.look(&mut connection).await?;
        }
    }

    /// Waits for entries, not for long.
    async fn wait(&self, connection: &mut MultiplexedConnection) -> Result<Vec<Entry>, Trouble> {
        let Some(place) = self.place else { return Ok(Vec::new()) };
        // Zero would be for ever.
        let block_ms = u64::try_from(self.block.as_millis()).unwrap_or(u64::MAX).max(1);
        let read = reply::read_after(&self.stream, place.position(), Some(block_ms));
        let answer = timeout(self.block + self.answer_timeout, connection.send_packed_command(&read));
        reply::entries(answer.await.map_err(|_| Trouble::Late)??)
    }

    /// Reads what is there, until it is proven that this is all and nothing was missed, or that something was.
    async fn look(&mut self, connection: &mut MultiplexedConnection) -> Result<(), Trouble> {
        loop {
            let position = self.place.map(|place| place.position()).unwrap_or_default();
            let look = reply::look(&self.stream, position);
            let answers = timeout(self.answer_timeout, Box::pin(reply::transact(connection, &look)));
            let look = Look::read(answers.await.map_err(|_| Trouble::Late)??)?;
            match self.place.map(|place| place.judge(look.stream, look.unread.len())) {
                None => self.place = Some(Place::at_end(look.stream)),
                Some(Continuity::Gap) => {
                    tracing::warn!(stream = self.stream, "entries were missed: every session is looked up again");
                    self.place = Some(Place::at_end(look.stream));
                    self.core.gap();
                }
                Some(continuity) => {
                    self.take(&look.unread);
                    if continuity == Continuity::More {
                        continue;
                    }
                }
            }
            self.core.prove();
            return Ok(());
        }
    }

    fn take(&mut self, entries: &[Entry]) {
        if let Some(place) = &mut self.place {
            entries.iter().for_each(|entry| place.pass(entry.id));
        }
        self.core.apply(entries);
    }
}
