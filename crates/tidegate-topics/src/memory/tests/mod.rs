//! The broker in memory against naive models, with a clock that stands until it is moved.

mod caps;
mod model;
mod present;
mod stream;

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tidegate_model::{Answer, Tenant};

use super::Memory;
use crate::{
    Broker as _, ClientInfo, Data, Join, Joined, Kind, Limits, Metrics, Options, Outlet, Publication, Publish,
    Published, Since, Topic, TopicError,
};

/// Somebody who hears everything, or only some topics.
#[derive(Default)]
struct Ear {
    /// All are heard, where this is not given.
    heard: Mutex<Option<HashSet<String>>>,
    is_full: AtomicBool,
    passed: Mutex<Vec<Arc<Publication>>>,
    gapped: Mutex<Vec<Arc<Topic>>>,
}

impl Outlet for Ear {
    fn pass(&self, publication: &Arc<Publication>) {
        self.passed.lock().unwrap().push(publication.clone());
    }

    fn has_subscribers(&self, topic: &Topic) -> bool {
        self.heard.lock().unwrap().as_ref().is_none_or(|heard| heard.contains(&*topic.name))
    }

    fn is_full(&self) -> bool {
        self.is_full.load(Ordering::Relaxed)
    }

    fn gap(&self, topic: &Arc<Topic>) {
        self.gapped.lock().unwrap().push(topic.clone());
    }
}

struct World {
    memory: Memory,
    ear: Arc<Ear>,
    clock: Arc<AtomicU64>,
    metrics: Arc<Metrics>,
}

impl World {
    fn new(limits: Limits) -> Self {
        let ear = Arc::new(Ear::default());
        let (clock, metrics) = (Arc::new(AtomicU64::new(1_000_000)), Arc::new(Metrics::default()));
        let memory = memory(limits, &clock, ear.clone(), &metrics);
        Self { memory, ear, clock, metrics }
    }

    fn now_ms(&self) -> u64 {
        self.clock.load(Ordering::Relaxed)
    }

    fn advance(&self, ms: u64) {
        self.clock.fetch_add(ms, Ordering::Relaxed);
    }

    fn hear_only(&self, names: &[&str]) {
        *self.ear.heard.lock().unwrap() = Some(names.iter().map(|name| (*name).to_owned()).collect());
    }

    fn passed(&self) -> Vec<Arc<Publication>> {
        std::mem::take(&mut self.ear.passed.lock().unwrap())
    }

    fn publish(&self, publish: Publish) -> Result<Published, TopicError> {
        now(self.memory.publish(publish))
    }

    fn join(&self, topic: &Arc<Topic>, since: Option<Since>) -> Joined {
        let join = Join { topic: topic.clone(), member: None, since, bytes_max: usize::MAX };
        now(self.memory.join(join)).unwrap()
    }
}

fn memory(limits: Limits, clock: &Arc<AtomicU64>, outlet: Arc<dyn Outlet>, metrics: &Arc<Metrics>) -> Memory {
    let clock = clock.clone();
    let clock = Arc::new(move || clock.load(Ordering::Relaxed));
    Memory::untimed(limits, "_d", clock, outlet, metrics.clone()).unwrap()
}

fn now<T>(answer: Answer<T, TopicError>) -> Result<T, TopicError> {
    match answer {
        Answer::Now(answer) => answer,
        Answer::Later(_) => panic!("memory answers at once"),
    }
}

fn topic(name: &str, options: Options) -> Arc<Topic> {
    Arc::new(Topic { tenant: Tenant::common(), name: name.into(), options: Arc::new(options) })
}

fn data(n: u64) -> Data {
    Data::Json(Bytes::from(n.to_string()))
}

fn number(data: &Data) -> Option<u64> {
    std::str::from_utf8(data.bytes()).unwrap().parse().ok()
}

fn since(at: &Published) -> Option<Since> {
    Some(Since { epoch: (*at.epoch).into(), offset: at.offset })
}

fn client(name: &str, user: &str) -> Arc<ClientInfo> {
    Arc::new(ClientInfo { client: name.into(), user: user.into(), ..ClientInfo::default() })
}

