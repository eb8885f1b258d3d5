//! The heartbeat of one connection: when to send a ping, and when the other side has been silent for too long.

use std::time::Duration;

use tokio::time::Instant;

/// Silent intervals after which the other side counts as gone.
const SILENT_INTERVALS: u32 = 2;

/// When something last went either way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pulse {
    interval: Duration,
    sent_at: Instant,
    heard_at: Instant,
}

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beat {
    /// Nothing yet.
    Rests,
    /// Nothing was sent for an interval.
    Ping,
    /// Nothing was heard for two.
    Lost,
}

impl Pulse {
    pub(super) fn new(interval: Duration, now: Instant) -> Self {
        Self { interval, sent_at: now, heard_at: now }
    }

    /// Something was sent.
    pub(super) fn sent(&mut self, now: Instant) {
        self.sent_at = now;
    }

    /// Something came, whatever it was.
    pub(super) fn heard(&mut self, now: Instant) {
        self.heard_at = now;
    }

    /// When [`Pulse::beat`] has something to say.
    pub(super) fn due(&self) -> Instant {
        (self.sent_at + self.interval).min(self.lost_at())
    }

    pub(super) fn beat(&self, now: Instant) -> Beat {
        if now >= self.lost_at() {
            Beat::Lost
        } else if now >= self.sent_at + self.interval {
            Beat::Ping
        } else {
            Beat::Rests
        }
    }

    fn lost_at(&self) -> Instant {
        self.heard_at + self.interval * SILENT_INTERVALS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_of_nothing_sent_is_a_ping_and_two_of_nothing_heard_are_the_end() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut pulse = Pulse::new(Duration::from_secs(30), start);
        assert_eq!((pulse.due(), pulse.beat(at(29))), (at(30), Beat::Rests));
        assert_eq!(pulse.beat(at(30)), Beat::Ping);
        pulse.sent(at(30));
        assert_eq!((pulse.due(), pulse.beat(at(59))), (at(60), Beat::Rests));
        assert_eq!(pulse.beat(at(60)), Beat::Lost);
        pulse.heard(at(50));
        assert_eq!((pulse.due(), pulse.beat(at(60))), (at(60), Beat::Ping));
        pulse.sent(at(100));
        assert_eq!((pulse.due(), pulse.beat(at(110))), (at(110), Beat::Lost));
    }
}
