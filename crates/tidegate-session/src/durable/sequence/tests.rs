//! A naive model: a list of all that was ever numbered, logs that are trimmed and forgotten, and a restart at any time.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const JOBS: u128 = 4;

/// A job's log, as the store has it.
#[derive(Debug, Clone)]
struct Log {
    first_n: u64,
    sizes: Vec<u32>,
    /// Whether the session is shown what is added.
    is_watched: bool,
    is_forgotten: bool,
}

impl Log {
    fn end_n(&self) -> u64 {
        self.first_n + self.sizes.len() as u64
    }

    fn has(&self, n: u64) -> bool {
        !self.is_forgotten && (self.first_n..self.end_n()).contains(&n)
    }
}

struct World {
    caps: Caps,
    sequence: Sequence,
    logs: BTreeMap<JobId, Log>,
    /// The entry of each number, from 1 on.
    given: Vec<(JobId, u64, u32)>,
    floor: u64,
    acknowledged: u64,
    stored_floor: u64,
    stored: Vec<Segment>,
    held: BTreeSet<JobId>,
    /// The job that had the last word has none any more.
    is_closed: bool,
}

impl World {
    fn new(caps: Caps) -> Self {
        let log = Log { first_n: 1, sizes: Vec::new(), is_watched: false, is_forgotten: false };
        Self {
            caps,
            sequence: Sequence::new(caps),
            logs: (1..=JOBS).map(|job| (JobId::of(job), log.clone())).collect(),
            given: Vec::new(),
            floor: 0,
            acknowledged: 0,
            stored_floor: 0,
            stored: Vec::new(),
            held: BTreeSet::new(),
            is_closed: false,
        }
    }

    fn log(&mut self, job: JobId) -> &mut Log {
        self.logs.get_mut(&job).unwrap()
    }

    fn head(&self) -> u64 {
        self.given.len() as u64
    }

    fn store(&mut self, changes: Vec<Change>) {
        for change in changes {
            match change {
                Change::Opened(segment) => {
                    self.stored.pop_if(|last| last.seq == segment.seq);
                    self.stored.push(segment);
                }
                Change::Floor(floor) => {
                    assert!(floor > self.stored_floor);
                    self.stored_floor = floor;
                }
                Change::Holds(job) => assert!(self.held.insert(job), "held twice"),
                Change::LetsGo(job) => assert!(self.held.remove(&job), "let go twice"),
            }
        }
        self.forget_segments();
    }

    /// Rows that are not needed any more are not there any more.
    fn forget_segments(&mut self) {
        while self.stored.get(1).is_some_and(|next| next.seq <= self.stored_floor + 1) {
            self.stored.remove(0);
        }
    }

    fn keep_caps(&mut self) {
        loop {
            let kept = &self.given[self.floor as usize..];
            let bytes: usize = kept.iter().map(|(_, _, bytes)| *bytes as usize).sum();
            if kept.len() <= 1 || (kept.len() <= self.caps.events && bytes <= self.caps.bytes) {
                return;
            }
            self.floor += 1;
        }
    }

