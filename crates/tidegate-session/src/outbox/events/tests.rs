//! A runtime that tells of events live and answers with pages of any size, and a socket of any slowness: the client gets every event
//! once, in order.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use proptest::prelude::*;
use tidegate_jobs::{Code, Fault, JobId, What};

use super::*;
use crate::metrics::Metrics;

/// Of an entry without a payload.
const AROUND: usize = 256;

fn entry(seq: u64, size: usize) -> Arc<Entry> {
    let payload = Bytes::from(vec![b'x'; size]);
    Arc::new(Entry { job: JobId::of(1), n: seq, trace: None, what: What::Event(payload) })
}

/// An answer that can be told from others.
fn told(number: u64) -> Reply {
    Reply::Refused(Fault::new(Code::InternalError, number.to_string()))
}

struct World {
    outbox: Outbox,
    limits: Limits,
    /// All events there are, from number 1 on.
    events: Vec<Arc<Entry>>,
    /// What the runtime has said and the connection has not heard.
    letters: VecDeque<Reply>,
    /// Pages that were asked for: read at some time, and heard at another.
    asked: VecDeque<u64>,
    pages: VecDeque<Reply>,
    asks: usize,
    told: u64,
    told_drained: u64,
    drained: u64,
    first: u64,
}

impl World {
    /// One that goes on after `after`, when there are `head` events.
    fn new(limits: Limits, after: u64, head: u64, size: usize) -> Self {
        let mut outbox = Outbox::new(limits, Arc::new(Metrics::default()));
        outbox.follow(after, head);
        Self {
            outbox,
            limits,
            events: (1..=head).map(|seq| entry(seq, size)).collect(),
            letters: VecDeque::new(),
            asked: VecDeque::new(),
            pages: VecDeque::new(),
            asks: 0,
            told: 0,
            told_drained: 0,
            drained: after,
            first: after + 1,
        }
    }

    fn happen(&mut self, size: usize, is_lost: bool) {
        let seq = self.events.len() as u64 + 1;
        let entry = entry(seq, size);
        self.events.push(entry.clone());
        if !is_lost {
            self.letters.push_back(Reply::Event { seq, entry });
        }
    }

    fn tell(&mut self) {
        self.told += 1;
        self.letters.push_back(told(self.told));
    }

    /// The store is read for the page that was asked for first.
    fn read(&mut self, count: usize) -> bool {
        let Some(after) = self.asked.pop_front() else { return false };
        let events: Vec<_> = self.events.iter().skip(after as usize).take(count.max(1)).cloned().collect();
        assert!(!events.is_empty(), "asked for what is not there");
        self.pages.push_back(Reply::Events { after, events, head: self.events.len() as u64 });
        true
    }

    fn hear(&mut self, is_page: bool) -> bool {
        let Some(reply) = (if is_page { self.pages.pop_front() } else { self.letters.pop_front() }) else {
            return false;
        };
        assert_eq!(self.outbox.hear(reply), Ok(()));
        true
    }

    fn ask(&mut self, is_taken: bool) -> bool {
        let Some(after) = self.outbox.wants_events() else { return false };
        assert!(self.asked.is_empty() && self.pages.is_empty(), "two pages at a time");
        assert_eq!(self.outbox.wants_events(), None);
        let cursor = self.outbox.events.as_ref().unwrap();
        assert!(cursor.bytes <= self.limits.outbox_bytes / 2 && cursor.queue.len() <= self.limits.outbox_frames / 2);
        if is_taken {
            self.asks += 1;
            self.asked.push_back(after);
        } else {
            self.outbox.not_asked();
        }
        true
    }

    fn drain(&mut self, max_bytes: usize) -> bool {
        let mut items = Vec::new();
        let (mut bytes, mut was_event) = (0, false);
        let was_ready = self.outbox.is_ready();
        assert!(self.outbox.drain(max_bytes, &mut items).is_none());
        assert_eq!(was_ready, !items.is_empty());
        for item in &items {
            assert!(bytes < max_bytes, "more than was wanted");
            match item {
                Item::Event { seq, entry } => {
                    self.drained += 1;
                    assert_eq!((*seq, entry.n), (self.drained, self.drained));
                    bytes += entry.bytes();
                    was_event = true;
                }
                Item::Told(reply) => {
                    self.told_drained += 1;
                    assert!(!was_event, "an answer waits behind events");
                    assert!(
                        matches!(&**reply, Reply::Refused(fault) if fault.message == self.told_drained.to_string())
                    );
                    bytes += AROUND;
                }
                other => panic!("{other:?}"),
            }
        }
        was_ready
    }

