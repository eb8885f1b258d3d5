//! The numbers that a session gives to events: 1, 2, 3, … over the entries of all jobs that it sees.
//!
//! A job's entries are in its log once, whoever sees them. A sequence only says which number is which entry, by [`Segment`]s: from
//! this number on they are of that job, until the next one. So what is stored is a row whenever the job changes, not one an
//! event; in memory an event costs the four bytes of its size, by which the sequence is bounded.
//!
//! # Invariants
//! - **No gap**: numbers differ by one, and each has one entry for ever, also after a restart.
//! - **Bounded** by [`Caps`]; what is let go is the oldest. Below the floor nothing can be asked for.
//! - **Balanced**: of each job [`Change::Holds`] and [`Change::LetsGo`] take turns.

use std::collections::{BTreeMap, VecDeque};

use tidegate_jobs::JobId;

/// No job: a segment of nobody's, without any number, behind one that has ended. Whatever comes next takes its place.
const CLOSED: JobId = JobId::NONE;

/// How much of a sequence is kept. At least the newest event is, whatever its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caps {
    /// Events. Default 10,000.
    pub events: usize,
    /// Bytes of them. Default 16 MiB.
    pub bytes: usize,
}

impl Default for Caps {
    fn default() -> Self {
        Self { events: 10_000, bytes: 16 << 20 }
    }
}

/// From the number `seq` on, up to where the next segment begins, events are the entries `n`, `n + 1`, … of one job.
///
/// A stored one is needed until a later one begins at or below the floor + 1. So the last one always is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// The first number.
    pub seq: u64,
    /// The job.
    pub job: JobId,
    /// The first entry.
    pub n: u64,
}

/// Events `seq ..`, which are `count` entries of a job from `n` on. At least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// The first number.
    pub seq: u64,
    /// The job.
    pub job: JobId,
    /// The first entry.
    pub n: u64,
    /// How many.
    pub count: u64,
}

/// What happened to a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// To be stored.
    Opened(Segment),
    /// The last number that is let go. To be stored; of several only the last matters.
    Floor(u64),
    /// The sequence has entries of this job now.
    Holds(JobId),
    /// It has none any more.
    LetsGo(JobId),
}

/// What is acknowledged was never given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{seq} is above {head}, the number of the newest event")]
pub struct AboveHead {
    /// What was acknowledged.
    pub seq: u64,
    /// The newest number.
    pub head: u64,
}

/// What is asked for is not there any more, or never was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the events after that number are not kept")]
pub struct Expired;

/// The numbers of one session.
#[derive(Debug)]
pub struct Sequence {
    caps: Caps,
    /// The last number that is let go.
    floor: u64,
    acknowledged: u64,
    /// Of each event above the floor.
    sizes: VecDeque<u32>,
    /// Sum of these.
    bytes: usize,
    /// Those that events above the floor are of. If there is none, the last that there was, so that its job can go on in it.
    segments: VecDeque<Segment>,
    /// How many segments with events above the floor each job has.
    jobs: BTreeMap<JobId, usize>,
}

impl Sequence {
    /// No event yet.
    #[must_use]
    pub fn new(caps: Caps) -> Self {
        let (sizes, segments, jobs) = (VecDeque::new(), VecDeque::new(), BTreeMap::new());
        Self { caps, floor: 0, acknowledged: 0, sizes, bytes: 0, segments, jobs }
    }

    /// As it was stored: the floor and the segments in order of their numbers. `log` tells of a job the first entry that is kept and
    /// the sizes of it and all that follow. The last segment reaches to its job's last entry; what the logs no longer have
    /// raises the floor, which is to be stored if it is another now, or its numbers might be given again. What is let go
    /// counts as acknowledged.
    #[must_use]
    pub fn restored(
        caps: Caps,
        floor: u64,
        segments: &[Segment],
        mut log: impl FnMut(JobId) -> Option<(u64, Vec<u32>)>,
    ) -> Self {
        let mut sequence = Self { floor, ..Self::new(caps) };
        let mut logs = BTreeMap::new();
        for (at, segment) in segments.iter().enumerate() {
            let (first_n, sizes) = logs.entry(segment.job).or_insert_with(|| log(segment.job).unwrap_or_default());
            let end_n = first_n.saturating_add(sizes.len() as u64);
            let end = segments.get(at + 1).map_or_else(
                || match segment.job {
                    CLOSED => segment.seq,
                    _ => segment.seq.saturating_add(end_n.saturating_sub(segment.n).max(1)),
                },
                |next| next.seq,
            );
            sequence.restore(segment, end, *first_n, sizes);
        }
        drop(sequence.trim_segments());
        if !sequence.sizes.is_empty() {
            for segment in sequence.segments.iter().filter(|segment| segment.job != CLOSED) {
                *sequence.jobs.entry(segment.job).or_default() += 1;
            }
        }
        sequence.acknowledged = sequence.floor;
        sequence.keep_caps(&mut Vec::new());
        sequence
    }