    fn push(&mut self, job: JobId, n: u64, bytes: u32) {
        let mut changes = Vec::new();
        self.given.push((job, n, bytes));
        self.is_closed = false;
        self.keep_caps();
        assert_eq!(self.sequence.push(job, n, bytes, &mut changes), self.head());
        self.store(changes);
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Say(job, bytes) => {
                let log = self.log(job);
                if !log.is_forgotten {
                    log.sizes.push(bytes);
                    let n = log.end_n() - 1;
                    if log.is_watched {
                        self.push(job, n, bytes);
                    }
                }
            }
            Step::Watch(job, back) => {
                let log = self.log(job).clone();
                self.log(job).is_watched = !log.is_forgotten;
                let skipped = log.sizes.len().saturating_sub(back);
                for (at, size) in log.sizes.iter().enumerate().skip(skipped).filter(|_| !log.is_forgotten) {
                    self.push(job, log.first_n + at as u64, *size);
                }
            }
            Step::Leave(job) => self.log(job).is_watched = false,
            Step::Close(job) => {
                self.log(job).is_watched = false;
                let mut changes = Vec::new();
                self.sequence.close(job, &mut changes);
                self.is_closed |= self.given.last().is_some_and(|(last, ..)| *last == job);
                self.store(changes);
            }
            Step::Ack(down) => self.ack((self.head() + 2).saturating_sub(down)),
            Step::Trim(job, count, is_told) => {
                let log = self.log(job);
                let count = count.min(log.sizes.len());
                log.sizes.drain(..count);
                log.first_n += count as u64;
                let first_n = log.first_n;
                if is_told {
                    let is_gone = |(of, n, _): &(JobId, u64, u32)| *of == job && *n < first_n;
                    let gone = self.given.iter().rposition(is_gone).map_or(0, |at| at as u64 + 1);
                    self.floor = self.floor.max(gone);
                    let mut changes = Vec::new();
                    self.sequence.trimmed(job, first_n - 1, &mut changes);
                    self.store(changes);
                }
            }
            Step::Forget(job) => {
                let is_held = self.held.contains(&job);
                let log = self.log(job);
                log.is_forgotten |= !is_held && !log.is_watched;
            }
            Step::Restart => self.restart(),
        }
    }

    fn ack(&mut self, seq: u64) {
        let (mut changes, head) = (Vec::new(), self.head());
        let acked = self.sequence.ack(seq, &mut changes);
        if seq > head {
            assert_eq!((acked, changes), (Err(AboveHead { seq, head }), Vec::new()));
        } else {
            assert_eq!(acked, Ok(()));
            self.acknowledged = self.acknowledged.max(seq);
            self.floor = self.floor.max(seq);
            self.store(changes);
        }
    }

    fn restart(&mut self) {
        // What a job said that had the last word here, while nobody watched it.
        if let Some((job, n, _)) = self.given.last().copied()
            && let log = self.logs[&job].clone()
            && !log.is_forgotten
            && !self.is_closed
        {
            for n in n + 1..log.end_n() {
                let at = n.checked_sub(log.first_n);
                self.given.push((job, n, at.map_or(0, |at| log.sizes[at as usize])));
            }
        }
        for (at, (job, n, _)) in self.given.iter().enumerate() {
            if !self.logs[job].has(*n) {
                self.floor = self.floor.max(at as u64 + 1);
            }
        }
        self.acknowledged = self.floor;
        self.keep_caps();
        let (stored, logs) = (&self.stored, &self.logs);
        self.sequence = Sequence::restored(self.caps, self.stored_floor, stored, |job| {
            let log = logs.get(&job)?;
            (!log.is_forgotten).then(|| (log.first_n, log.sizes.clone()))
        });
        self.held = self.sequence.jobs().collect();
        self.stored_floor = self.sequence.floor();
        self.forget_segments();
    }

    fn check(&self, events_max: usize, bytes_max: usize) {
        let sequence = &self.sequence;
        assert_eq!((sequence.head(), sequence.floor()), (self.head(), self.floor));
        assert_eq!(sequence.lag(), self.head() - self.acknowledged);
        let held: BTreeSet<_> = self.given[self.floor as usize..].iter().map(|(job, ..)| *job).collect();
        assert_eq!(self.held, held);
        assert_eq!(sequence.jobs().collect::<BTreeSet<_>>(), held);
        // One of no event where there is none, and the end of the last.
        assert!(sequence.segments.len() <= sequence.sizes.len().max(1) + 1);
        for seq in 0..self.head() + 2 {
            let after = sequence.after(seq, events_max, bytes_max);
            if seq < self.floor || seq > self.head() {
                assert_eq!(after, Err(Expired));
                continue;
            }
            let mut expected = Vec::new();
            let mut bytes_left = bytes_max;
            for (at, (job, n, bytes)) in self.given.iter().enumerate().skip(seq as usize) {
                let fits = expected.len() < events_max && *bytes as usize <= bytes_left;
                if !fits && !expected.is_empty() {
                    break;
                }
                bytes_left = bytes_left.saturating_sub(*bytes as usize);
                expected.push((at as u64 + 1, *job, *n));
                if !fits {
                    break;
                }
            }
            let runs = after.unwrap();
            assert!(runs.iter().all(|run| run.count > 0));
            let all = runs.iter().flat_map(|run| (0..run.count).map(|at| (run.seq + at, run.job, run.n + at)));
            assert_eq!(all.collect::<Vec<_>>(), expected);
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Say(JobId, u32),
    /// From so many entries back.
    Watch(JobId, usize),
    Leave(JobId),
    /// For good: what it says from there on is not the session's, also after a restart.
    Close(JobId),
    /// Two above the head, less this.
    Ack(u64),
    /// By so many entries; whether the sequence is told before the next restart.
    Trim(JobId, usize, bool),
    Forget(JobId),
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let job = || (1..=JOBS).prop_map(JobId::of);
    let step = prop_oneof![
        16 => (job(), 0..40_u32).prop_map(|(job, bytes)| Step::Say(job, bytes)),
        3 => (job(), 0..6_usize).prop_map(|(job, back)| Step::Watch(job, back)),
        1 => job().prop_map(Step::Leave),
        2 => job().prop_map(Step::Close),
        3 => (0..16_u64).prop_map(Step::Ack),
        1 => (job(), 0..5_usize, any::<bool>()).prop_map(|(job, count, is_told)| Step::Trim(job, count, is_told)),
        1 => job().prop_map(Step::Forget),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 1..80)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn each_number_is_its_entry_for_ever(
        caps in (1..24_usize, 1..400_usize).prop_map(|(events, bytes)| Caps { events, bytes }),
        (events_max, bytes_max) in (1..12_usize, 0..150_usize),
        steps in steps(),
    ) {
        let mut world = World::new(caps);
        for step in steps {
            world.take(step);
            world.check(events_max, bytes_max);
        }
    }
}

fn pushed(count: u64, caps: Caps) -> (Sequence, Vec<Change>) {
    let (mut sequence, mut changes) = (Sequence::new(caps), Vec::new());
    for n in 1..=count {
        sequence.push(JobId::of(1), n, 1_000, &mut changes);
    }
    (sequence, changes)
}

#[test]
fn one_job_is_one_row_however_often_its_events_are_acknowledged() {
    let (mut sequence, mut changes) = (Sequence::new(Caps::default()), Vec::new());
    for n in 1..=100 {
        let seq = sequence.push(JobId::of(1), n, 10, &mut changes);
        sequence.ack(seq, &mut changes).unwrap();
    }
    let opened = changes.iter().filter(|change| matches!(change, Change::Opened(_))).count();
    assert_eq!((opened, sequence.head(), sequence.floor()), (1, 100, 100));
}

#[test]
fn an_event_costs_four_bytes_and_nothing_once_it_is_let_go() {
    let (mut sequence, mut changes) = pushed(10_000, Caps::default());
    assert!(sequence.sizes.capacity() <= 16_384);
    assert_eq!((sequence.segments.len(), changes.len()), (1, 2));
    sequence.ack(9_990, &mut changes).unwrap();
    assert!(sequence.sizes.capacity() <= 64, "{}", sequence.sizes.capacity());
}

#[test]
fn default_caps_keep_ten_thousand_events_and_the_newest_is_always_kept() {
    let (sequence, _) = pushed(10_001, Caps::default());
    assert_eq!((sequence.floor(), sequence.lag()), (1, 10_001));
    let (sequence, _) = pushed(3, Caps { events: 0, bytes: 0 });
    let newest = Run { seq: 3, job: JobId::of(1), n: 3, count: 1 };
    assert_eq!((sequence.floor(), sequence.after(2, 0, 0)), (2, Ok(vec![newest])));
}

#[test]
fn what_a_damaged_store_lacks_is_expired_and_its_numbers_are_not_given_again() {
    let (one, two) = (JobId::of(1), JobId::of(2));
    let segments = [Segment { seq: 1, job: one, n: 1 }, Segment { seq: 4, job: two, n: 1 }];
    let nothing = Sequence::restored(Caps::default(), 0, &segments, |_| None);
    assert_eq!((nothing.head(), nothing.floor(), nothing.jobs().count()), (4, 4, 0));
    // The first job's log should have three entries.
    for sizes in [vec![], vec![7], vec![7; 2]] {
        let log = |job| (job == two).then(|| (1, vec![5])).or_else(|| Some((1, sizes.clone())));
        let short = Sequence::restored(Caps::default(), 0, &segments, log);
        assert_eq!((short.head(), short.floor(), short.jobs().collect::<Vec<_>>()), (4, 3, vec![two]));
    }
    let later = Sequence::restored(Caps::default(), 2, &segments[1..], |_| Some((1, vec![5])));
    assert_eq!((later.head(), later.floor(), later.after(3, 9, 9).unwrap().len()), (4, 3, 1));
}