#[test]
fn nothing_is_left_of_a_publish_that_nobody_needs() {
    let world = World::new(Limits::default());
    world.hear_only(&[]);
    for delta in [false, true] {
        let topic = topic("t", Options { delta, presence: true, ..Options::default() });
        assert_eq!(world.publish(Publish::new(topic.clone(), data(1))).unwrap(), Published::default());
        now(world.memory.join(Join {
            topic: topic.clone(),
            member: Some(client("c", "u")),
            since: None,
            bytes_max: 0,
        }))
        .unwrap();
        assert_eq!(world.metrics.topics.load(Ordering::Relaxed), 1);
        assert_eq!(world.metrics.members.load(Ordering::Relaxed), 1);
        world.memory.leave(crate::Leave { topic, member: Some("c".into()) });
        assert_eq!(world.metrics.topics.load(Ordering::Relaxed), 0);
        assert_eq!(world.metrics.members.load(Ordering::Relaxed), 0);
    }
    assert!(world.passed().is_empty());
}

#[test]
fn what_nobody_touches_is_forgotten_in_time() {
    let world = World::new(Limits::default());
    let keyed = Options { keep: crate::Keep::LastOfKey, value_ttl_ms: 500, delta: true, ..Options::default() };
    let last = Options { keep: crate::Keep::Last, value_ttl_ms: 700, delta: true, ..Options::default() };
    let (keyed, last, plain) = (topic("k", keyed), topic("l", last), topic("p", Options::default()));
    let history = topic("h", Options { history_size: 10, history_age_ms: 800, ..Options::default() });
    world.publish(Publish { key: Some("a".into()), ..Publish::new(keyed, data(1)) }).unwrap();
    world.publish(Publish::new(last, data(2))).unwrap();
    world.publish(Publish { idempotency_key: Some("i".into()), ..Publish::new(plain, data(3)) }).unwrap();
    let at = world.publish(Publish::new(history.clone(), data(4))).unwrap();
    world.passed();
    assert_eq!(world.metrics.topics.load(Ordering::Relaxed), 4);

    world.advance(499);
    world.memory.store.ring_due();
    assert!(world.passed().is_empty());
    world.advance(1);
    world.memory.store.ring_due();
    let passed = world.passed();
    assert_eq!(passed.len(), 1);
    assert!(passed[0].record.removed && passed[0].record.kind == Kind::Message);

    world.hear_only(&[]);
    world.advance(400_000);
    world.memory.store.ring_due();
    // But for the one that keeps its position.
    assert_eq!(world.metrics.topics.load(Ordering::Relaxed), 1);
    assert_eq!(world.metrics.history_bytes.load(Ordering::Relaxed), 0);
    assert_eq!(world.join(&history, since(&at)).recovered, Some(true));
    let before = Since { epoch: (*at.epoch).into(), offset: 0 };
    assert_eq!(world.join(&history, Some(before)).recovered, Some(false));
    assert!(world.memory.store.agenda().next_ms().is_none());
}

#[test]
fn a_full_outlet_refuses_publishes_and_changes_nothing() {
    let world = World::new(Limits::default());
    let topic = topic("t", Options { history_size: 5, presence: true, join_leave: true, ..Options::default() });
    world.publish(Publish::new(topic.clone(), data(1))).unwrap();
    world.passed();
    world.ear.is_full.store(true, Ordering::Relaxed);
    assert_eq!(world.publish(Publish::new(topic.clone(), data(2))), Err(TopicError::Overloaded));
    assert_eq!(world.join(&topic, None).at.offset, 1);
    let join = Join { topic: topic.clone(), member: Some(client("c", "u")), since: None, bytes_max: 0 };
    now(world.memory.join(join.clone())).unwrap();
    // A second time it is no news.
    now(world.memory.join(join)).unwrap();
    world.memory.leave(crate::Leave { topic: topic.clone(), member: Some("nobody".into()) });
    world.memory.leave(crate::Leave { topic, member: Some("c".into()) });
    let kinds: Vec<_> = world.passed().iter().map(|publication| publication.record.kind).collect();
    assert_eq!(kinds, [Kind::Join, Kind::Leave]);
}