    fn check(&self) {
        let cursor = self.outbox.events.as_ref().unwrap();
        let bytes: usize = cursor.queue.iter().map(|entry| entry.bytes()).sum();
        assert_eq!(cursor.bytes, bytes);
        let is_bounded = bytes <= self.limits.outbox_bytes && cursor.queue.len() <= self.limits.outbox_frames;
        assert!(is_bounded || cursor.queue.len() == 1);
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Happen(size, is_lost) => self.happen(size, is_lost),
            Step::Tell => self.tell(),
            Step::Ask(is_taken) => drop(self.ask(is_taken)),
            Step::Read(count) => drop(self.read(count)),
            Step::Hear(is_page) => drop(self.hear(is_page)),
            Step::Drain(max_bytes) => drop(self.drain(max_bytes)),
        }
        self.check();
    }

    /// All that can happen of itself has happened.
    fn settle(&mut self) {
        // So that what was lost before is known of.
        self.happen(0, false);
        let mut turns = 0;
        while self.hear(false) | self.hear(true) | self.ask(true) | self.read(3) | self.drain(600) {
            turns += 1;
            assert!(turns < 10_000, "it does not come to rest");
            self.check();
        }
        assert_eq!((self.drained, self.told_drained), (self.events.len() as u64, self.told));
        // Each page brings at least one event.
        assert!(self.asks as u64 <= self.drained + 1 - self.first, "{} asked in vain", self.asks);
        let cursor = self.outbox.events.as_ref().unwrap();
        assert_eq!((cursor.bytes, cursor.queue.capacity(), self.outbox.reply_bytes), (0, 0, 0));
    }
}

#[derive(Debug, Clone, Copy)]
enum Step {
    /// An event of so many bytes; whether word of it is lost on the way.
    Happen(usize, bool),
    Tell,
    /// Whether what is wanted can be asked for.
    Ask(bool),
    /// A page of at most so many.
    Read(usize),
    /// A page, or what is told live.
    Hear(bool),
    Drain(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..700_usize, prop::bool::weighted(0.03)).prop_map(|(size, is_lost)| Step::Happen(size, is_lost)),
        1 => Just(Step::Tell),
        4 => prop::bool::weighted(0.8).prop_map(Step::Ask),
        4 => (1..9_usize).prop_map(Step::Read),
        8 => prop::bool::weighted(0.3).prop_map(Step::Hear),
        3 => (1..3_000_usize).prop_map(Step::Drain),
    ];
    prop::collection::vec(step, 1..150)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn every_event_comes_once_and_in_order_to_a_reader_of_any_slowness(
        (outbox_bytes, outbox_frames) in (1..4_000_usize, 1..8_usize),
        (after, head) in (0..9_u64, 0..9_u64),
        steps in steps(),
    ) {
        let limits = Limits { outbox_bytes, outbox_frames, ..Limits::default() };
        let mut world = World::new(limits, after, after + head, 100);
        for step in steps {
            world.take(step);
        }
        world.settle();
    }
}

fn live(outbox: &mut Outbox, seqs: impl Iterator<Item = u64>) {
    for seq in seqs {
        outbox.hear(Reply::Event { seq, entry: entry(seq, 0) }).unwrap();
    }
}

fn page(after: u64, through: u64, head: u64) -> Reply {
    Reply::Events { after, events: (after + 1..=through).map(|seq| entry(seq, 0)).collect(), head }
}

fn drained(outbox: &mut Outbox, max_bytes: usize) -> Vec<u64> {
    let mut items = Vec::new();
    outbox.drain(max_bytes, &mut items);
    let seq = |item| if let Item::Event { seq, .. } = item { seq } else { panic!("{item:?}") };
    items.into_iter().map(seq).collect()
}