    /// A segment with the numbers below `end`, whose job's log has `sizes` from `first_n` on.
    fn restore(&mut self, segment: &Segment, end: u64, first_n: u64, sizes: &[u32]) {
        self.segments.push_back(*segment);
        let from = segment.seq.max(self.head() + 1);
        if from > self.head() + 1 {
            self.forget_through(from - 1);
        }
        if from >= end {
            return;
        }
        let (from_n, through_n) = (segment.n + (from - segment.seq), segment.n + (end - 1 - segment.seq));
        if through_n >= first_n + sizes.len() as u64 {
            return self.forget_through(end - 1);
        }
        let kept_from_n = from_n.max(first_n);
        if kept_from_n > through_n {
            return self.forget_through(end - 1);
        }
        if kept_from_n > from_n {
            self.forget_through(from + (kept_from_n - from_n) - 1);
        }
        let sizes = &sizes[(kept_from_n - first_n) as usize..=(through_n - first_n) as usize];
        self.sizes.extend(sizes);
        self.bytes += sizes.iter().map(|size| *size as usize).sum::<usize>();
    }

    /// While restoring: nothing is kept up to this number, which is at or above the head.
    fn forget_through(&mut self, seq: u64) {
        self.floor = seq;
        self.sizes.clear();
        self.bytes = 0;
    }

    /// Gives the next number to an entry of `bytes`. Past the caps the oldest events are let go.
    pub fn push(&mut self, job: JobId, n: u64, bytes: u32, changes: &mut Vec<Change>) -> u64 {
        let seq = self.head() + 1;
        let goes_on = self.segments.back().is_some_and(|last| last.job == job && last.n + (seq - last.seq) == n);
        if self.segments.back().is_some_and(|last| last.job == CLOSED) {
            self.segments.pop_back();
        }
        let was_empty = self.sizes.is_empty();
        if !goes_on {
            if was_empty {
                self.segments.clear();
            }
            let segment = Segment { seq, job, n };
            self.segments.push_back(segment);
            changes.push(Change::Opened(segment));
        }
        if was_empty || !goes_on {
            let segments = self.jobs.entry(job).or_default();
            *segments += 1;
            if *segments == 1 {
                changes.push(Change::Holds(job));
            }
        }
        self.sizes.push_back(bytes);
        self.bytes += bytes as usize;
        self.keep_caps(changes);
        seq
    }

    /// What this job logs from here on is not the session's, unless it is pushed again: its segment ends, if it is the last.
    pub fn close(&mut self, job: JobId, changes: &mut Vec<Change>) {
        if self.segments.back().is_some_and(|last| last.job == job) {
            let segment = Segment { seq: self.head() + 1, job: CLOSED, n: 0 };
            self.segments.push_back(segment);
            changes.push(Change::Opened(segment));
        }
    }

    /// The client has processed all up to here, which is let go. An older acknowledgement changes nothing.
    ///
    /// # Errors
    /// A number that was not given yet; nothing changes.
    pub fn ack(&mut self, seq: u64, changes: &mut Vec<Change>) -> Result<(), AboveHead> {
        let head = self.head();
        if seq > head {
            return Err(AboveHead { seq, head });
        }
        self.acknowledged = self.acknowledged.max(seq);
        self.let_go(seq, changes);
        Ok(())
    }

    /// The log of this job has lost its entries up to `through`. So has the sequence, with all that came before them.
    pub fn trimmed(&mut self, job: JobId, through: u64, changes: &mut Vec<Change>) {
        let mut end = self.head() + 1;
        for segment in self.segments.iter().rev() {
            if segment.job == job && segment.n <= through {
                let last = segment.seq.saturating_add(through - segment.n);
                return self.let_go(last.min(end - 1), changes);
            }
            end = segment.seq;
        }
    }