#[test]
fn what_does_not_fit_or_is_not_there_is_refused() {
    let world = World::new(Limits { payload_bytes: 10, ..Limits::default() });
    let plain = topic("t", Options::default());
    let keyed = topic("k", Options { keep: crate::Keep::LastOfKey, ..Options::default() });
    let of = |topic: &Arc<Topic>| Publish::new(topic.clone(), data(1));
    let long = |bytes: usize| Some("x".repeat(bytes).into_boxed_str());
    let code = |publish| world.publish(publish).map_err(|error| error.code());
    let large = Data::Binary(Bytes::from(vec![0; 11]));
    let tags = Box::new([("name".into(), "a value".into())]);
    assert_eq!(code(Publish::new(plain.clone(), large)), Err("too_large"));
    assert_eq!(code(Publish { tags, ..of(&plain) }), Err("too_large"));
    assert_eq!(code(Publish { key: long(1), ..of(&plain) }), Err("not_available"));
    assert_eq!(code(Publish { removed: true, ..of(&plain) }), Err("not_available"));
    assert_eq!(code(Publish { removed: true, ..of(&keyed) }), Err("invalid_key"));
    assert_eq!(code(Publish { key: long(0), ..of(&keyed) }), Err("invalid_key"));
    assert_eq!(code(Publish { key: long(256), ..of(&keyed) }), Err("invalid_key"));
    assert_eq!(code(Publish { idempotency_key: long(129), ..of(&plain) }), Err("invalid_key"));
    assert!(code(Publish { key: long(255), idempotency_key: long(128), ..of(&keyed) }).is_ok());
    assert_eq!(now(world.memory.values(&plain, None, 1, 99)).unwrap_err().code(), "not_available");
    assert_eq!(now(world.memory.history(&plain, crate::Range::default())).unwrap_err().code(), "not_available");
    assert_eq!(now(world.memory.presence(&plain, crate::PresenceAsk::default())).unwrap_err().code(), "not_available");
}

#[test]
fn the_timer_thread_ends_values_and_itself() {
    let (clock, metrics) = (Arc::new(AtomicU64::new(1_000_000)), Arc::new(Metrics::default()));
    let (ended, end) = std::sync::mpsc::sync_channel(1);
    struct Bell(std::sync::mpsc::SyncSender<()>);
    impl Outlet for Bell {
        fn pass(&self, publication: &Arc<Publication>) {
            if publication.record.removed {
                self.0.send(()).unwrap();
            }
        }
        fn has_subscribers(&self, _: &Topic) -> bool {
            true
        }
        fn is_full(&self) -> bool {
            false
        }
    }
    // Time goes on by a millisecond whenever it is asked for.
    let ticking = Arc::new(move || clock.fetch_add(1, Ordering::Relaxed));
    let memory = Memory::new(Limits::default(), "_d", ticking, Arc::new(Bell(ended)), metrics).unwrap();
    let options = Options { keep: crate::Keep::LastOfKey, value_ttl_ms: 5, ..Options::default() };
    let publish = Publish { key: Some("a".into()), ..Publish::new(topic("t", options), data(1)) };
    now(memory.publish(publish)).unwrap();
    end.recv_timeout(std::time::Duration::from_secs(20)).unwrap();
    let store = Arc::downgrade(&memory.store);
    drop(memory);
    assert!(store.upgrade().is_none(), "the thread is gone, and what it held");
}

#[test]
fn what_nobody_heard_is_no_base_for_a_difference() {
    let world = World::new(Limits::default());
    let topic = topic("t", Options { delta: true, history_size: 5, ..Options::default() });
    let publish = |n| world.publish(Publish::new(topic.clone(), data(n))).unwrap();
    publish(1);
    world.hear_only(&[]);
    publish(2);
    world.hear_only(&["t"]);
    publish(3);
    publish(4);
    let previous =
        |publication: &Arc<Publication>| publication.previous.as_ref().and_then(|record| number(&record.data));
    assert_eq!(world.passed().iter().map(previous).collect::<Vec<_>>(), [None, None, Some(3)]);
}