#[test]
fn who_falls_behind_is_counted_once_and_asks_at_half() {
    let mut outbox = Outbox::new(Limits { outbox_frames: 4, ..Limits::default() }, Arc::default());
    outbox.follow(0, 0);
    let behind = |outbox: &Outbox| outbox.metrics.events_behind.load(Ordering::Relaxed);
    live(&mut outbox, 1..=4);
    assert_eq!((outbox.wants_events(), behind(&outbox)), (None, 0));
    live(&mut outbox, 5..=7);
    assert_eq!((outbox.wants_events(), behind(&outbox)), (None, 1));
    assert_eq!(drained(&mut outbox, 1), [1]);
    assert_eq!(outbox.wants_events(), None);
    assert_eq!(drained(&mut outbox, 1), [2]);
    assert_eq!((outbox.wants_events(), outbox.wants_events()), (Some(4), None));
    // What happens meanwhile comes by the next page.
    live(&mut outbox, 8..=8);
    outbox.hear(page(4, 7, 7)).unwrap();
    assert_eq!(drained(&mut outbox, usize::MAX), [3, 4, 5, 6]);
    assert_eq!(outbox.wants_events(), Some(6));
    outbox.hear(page(6, 8, 8)).unwrap();
    live(&mut outbox, 9..=9);
    assert_eq!(drained(&mut outbox, usize::MAX), [7, 8, 9]);
    assert_eq!((outbox.wants_events(), behind(&outbox)), (None, 1));
}

#[test]
fn a_page_is_asked_for_as_soon_as_its_first_event_finds_room() {
    let mut outbox = Outbox::new(Limits { outbox_bytes: 2_000, ..Limits::default() }, Arc::default());
    outbox.follow(0, 0);
    live(&mut outbox, 1..=1);
    let large = || entry(2, 1_500);
    outbox.hear(Reply::Event { seq: 2, entry: large() }).unwrap();
    // Little waits, but the second event does not fit beside it.
    assert_eq!(outbox.wants_events(), None);
    assert_eq!(drained(&mut outbox, usize::MAX), [1]);
    assert_eq!(outbox.wants_events(), Some(1));
    outbox.hear(Reply::Events { after: 1, events: vec![large()], head: 4 }).unwrap();
    assert_eq!((drained(&mut outbox, usize::MAX), outbox.wants_events()), (vec![2], Some(2)));
    // Of what follows no size is known.
    outbox.hear(page(2, 3, 4)).unwrap();
    assert_eq!(outbox.wants_events(), Some(3));
}

#[test]
fn a_resume_is_a_cursor_that_is_behind_from_the_start() {
    let mut outbox = Outbox::new(Limits::default(), Arc::default());
    live(&mut outbox, 1..=1);
    assert!(!outbox.is_ready(), "it follows nothing");
    outbox.follow(3, 5);
    assert_eq!(outbox.wants_events(), Some(3));
    // A page that begins earlier, as after a command that was given up, brings what is new in it.
    outbox.hear(page(2, 4, 5)).unwrap();
    assert_eq!((drained(&mut outbox, usize::MAX), outbox.wants_events()), (vec![4], None));
    // One that begins later brings nothing.
    outbox.hear(page(5, 7, 7)).unwrap();
    outbox.hear(page(3, 5, 5)).unwrap();
    assert_eq!((drained(&mut outbox, usize::MAX), outbox.wants_events()), (vec![5], Some(5)));
}

#[test]
fn closing_drops_events_and_keeps_answers() {
    let mut outbox = Outbox::new(Limits::default(), Arc::default());
    outbox.follow(0, 9);
    live(&mut outbox, 1..=1);
    outbox.hear(told(1)).unwrap();
    outbox.clear();
    assert_eq!(outbox.wants_events(), None);
    let mut items = Vec::new();
    outbox.drain(usize::MAX, &mut items);
    assert!(matches!(&items[..], [Item::Told(_)]));
}

#[test]
fn who_leaves_answers_of_the_runtime_unread_is_too_slow() {
    let mut outbox = Outbox::new(Limits { reply_bytes: 4_000, ..Limits::default() }, Arc::default());
    let long = || Reply::Refused(Fault::new(Code::InternalError, "x".repeat(1_500)));
    assert_eq!(outbox.hear(long()), Ok(()));
    assert!(!outbox.is_reply_full());
    assert_eq!(outbox.hear(long()), Ok(()));
    assert!(outbox.is_reply_full());
    assert_eq!(outbox.hear(long()), Err(CloseReason::SlowClient));
}
