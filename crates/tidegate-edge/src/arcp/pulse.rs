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
    /// Of the last ping.
    asked_at: Instant,
}

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beat {
    /// Nothing yet.
    Rests,
    /// Nothing was sent for an interval, or nothing was heard: a client that only answers has to be asked while it is busy reading.
    Ping,
    /// Nothing was heard for two.
    Lost,
}

impl Pulse {
    pub(super) fn new(interval: Duration, now: Instant) -> Self {
        Self { interval, sent_at: now, heard_at: now, asked_at: now }
    }

    /// Something was sent.
    pub(super) fn sent(&mut self, now: Instant) {
        self.sent_at = now;
    }

    /// A ping was sent.
    pub(super) fn asked(&mut self, now: Instant) {
        (self.sent_at, self.asked_at) = (now, now);
    }

    /// Something came, whatever it was.
    pub(super) fn heard(&mut self, now: Instant) {
        self.heard_at = now;
    }

    /// When [`Pulse::beat`] has something to say.
    pub(super) fn due(&self) -> Instant {
        self.ask_at().min(self.lost_at())
    }

    pub(super) fn beat(&self, now: Instant) -> Beat {
        if now >= self.lost_at() {
            Beat::Lost
        } else if now >= self.ask_at() {
            Beat::Ping
        } else {
            Beat::Rests
        }
    }

    fn ask_at(&self) -> Instant {
        self.sent_at.min(self.heard_at).max(self.asked_at) + self.interval
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
        pulse.asked(at(30));
        assert_eq!((pulse.due(), pulse.beat(at(59))), (at(60), Beat::Rests));
        assert_eq!(pulse.beat(at(60)), Beat::Lost);
        pulse.heard(at(50));
        assert_eq!((pulse.due(), pulse.beat(at(60))), (at(60), Beat::Ping));
        pulse.asked(at(100));
        assert_eq!((pulse.due(), pulse.beat(at(110))), (at(110), Beat::Lost));
    }

    #[test]
    fn a_client_that_is_told_much_and_says_nothing_is_asked_before_it_counts_as_gone() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut pulse = Pulse::new(Duration::from_secs(30), start);
        for second in 1..30 {
            pulse.sent(at(second));
            assert_eq!(pulse.beat(at(second)), Beat::Rests);
        }
        assert_eq!(pulse.beat(at(30)), Beat::Ping);
        pulse.asked(at(30));
        pulse.sent(at(31));
        assert_eq!(pulse.beat(at(31)), Beat::Rests, "once an interval");
        pulse.heard(at(32));
        assert_eq!(pulse.due(), at(61));
    }
}
