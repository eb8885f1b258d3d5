//! A fake engine, and a client that only applies what is drained and complains about every gap.
//!
//! A view's list is one number: `window` in the upper half, the position in the lower. A logged or net batch is one
//! `update` that names the number it starts from; a snapshot is `reset`, `enter`, `ready`.

use std::collections::BTreeMap;

use proptest::prelude::*;
use smallvec::smallvec;
use tidegate_model::{BatchKind, Body, Catalog, Delta, EntityBuilder, Query, Type};

use super::*;

const WINDOW: u64 = 1 << 32;

fn view() -> Arc<View> {
    let entity = EntityBuilder {
        name: "a".into(),
        columns: vec![("id".into(), Type::Int)],
        key: vec!["id".into()],
        ..EntityBuilder::default()
    };
    let catalog = Catalog::build(&[entity]).unwrap();
    let query = Arc::new(Query::from_json(&catalog, "{\"entity\":\"a\"}").unwrap());
    Arc::new(View { query, incarnation: 1, fingerprint: 1 })
}

fn delta(op: Op, from: u64, to: u64, bytes: usize) -> Delta {
    Delta { op, old_index: from as i32, new_index: bytes as i32, version: to, row: None }
}

/// Each frame has as many bytes as its `new_index` says.
fn encode(_: &View, batch: &Batch) -> Body {
    let mut body = Body::default();
    for delta in &batch.deltas {
        body.starts.push(body.bytes.len() as u32);
        body.bytes.resize(body.bytes.len() + delta.new_index as usize, b'x');
    }
    body
}

fn update(window: u64, from: u64, to: u64, kind: BatchKind, bytes: usize) -> Arc<Batch> {
    Arc::new(Batch::new(Position(to), kind, smallvec![delta(Op::Update, from, (window * WINDOW) | to, bytes)]))
}

fn snapshot(window: u64, at: u64, bytes: usize) -> Arc<Batch> {
    let deltas = smallvec![
        delta(Op::Reset, 0, 0, 1),
        delta(Op::Enter, 0, (window * WINDOW) | at, bytes),
        delta(Op::Ready, 0, 0, 1),
    ];
    Arc::new(Batch::new(Position(at), BatchKind::Own, deltas))
}

#[derive(Debug, Clone)]
enum Command {
    Subscribe(u64),
    Reanchor(u64, u64),
    CatchUp(CatchUp),
}

/// One subscription as the engine sees it.
#[derive(Debug, Default)]
struct Subscriber {
    commands: VecDeque<Command>,
    window: u64,
    is_joined: bool,
}

#[derive(Debug, Default)]
struct Client {
    state: Option<u64>,
    seq: u64,
    is_ready: bool,
}

struct World {
    outbox: Outbox,
    view: Arc<View>,
    position: u64,
    /// Nothing before it is in the log.
    floor: u64,
    sizes: (usize, usize),
    subscribers: BTreeMap<SubscriptionId, Subscriber>,
    clients: BTreeMap<SubscriptionId, Client>,
    closed: Option<CloseReason>,
    next_id: u64,
}

impl World {
    fn new(limits: Limits) -> Self {
        Self {
            outbox: Outbox::new(limits, Arc::default()),
            view: view(),
            position: 100,
            floor: 0,
            sizes: (20, 50),
            subscribers: BTreeMap::new(),
            clients: BTreeMap::new(),
            closed: None,
            next_id: 0,
        }
    }

    fn subscribe(&mut self) -> SubscriptionId {
        self.next_id += 1;
        let id = SubscriptionId(self.next_id);
        let request = self.outbox.open(id, None, false);
        self.subscribers.entry(id).or_default().commands.push_back(Command::Subscribe(request));
        self.clients.insert(id, Client::default());
        id
    }

    fn reanchor(&mut self, id: SubscriptionId, window: u64) {
        let Some(subscriber) = self.subscribers.get_mut(&id) else { return };
        self.outbox.reanchor(id, |request| {
            subscriber.commands.push_back(Command::Reanchor(request, window));
            true
        });
    }

