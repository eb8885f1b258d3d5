//! What the threads of a crowd tell while they run, and what they have gathered when they are asked.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

/// Counters that all threads of a crowd add to.
#[derive(Debug, Default)]
pub(crate) struct Board {
    /// Connections that were begun.
    pub(crate) begun: AtomicU64,
    /// Handshakes that were completed.
    pub(crate) shaken: AtomicU64,
    /// Connections that are open and ready now.
    pub(crate) ready: AtomicU64,
    /// Answered with another status than the protocol's.
    pub(crate) refused: AtomicU64,
    /// Of those, with `Retry-After`.
    pub(crate) told_to_wait: AtomicU64,
    /// Could not connect, or ended before they were ready.
    pub(crate) failed: AtomicU64,
    /// Ended by the server, or broken, once they were ready.
    pub(crate) lost: AtomicU64,
    /// Closed by the server for the reason that is waited for, to the end of the connection.
    pub(crate) ended: AtomicU64,
    /// Messages and events received by connections that are ready.
    pub(crate) messages: AtomicU64,
    /// Reads that brought some.
    pub(crate) reads: AtomicU64,
    /// Their payloads' bytes.
    pub(crate) bytes: AtomicU64,
    /// Marks in them: deliveries.
    pub(crate) delivered: AtomicU64,
    /// Messages sent.
    pub(crate) sent: AtomicU64,
    /// Publications so far: marks of others are not of this run.
    pub(crate) published: AtomicU64,
    /// What went wrong first.
    trouble: Mutex<Option<String>>,
}

/// What a turn of a thread adds to the board: gathered first, for the counters are everybody's.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) messages: u64,
    pub(crate) reads: u64,
    pub(crate) bytes: u64,
    pub(crate) delivered: u64,
    pub(crate) sent: u64,
}

impl Board {
    pub(crate) fn add(&self, tally: &Tally) {
        let Tally { messages, reads, bytes, delivered, sent } = *tally;
        add(&self.messages, messages);
        add(&self.reads, reads);
        add(&self.bytes, bytes);
        add(&self.delivered, delivered);
        add(&self.sent, sent);
    }

    pub(crate) fn trouble(&self, what: impl FnOnce() -> String) {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        trouble.get_or_insert_with(what);
    }

    /// What went wrong first, if anything did.
    pub(crate) fn first_trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

pub(crate) fn read(counter: &AtomicU64) -> u64 {
    counter.load(Relaxed)
}

pub(crate) fn add(counter: &AtomicU64, count: u64) {
    if count > 0 {
        counter.fetch_add(count, Relaxed);
    }
}

/// What a crowd has gathered since it was last asked.
#[derive(Debug, Default)]
pub(crate) struct Samples {
    /// From the connect to the handshake's answer, in nanoseconds.
    pub(crate) handshakes: Vec<u64>,
    /// From the handshake's answer to being ready: subscribe and snapshot.
    pub(crate) readies: Vec<u64>,
    /// From the connect to being ready.
    pub(crate) opened: Vec<u64>,
    /// By publication: the latency of each delivery, in microseconds.
    pub(crate) latencies: Vec<Vec<u32>>,
    /// Round trips, in nanoseconds.
    pub(crate) trips: Vec<u64>,
    /// Connections that were closed as was waited for.
    pub(crate) ends: Vec<End>,
}

/// A connection that the server closed, in nanoseconds of the run's clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct End {
    pub(crate) number: u32,
    /// When its close frame was read.
    pub(crate) closed: u64,
    /// When nothing more came.
    pub(crate) ended: u64,
}

impl Samples {
    pub(crate) fn merge(&mut self, other: Self) {
        self.handshakes.extend(other.handshakes);
        self.readies.extend(other.readies);
        self.opened.extend(other.opened);
        self.trips.extend(other.trips);
        self.ends.extend(other.ends);
        for (number, latencies) in other.latencies.into_iter().enumerate() {
            self.of(number).extend(latencies);
        }
    }

    /// The latencies of one publication.
    pub(crate) fn of(&mut self, number: usize) -> &mut Vec<u32> {
        if self.latencies.len() <= number {
            self.latencies.resize_with(number + 1, Vec::new);
        }
        &mut self.latencies[number]
    }
}