    /// The newest number; 0 before the first.
    #[must_use]
    pub fn head(&self) -> u64 {
        self.floor + self.sizes.len() as u64
    }

    /// The last number that is let go; 0 if none is.
    #[must_use]
    pub fn floor(&self) -> u64 {
        self.floor
    }

    /// How many events are not acknowledged, kept or not.
    #[must_use]
    pub fn lag(&self) -> u64 {
        self.head() - self.acknowledged
    }

    /// The jobs that the sequence has entries of: what it holds after it was restored.
    pub fn jobs(&self) -> impl Iterator<Item = JobId> {
        self.jobs.keys().copied()
    }

    /// What follows `seq`, in order: at most so many events and bytes, but at least one event if there is any. Empty at the head.
    ///
    /// # Errors
    /// Below the floor, or above the head.
    pub fn after(&self, seq: u64, events_max: usize, bytes_max: usize) -> Result<Vec<Run>, Expired> {
        if seq < self.floor || seq > self.head() {
            return Err(Expired);
        }
        let (mut count, mut bytes) = (0, 0_usize);
        for size in self.sizes.range((seq - self.floor) as usize..).take(events_max.max(1)) {
            bytes = bytes.saturating_add(*size as usize);
            if count > 0 && bytes > bytes_max {
                break;
            }
            count += 1;
        }
        Ok(self.runs(seq + 1, count))
    }

    /// The `count` events from `seq` on, all of which are kept.
    fn runs(&self, mut seq: u64, mut count: u64) -> Vec<Run> {
        let mut runs = Vec::new();
        let mut at = self.segments.partition_point(|segment| segment.seq <= seq);
        while count > 0
            && let Some(segment) = at.checked_sub(1).and_then(|at| self.segments.get(at))
        {
            let end = self.segments.get(at).map_or(u64::MAX, |next| next.seq);
            let run = Run { seq, job: segment.job, n: segment.n + (seq - segment.seq), count: count.min(end - seq) };
            seq += run.count;
            count -= run.count;
            at += 1;
            runs.push(run);
        }
        runs
    }

    fn keep_caps(&mut self, changes: &mut Vec<Change>) {
        let (mut events, mut bytes) = (self.sizes.len(), self.bytes);
        for size in &self.sizes {
            if events <= 1 || (events <= self.caps.events && bytes <= self.caps.bytes) {
                break;
            }
            events -= 1;
            bytes -= *size as usize;
        }
        self.let_go(self.head() - events as u64, changes);
    }

    /// Lets go of all up to `through`, which is at most the head.
    fn let_go(&mut self, through: u64, changes: &mut Vec<Change>) {
        if through <= self.floor {
            return;
        }
        let gone = self.sizes.drain(..(through - self.floor) as usize);
        self.bytes -= gone.map(|size| size as usize).sum::<usize>();
        self.floor = through;
        let last = self.segments.back().copied().filter(|_| self.sizes.is_empty());
        for segment in self.trim_segments().chain(last).collect::<Vec<_>>() {
            self.release(segment.job, changes);
        }
        shrink(&mut self.sizes);
        shrink(&mut self.segments);
        changes.push(Change::Floor(self.floor));
    }

    /// Takes out the segments that no event above the floor is of, but not the last.
    fn trim_segments(&mut self) -> impl Iterator<Item = Segment> + use<'_> {
        let passed = self.segments.iter().skip(1).take_while(|next| next.seq <= self.floor + 1).count();
        self.segments.drain(..passed)
    }

    /// One segment of this job fewer.
    fn release(&mut self, job: JobId, changes: &mut Vec<Change>) {
        let Some(segments) = self.jobs.get_mut(&job) else { return };
        *segments -= 1;
        if *segments == 0 {
            self.jobs.remove(&job);
            changes.push(Change::LetsGo(job));
        }
    }
}

/// Gives back what a burst has left behind.
fn shrink<T>(queue: &mut VecDeque<T>) {
    if queue.capacity() / 4 > queue.len().max(16) {
        queue.shrink_to(queue.len() * 2);
    }
}

#[cfg(test)]
mod tests;