    fn unsubscribe(&mut self, id: SubscriptionId) {
        self.outbox.end(id);
        self.subscribers.remove(&id);
        self.clients.remove(&id);
    }

    fn deliver(&mut self, id: SubscriptionId, delivery: Delivery) {
        if self.closed.is_none() {
            self.closed = self.outbox.deliver(id, delivery, encode).err();
        }
    }

    fn batch(&mut self, id: SubscriptionId, batch: Arc<Batch>) {
        let view = self.view.clone();
        self.deliver(id, Delivery::Batch { view, batch, from: 0 });
    }

    fn write(&mut self, bytes: usize) {
        let from = self.position;
        self.position += 1;
        let joined: Vec<_> =
            self.subscribers.iter().filter(|(_, s)| s.is_joined).map(|(id, s)| (*id, s.window)).collect();
        for (id, window) in joined {
            self.batch(id, update(window, from, self.position, BatchKind::Logged, bytes));
        }
    }

    /// The engine takes the next command of a subscription. Whether there was one.
    fn process(&mut self, id: SubscriptionId) -> bool {
        let (position, (net_bytes, snapshot_bytes)) = (self.position, self.sizes);
        let Some(subscriber) = self.subscribers.get_mut(&id) else { return false };
        let Some(command) = subscriber.commands.pop_front() else { return false };
        let (request, sent) = match command {
            Command::Subscribe(request) => {
                subscriber.is_joined = true;
                (request, None)
            }
            Command::Reanchor(request, window) => {
                subscriber.window = window;
                (request, None)
            }
            Command::CatchUp(CatchUp { sent, reset, request, .. }) => {
                (request, sent.filter(|sent| !reset && sent.0 >= self.floor))
            }
        };
        let window = subscriber.window;
        let resumed = sent.is_some();
        self.deliver(id, Delivery::Started { request, resumed, position: Position(position) });
        match sent {
            Some(sent) if sent.0 == position => {}
            Some(sent) => self.batch(id, update(window, sent.0, position, BatchKind::Own, net_bytes)),
            None => self.batch(id, snapshot(window, position, snapshot_bytes)),
        }
        true
    }

    fn drain(&mut self, max_bytes: usize) -> usize {
        let mut items = Vec::new();
        if let Some(catch_up) = self.outbox.drain(max_bytes, &mut items) {
            let subscriber = self.subscribers.get_mut(&catch_up.subscription).expect("a lane without a subscriber");
            subscriber.commands.push_back(Command::CatchUp(catch_up));
        }
        let taken = items.len();
        for item in items {
            self.apply(item);
        }
        taken
    }

    fn apply(&mut self, item: Item) {
        match item {
            Item::Frames { subscription, seq, batch, from, .. } => {
                let Some(client) = self.clients.get_mut(&subscription) else { return };
                assert_eq!(seq, client.seq + 1, "a gap in the numbers");
                client.seq += (batch.deltas.len() - from) as u64;
                for delta in &batch.deltas {
                    match delta.op {
                        Op::Reset => *client = Client { seq: client.seq, ..Client::default() },
                        Op::Enter => client.state = Some(delta.version),
                        Op::Ready => client.is_ready = true,
                        _ => {
                            let from = (delta.version & !(WINDOW - 1)) | delta.old_index as u64;
                            assert_eq!(client.state, Some(from), "a batch for another list");
                            client.state = Some(delta.version);
                        }
                    }
                }
            }
            Item::TooLarge(id, _) | Item::Ended(id, _) => {
                self.subscribers.remove(&id);
                self.clients.remove(&id);
            }
            Item::Publication { .. } | Item::Dropped(..) | Item::Gapped(_) => unreachable!("there is no topic"),
            Item::Started(..) | Item::Synced { .. } | Item::Reply(_) | Item::Told(_) | Item::Event { .. } => {}
        }
    }

