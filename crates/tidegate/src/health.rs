//! Whether this process should be sent clients.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tidegate_model::Position;

/// Workers that are further behind than this are not keeping up.
const LAG_MAX: Duration = Duration::from_secs(5);

/// What readiness is made of, beside the feed's and identity's own health.
#[derive(Debug)]
pub(crate) struct Health {
    draining: AtomicBool,
    progress: Mutex<Progress>,
}

#[derive(Debug)]
struct Progress {
    applied: Position,
    /// The oldest published position that is watched for, and when it was published.
    pending: Option<(Position, Instant)>,
}

impl Health {
    pub(crate) fn new(start: Position) -> Self {
        Self { draining: AtomicBool::new(false), progress: Mutex::new(Progress { applied: start, pending: None }) }
    }

    /// The process is stopping.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Transactions up to here are handed to the workers.
    pub(crate) fn published(&self, position: Position) {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        if progress.pending.is_none() && position > progress.applied {
            progress.pending = Some((position, Instant::now()));
        }
    }

    /// Every worker has reached a position.
    pub(crate) fn applied(&self, position: Position) {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        progress.applied = progress.applied.max(position);
        progress.pending = progress.pending.filter(|(pending, _)| *pending > position);
    }

    /// How far the workers are behind.
    pub(crate) fn lag(&self, now: Instant) -> Duration {
        let progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        progress.pending.map_or(Duration::ZERO, |(_, since)| now.saturating_duration_since(since))
    }

    /// Why clients should not be sent here, in words that tell a stranger nothing.
    /// `rooms`: what their own troubles are.
    pub(crate) fn reasons(&self, rooms: [Option<&'static str>; 2], now: Instant) -> Vec<&'static str> {
        let draining = self.draining.load(Ordering::Relaxed).then_some("draining");
        let behind = (self.lag(now) > LAG_MAX).then_some("the live engine is behind");
        [draining].into_iter().chain(rooms).chain([behind]).flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_names_what_is_wrong() {
        let health = Health::new(Position(0));
        let now = Instant::now();
        assert!(health.reasons([None, None], now).is_empty());
        assert_eq!(health.reasons([Some("the store cannot be written"), None], now), ["the store cannot be written"]);
        health.drain();
        assert_eq!(health.reasons([None, None], now), ["draining"]);
    }

    #[test]
    fn workers_lag_when_one_position_takes_long_not_when_many_are_under_way() {
        let health = Health::new(Position(5));
        let late = || Instant::now() + 2 * LAG_MAX;
        health.published(Position(6));
        health.published(Position(7));
        assert_eq!(health.reasons([None, None], late()), ["the live engine is behind"]);
        health.applied(Position(6));
        assert!(health.reasons([None, None], late()).is_empty());
        health.published(Position(8));
        health.published(Position(9));
        health.applied(Position(9));
        assert_eq!(health.lag(late()), Duration::ZERO);
        // A worker may be quicker than the one who says what was published.
        health.applied(Position(12));
        health.published(Position(11));
        assert_eq!(health.lag(late()), Duration::ZERO);
    }
}
