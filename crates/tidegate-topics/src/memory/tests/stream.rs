//! What a subscriber is told in its answer and live, through relay, port and hub, in any order of the steps that threads take:
//! a publish and a join of the broker are each one step under the topic's lock, a join of the hub one under the relay's.

use proptest::prelude::*;
use tidegate_model::{Address, ClientId, SubscriptionId};

use super::*;
use crate::{Hub, Leave, Passed, Port, Relay, Seat, Subscriber};

#[derive(Debug, Clone)]
enum Op {
    Publish { skip: bool },
    Enter { client: usize },
    Join { client: usize, comes_back: bool },
    Take { worker: usize },
    Leave { client: usize },
    Forget,
}

const CLIENTS: usize = 4;

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => proptest::bool::weighted(0.2).prop_map(|skip| Op::Publish { skip }),
        3 => (0..CLIENTS).prop_map(|client| Op::Enter { client }),
        3 => (0..CLIENTS, any::<bool>()).prop_map(|(client, comes_back)| Op::Join { client, comes_back }),
        3 => (0..2_usize).prop_map(|worker| Op::Take { worker }),
        1 => (0..CLIENTS).prop_map(|client| Op::Leave { client }),
        1 => proptest::bool::weighted(0.2).prop_filter_map("seldom", |now| now.then_some(Op::Forget)),
    ]
}

/// A client, as a session keeps it.
#[derive(Default)]
struct Client {
    seat: Option<Seat>,
    answer: Option<Published>,
    held: Vec<u64>,
    held_offsets: Vec<u64>,
    /// Numbers of publications with an offset, in the order they were told, since it was last told where it is.
    told: Vec<u64>,
    told_skipped: Vec<u64>,
    /// Where it was, when it last knew.
    was: Option<Published>,
    /// Publications before its answer, and those without offset.
    published_before: usize,
    skipped_before: usize,
    skipped_at_entry: usize,
}

struct Test {
    memory: Memory,
    topic: Arc<Topic>,
    hubs: Vec<(Hub, Arc<Port>)>,
    clients: Vec<Client>,
    /// Of this epoch, by offset.
    log: Vec<u64>,
    skipped: Vec<u64>,
    published: u64,
}

impl Test {
    fn new(history_size: usize, queued: usize) -> Self {
        let limits = Limits { passed_queued: queued, ..Limits::default() };
        let (clock, metrics) = (Arc::new(AtomicU64::new(1_000_000)), Arc::new(Metrics::default()));
        let relay = Relay::new(limits, metrics.clone());
        let memory = memory(limits, &clock, relay.clone(), &metrics);
        let hub = || {
            let port = relay.port(|| ());
            (Hub::new(relay.clone(), port.clone()), port)
        };
        let topic = topic("t", Options { history_size, history_age_ms: 0, ..Options::default() });
        let clients = (0..CLIENTS).map(|_| Client::default()).collect();
        let (log, skipped) = (Vec::new(), Vec::new());
        Self { memory, topic, hubs: vec![hub(), hub()], clients, log, skipped, published: 0 }
    }

    fn run(&mut self, op: &Op) {
        match *op {
            Op::Publish { skip } => {
                let publish =
                    Publish { skip_history: skip, ..Publish::new(self.topic.clone(), data(self.published + 1)) };
                let Ok(at) = now(self.memory.publish(publish)) else { return };
                self.published += 1;
                if at.offset > 0 {
                    self.log.push(self.published);
                    assert_eq!(at.offset, self.log.len() as u64);
                } else {
                    self.skipped.push(self.published);
                }
            }
            Op::Enter { client: n } => {
                let (hub, client) = (&self.hubs[n % 2].0, &mut self.clients[n]);
                if client.seat.is_none() {
                    let subscription = SubscriptionId(n as u64);
                    let address = Address { client: ClientId(n as u64), subscription };
                    client.seat = Some(hub.join(&self.topic, Subscriber { address, hears_joins: true }));
                    client.skipped_at_entry = self.skipped.len();
                }
            }
            Op::Join { client, comes_back } => self.join(client, comes_back),
            Op::Take { worker } => self.take(worker),
            Op::Leave { client } => self.leave(client),
            Op::Forget => {
                now(self.memory.forget(&self.topic)).unwrap();
                // Who was told of offsets is to be told that they are void, before anything of the new ones.
                if !self.log.is_empty() {
                    self.log.clear();
                    for worker in 0..2 {
                        self.take(worker);
                    }
                    assert!(self.clients.iter().all(|client| client.seat.is_none()));
                }
            }
        }
    }

    fn join(&mut self, n: usize, comes_back: bool) {
        let client = &mut self.clients[n];
        if client.seat.is_none() || client.answer.is_some() {
            return;
        }
        let was = client.was.take().filter(|was| comes_back && !was.epoch.is_empty());
        let join = Join {
            topic: self.topic.clone(),
            member: None,
            since: was.as_ref().and_then(since),
            bytes_max: usize::MAX,
        };
        let joined = now(self.memory.join(join)).unwrap();
        assert_eq!(joined.recovered.is_some(), was.is_some());
        if joined.recovered != Some(true) {
            client.told.clear();
            client.published_before = self.log.len();
        }
        client.told.extend(joined.records.iter().map(|record| number(&record.data).unwrap()));
        client.told_skipped.clear();
        client.skipped_before = self.skipped.len();
        let at = joined.at;
        for (offset, n) in std::mem::take(&mut client.held_offsets).into_iter().zip(std::mem::take(&mut client.held)) {
            if offset == 0 {
                client.told_skipped.push(n);
            } else if offset > at.offset {
                client.told.push(n);
            }
        }
        client.answer = Some(at);
    }