    /// Until nothing more happens by itself.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            let ids: Vec<_> = self.subscribers.keys().copied().collect();
            let processed = ids.into_iter().filter(|id| self.process(*id)).count();
            let is_asked = |world: &Self| world.subscribers.values().any(|s| !s.commands.is_empty());
            if self.closed.is_some() || processed + self.drain(100) == 0 && !self.outbox.is_ready() && !is_asked(self) {
                return;
            }
        }
        panic!("it does not come to rest");
    }

    fn assert_exact(&self) {
        for (id, subscriber) in &self.subscribers {
            let client = &self.clients[id];
            assert_eq!(client.state, Some((subscriber.window * WINDOW) | self.position), "{id:?}");
            assert!(client.is_ready);
        }
    }

    fn assert_bounded(&self) {
        let Outbox { queue, bytes, frames, limits, reply_bytes, .. } = &self.outbox;
        let sum: (usize, usize) =
            queue.iter().map(Queued::weight).fold((0, 0), |sum, weight| (sum.0 + weight.0, sum.1 + weight.1));
        assert_eq!((*bytes, *frames), sum);
        assert_eq!(*reply_bytes, queue.iter().map(Queued::reply_bytes).sum::<usize>());
        assert!(*bytes <= limits.outbox_bytes);
        assert!(*frames <= limits.outbox_frames.max(3));
    }
}

fn small() -> Limits {
    Limits { outbox_bytes: 1_000, outbox_frames: 10, reply_bytes: 1 << 20, subscriptions: 8 }
}

#[derive(Debug, Clone)]
enum Step {
    Write(usize),
    Process(usize),
    Drain(usize),
    Reanchor(usize, u64),
    Subscribe,
    Unsubscribe(usize),
    Forget,
    Sizes(usize, usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (1..400_usize).prop_map(Step::Write),
        6 => (0..4_usize).prop_map(Step::Process),
        4 => (1..800_usize).prop_map(Step::Drain),
        2 => (0..4_usize, 0..50_u64).prop_map(|(nth, window)| Step::Reanchor(nth, window)),
        1 => Just(Step::Subscribe),
        1 => (0..4_usize).prop_map(Step::Unsubscribe),
        1 => Just(Step::Forget),
        1 => (1..1_100_usize, 1..1_000_usize).prop_map(|(net, snapshot)| Step::Sizes(net, snapshot)),
    ];
    prop::collection::vec(step, 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn whatever_is_dropped_a_client_ends_with_the_list(steps in steps()) {
        let mut world = World::new(small());
        world.subscribe();
        for step in steps {
            let nth = |nth: usize| world.subscribers.keys().nth(nth).copied();
            match step {
                Step::Write(bytes) => world.write(bytes),
                Step::Process(n) => if let Some(id) = nth(n) { world.process(id); },
                Step::Drain(max) => { world.drain(max); }
                Step::Reanchor(n, window) => if let Some(id) = nth(n) { world.reanchor(id, window) },
                Step::Subscribe => if world.subscribers.len() < 4 { world.subscribe(); },
                Step::Unsubscribe(n) => if let Some(id) = nth(n) { world.unsubscribe(id) },
                Step::Forget => world.floor = world.position,
                Step::Sizes(net, snapshot) => world.sizes = (net, snapshot),
            }
            world.assert_bounded();
            if world.closed.is_some() {
                return Ok(());
            }
        }
        world.settle();
        if world.closed.is_none() {
            world.assert_exact();
        }
    }
}

/// A world with one subscription that has its snapshot.
fn settled() -> (World, SubscriptionId) {
    let mut world = World::new(small());
    let id = world.subscribe();
    world.settle();
    (world, id)
}

fn count_of(counter: &std::sync::atomic::AtomicU64) -> u64 {
    counter.load(std::sync::atomic::Ordering::Relaxed)
}

#[test]
fn a_slow_subscriber_gets_the_net_of_what_it_missed() {
    let (mut world, id) = settled();
    for _ in 0..20 {
        world.write(200);
    }
    world.assert_bounded();
    assert!(world.outbox.queue.is_empty(), "what was queued gave way");
    assert_eq!(world.drain(usize::MAX), 0);
    assert!(world.process(id));
    let mut items = Vec::new();
    world.outbox.drain(usize::MAX, &mut items);
    assert!(matches!(&items[..], [Item::Frames { seq: 4, batch, .. }] if batch.kind == BatchKind::Own));
    items.into_iter().for_each(|item| world.apply(item));
    world.assert_exact();
    assert_eq!(count_of(&world.outbox.metrics.conflated), 1);
    assert_eq!(count_of(&world.outbox.metrics.resets), 0);
}

#[test]
fn a_net_batch_that_does_not_fit_becomes_a_reset_and_a_reset_that_does_not_fit_the_end() {
    let (mut world, id) = settled();
    world.sizes = (2_000, 50);
    world.write(2_000);
    world.settle();
    world.assert_exact();
    assert_eq!(count_of(&world.outbox.metrics.resets), 1);

    world.sizes = (2_000, 2_000);
    world.write(2_000);
    world.settle();
    assert_eq!(world.closed, Some(CloseReason::SlowClient));
    assert!(world.subscribers.contains_key(&id));
}

#[test]
fn a_first_snapshot_larger_than_the_outbox_ends_its_subscription_alone() {
    let (mut world, first) = settled();
    world.sizes = (20, 2_000);
    let second = world.subscribe();
    world.settle();
    assert_eq!(world.closed, None);
    assert_eq!(world.subscribers.keys().collect::<Vec<_>>(), [&first]);
    assert_ne!(first, second);
}

#[test]
fn a_queued_old_delta_is_never_delivered_after_a_reset() {
    let (mut world, id) = settled();
    world.write(100);
    world.reanchor(id, 7);
    world.write(100);
    world.process(id);
    world.write(100);
    world.settle();
    world.assert_exact();
}

#[test]
fn a_catch_up_beside_a_reanchor_asks_for_a_reset() {
    let (mut world, id) = settled();
    world.reanchor(id, 7);
    for _ in 0..10 {
        world.write(300);
    }
    assert_eq!(world.drain(usize::MAX), 0);
    let Some(Command::CatchUp(catch_up)) = world.subscribers[&id].commands.back().cloned() else {
        panic!("no catch-up was asked for")
    };
    assert!(catch_up.reset && catch_up.sent.is_none());
    world.settle();
    world.assert_exact();
}

#[test]
fn one_lagging_subscription_is_caught_up_at_a_time() {
    let mut world = World::new(small());
    let ids: Vec<_> = (0..4).map(|_| world.subscribe()).collect();
    world.settle();
    for _ in 0..5 {
        world.write(300);
    }
    world.drain(usize::MAX);
    world.drain(usize::MAX);
    let asked = ids.iter().filter(|id| !world.subscribers[id].commands.is_empty()).count();
    assert_eq!(asked, 1);
    world.settle();
    world.assert_exact();
}

#[test]
fn a_client_that_leaves_its_answers_unread_is_closed() {
    let mut outbox = Outbox::new(Limits { reply_bytes: 1_000, ..small() }, Arc::default());
    let answer = Bytes::from_static(&[b'x'; 200]);
    assert_eq!(outbox.reply(answer.clone()), Ok(()));
    assert_eq!(outbox.reply(answer.clone()), Ok(()));
    assert!(outbox.is_reply_full());
    assert_eq!(outbox.reply(answer.clone()), Ok(()));
    assert_eq!(outbox.reply(answer), Err(CloseReason::SlowClient));
}

#[test]
fn synced_is_handed_over_only_where_asked_for_and_the_latest_is_enough() {
    let mut outbox = Outbox::new(small(), Arc::default());
    let (asked, other) = (SubscriptionId(1), SubscriptionId(2));
    for (id, synced) in [(asked, true), (other, false)] {
        let request = outbox.open(id, Some(Position(1)), synced);
        let started = Delivery::Started { request, resumed: true, position: Position(1) };
        outbox.deliver(id, started, encode).unwrap();
        for position in 2..50 {
            outbox.deliver(id, Delivery::Synced { position: Position(position) }, encode).unwrap();
        }
    }
    let mut items = Vec::new();
    outbox.drain(usize::MAX, &mut items);
    let synced: Vec<_> = items.iter().filter(|item| matches!(item, Item::Synced { .. })).collect();
    assert!(matches!(synced[..], [Item::Synced { subscription, position: Position(49) }] if *subscription == asked));
}