    fn take(&mut self, worker: usize) {
        let mut passed: Vec<Passed> = Vec::new();
        let gapped = self.hubs[worker].1.take(usize::MAX, usize::MAX, &mut passed);
        for passed in &passed {
            let record = &passed.publication.record;
            let n = number(&record.data).unwrap();
            let clients = &mut self.clients;
            self.hubs[worker].0.each(passed, |address| {
                let client = &mut clients[usize::try_from(address.client.0).unwrap()];
                match &client.answer {
                    None => {
                        client.held.push(n);
                        client.held_offsets.push(record.offset);
                    }
                    Some(_) if record.offset == 0 => client.told_skipped.push(n),
                    // What the answer brought may still be waiting here.
                    Some(at) if record.offset > at.offset => client.told.push(n),
                    Some(_) => {}
                }
            });
        }
        if gapped.contains(&self.topic) {
            for n in (0..CLIENTS).filter(|n| n % 2 == worker) {
                self.leave(n);
            }
        }
    }

    /// It knows up to where it was told.
    fn leave(&mut self, n: usize) {
        let client = &mut self.clients[n];
        let Some(seat) = client.seat.take() else { return };
        self.hubs[n % 2].0.leave(&self.topic, seat);
        self.memory.leave(Leave { topic: self.topic.clone(), member: None });
        if let Some(at) = client.answer.take() {
            let offset = (client.published_before + client.told.len()) as u64;
            client.was = Some(Published { epoch: at.epoch, offset });
        }
        client.held.clear();
        client.held_offsets.clear();
    }

    fn check(&mut self) {
        for worker in 0..2 {
            self.take(worker);
        }
        for client in &self.clients {
            if client.seat.is_none() || client.answer.is_none() {
                continue;
            }
            assert_eq!(client.told, self.log[client.published_before..], "each once, in order");
            let told = &client.told_skipped;
            let after = &self.skipped[client.skipped_before..];
            assert!(told.ends_with(after), "nothing after the answer is missed");
            assert!(self.skipped[client.skipped_at_entry..].ends_with(told), "each once, in order");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_missed_and_nothing_told_twice(
        history_size in prop_oneof![Just(0_usize), Just(3), Just(1_000)],
        queued in prop_oneof![Just(2_usize), Just(1_000)],
        ops in proptest::collection::vec(op(), 1..100),
    ) {
        let mut test = Test::new(history_size, queued);
        for op in &ops {
            test.run(op);
        }
        test.check();
    }
}

#[test]
fn nothing_follows_what_is_missing() {
    let mut test = Test::new(5, 1_000);
    test.run(&Op::Enter { client: 0 });
    for op in [Op::Publish { skip: false }, Op::Forget, Op::Publish { skip: false }] {
        if matches!(op, Op::Forget) {
            now(test.memory.forget(&test.topic)).unwrap();
            test.log.clear();
        } else {
            test.run(&op);
        }
    }
    let mut passed = Vec::new();
    assert!(test.hubs[0].1.take(usize::MAX, usize::MAX, &mut passed).contains(&test.topic));
    let told: Vec<_> = passed.iter().map(|passed| number(&passed.publication.record.data)).collect();
    assert_eq!(told, [Some(1)]);
}

#[test]
fn whoever_publishes_there_is_one_order() {
    const EACH: u64 = 2_000;
    let mut test = Test::new(5, usize::MAX);
    test.run(&Op::Enter { client: 0 });
    let (memory, topic) = (&test.memory, &test.topic);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(move || {
                for n in 0..EACH {
                    now(memory.publish(Publish::new(topic.clone(), data(n)))).unwrap();
                }
            });
        }
    });
    let mut passed = Vec::new();
    assert!(test.hubs[0].1.take(usize::MAX, usize::MAX, &mut passed).is_empty());
    assert!(passed.iter().map(|passed| passed.publication.record.offset).eq(1..=4 * EACH));
    assert!(passed.is_sorted_by_key(|passed| passed.number));
}

#[test]
fn what_waits_is_taken_in_portions_and_a_gap_comes_after_all_of_it() {
    let mut test = Test::new(5, 1_000);
    test.run(&Op::Enter { client: 0 });
    for _ in 0..5 {
        test.run(&Op::Publish { skip: false });
    }
    now(test.memory.forget(&test.topic)).unwrap();
    let port = &test.hubs[0].1;
    let mut passed = Vec::new();
    for (max, bytes_max, taken) in [(2, usize::MAX, 2), (usize::MAX, 1, 1)] {
        assert!(port.take(max, bytes_max, &mut passed).is_empty());
        assert_eq!(passed.drain(..).count(), taken);
        assert!(!port.is_empty());
    }
    assert!(port.take(usize::MAX, usize::MAX, &mut passed).contains(&test.topic));
    assert_eq!(passed.len(), 2);
    assert!(port.is_empty());
}
