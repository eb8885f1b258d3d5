//! An outbox with topics, and a model of what a reader of any slowness is told: everything in order, or what its namespace
//! says gives way, and then how much.

use std::rc::Rc;

use proptest::prelude::*;
use tidegate_model::{Address, ClientId, Tenant};
use tidegate_topics::{Data, Hub, Kind, Limits as TopicLimits, Options, Record, Relay, Subscriber};

use super::*;
use crate::item::Item;
use crate::{Limits, Metrics};

const ONE: SubscriptionId = SubscriptionId(1);
const TWO: SubscriptionId = SubscriptionId(2);

struct World {
    outbox: Outbox,
    hub: Rc<Hub>,
}

impl World {
    fn new(limits: Limits) -> Self {
        let relay = Relay::new(TopicLimits::default(), Arc::default());
        let port = relay.port(|| {});
        Self { outbox: Outbox::new(limits, Arc::<Metrics>::default()), hub: Rc::new(Hub::new(relay, port)) }
    }

    fn join(&mut self, id: SubscriptionId, slow: SlowPolicy) {
        let options = Arc::new(Options { slow, ..Options::default() });
        let name = format!("t{}", id.0).into();
        let topic = Arc::new(Topic { tenant: Tenant::common(), name, options });
        let address = Address { client: ClientId(0), subscription: id };
        let seat = self.hub.join(&topic, Subscriber { address, hears_joins: false });
        self.outbox.topics.push(TopicLane::new(id, topic, seat, false));
    }

    fn begun(&mut self, id: SubscriptionId, slow: SlowPolicy) {
        self.join(id, slow);
        self.outbox.begin(id, &Published::default()).unwrap();
    }

    fn publication(&mut self, id: SubscriptionId, offset: u64, key: Option<&str>) -> Arc<Publication> {
        let record = Record {
            topic: self.outbox.topic_lane(id).unwrap().topic.clone(),
            kind: Kind::Message,
            offset,
            epoch: "e".into(),
            key: key.map(Into::into),
            removed: false,
            data: Data::Json("1".into()),
            client: None,
            tags: Box::default(),
            time_ms: 0,
        };
        Arc::new(Publication::new(Arc::new(record), None))
    }

    fn publish(&mut self, id: SubscriptionId, offset: u64) -> Result<(), CloseReason> {
        let publication = self.publication(id, offset, None);
        self.outbox.publish(id, &publication)
    }

    /// As offsets, drops as negative numbers, the end as `None`.
    fn told(&mut self, max_bytes: usize) -> Vec<Option<i64>> {
        let mut items = Vec::new();
        self.outbox.drain(max_bytes, &mut items);
        let told = items.iter().map(|item| match item {
            Item::Publication { publication, .. } => Some(publication.record.offset as i64),
            Item::Dropped(_, count) => Some(-i64::from(*count)),
            Item::Gapped(_) => None,
            other => panic!("{other:?}"),
        });
        told.collect()
    }

    fn assert_counted(&self) {
        let weights = self.outbox.queue.iter().map(Queued::weight);
        assert_eq!((self.outbox.bytes, self.outbox.frames), weights.fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1)));
    }
}

fn three_frames() -> Limits {
    Limits { outbox_frames: 3, ..Limits::default() }
}

fn some(offsets: impl IntoIterator<Item = i64>) -> Vec<Option<i64>> {
    offsets.into_iter().map(Some).collect()
}

#[test]
fn nothing_is_told_before_the_answer_and_nothing_of_it_twice() {
    let mut world = World::new(Limits::default());
    world.join(ONE, SlowPolicy::Close);
    (4..8).for_each(|offset| world.publish(ONE, offset).unwrap());
    assert_eq!(world.told(usize::MAX), some([]));
    world.outbox.begin(ONE, &Published { epoch: "e".into(), offset: 5 }).unwrap();
    world.publish(ONE, 8).unwrap();
    assert_eq!(world.told(usize::MAX), some([6, 7, 8]));
    // What is still under way when the position is read.
    world.join(TWO, SlowPolicy::Close);
    world.outbox.begin(TWO, &Published { epoch: "e".into(), offset: 5 }).unwrap();
    (4..8).for_each(|offset| world.publish(TWO, offset).unwrap());
    assert_eq!(world.told(usize::MAX), some([6, 7]));
}

#[test]
fn a_late_one_of_the_answer_is_known_by_its_offset_but_not_in_another_epoch() {
    let mut world = World::new(Limits::default());
    world.join(ONE, SlowPolicy::Close);
    world.outbox.begin(ONE, &Published { epoch: "before".into(), offset: 5 }).unwrap();
    world.publish(ONE, 1).unwrap();
    world.publish(ONE, 0).unwrap();
    assert_eq!(world.told(usize::MAX), some([1, 0]));
}

#[test]
fn the_last_value_of_the_answer_is_not_told_again() {
    let mut world = World::new(Limits::default());
    for again in [true, false] {
        let id = if again { ONE } else { TWO };
        world.join(id, SlowPolicy::Close);
        let told = world.publication(id, 0, None);
        world.outbox.topic_lane(id).unwrap().told = Some(told.record.clone());
        world.outbox.begin(id, &Published::default()).unwrap();
        let next = if again { told } else { world.publication(id, 0, None) };
        world.outbox.publish(id, &next).unwrap();
        world.publish(id, 0).unwrap();
        assert_eq!(world.told(usize::MAX).len(), if again { 1 } else { 2 });
    }
}

#[test]
fn what_the_last_value_replaced_is_not_told_after_it() {
    let mut world = World::new(Limits::default());
    world.join(ONE, SlowPolicy::Close);
    let older = world.publication(ONE, 0, None);
    let at = |time_ms, kind| {
        let record = Record { time_ms, kind, ..(*older.record).clone() };
        Arc::new(Publication::new(Arc::new(record), None))
    };
    let (told, entry) = (at(2, Kind::Message), at(1, Kind::Ephemeral));
    world.outbox.topic_lane(ONE).unwrap().told = Some(told.record.clone());
    world.outbox.begin(ONE, &Published::default()).unwrap();
    for publication in [&at(1, Kind::Message), &entry, &told, &at(2, Kind::Message)] {
        world.outbox.publish(ONE, publication).unwrap();
    }
    assert_eq!(world.told(usize::MAX).len(), 2, "the entry, and what came after the value");
}

#[test]
fn an_answer_that_is_too_long_in_coming_ends_the_subscription() {
    let mut world = World::new(three_frames());
    world.join(ONE, SlowPolicy::Close);
    (1..5).for_each(|offset| world.publish(ONE, offset).unwrap());
    assert_eq!(world.told(usize::MAX), [None]);
}

#[test]
fn nothing_follows_what_is_missing() {
    let mut world = World::new(Limits::default());
    world.begun(ONE, SlowPolicy::Close);
    world.publish(ONE, 1).unwrap();
    world.outbox.gap(ONE).unwrap();
    world.publish(ONE, 3).unwrap();
    world.outbox.gap(ONE).unwrap();
    assert_eq!(world.told(usize::MAX), [None]);
    // Where that came before the answer, too.
    world.join(TWO, SlowPolicy::Close);
    world.outbox.gap(TWO).unwrap();
    world.outbox.begin(TWO, &Published { epoch: "e".into(), offset: 5 }).unwrap();
    world.publish(TWO, 6).unwrap();
    assert_eq!(world.told(usize::MAX), [None]);
}

#[test]
fn a_subscription_that_its_client_ends_has_no_other_end() {
    let mut world = World::new(Limits::default());
    world.begun(ONE, SlowPolicy::Close);
    world.outbox.gap(ONE).unwrap();
    world.outbox.end_topic(ONE).unwrap();
    assert_eq!(world.told(usize::MAX), some([]));
    assert_eq!(world.outbox.reply_bytes, 0);
}

#[test]
fn what_all_subscribes_hold_back_has_one_bound() {
    let mut world = World::new(Limits { outbox_bytes: 1_000, ..Limits::default() });
    [ONE, TWO].into_iter().for_each(|id| world.join(id, SlowPolicy::Close));
    let mut held = 0;
    while world.outbox.queue.is_empty() {
        world.publish(ONE, 1).unwrap();
        held += 1;
        assert!(held < 20, "no bound");
    }
    // It has given back what it held.
    assert_eq!(world.outbox.held_bytes, 0);
    (0..held - 1).for_each(|offset| world.publish(TWO, offset).unwrap());
    world.outbox.end_topic(TWO).unwrap();
    assert_eq!(world.outbox.held_bytes, 0);
}

#[test]
fn only_a_value_replaces_a_value() {
    let mut world = World::new(Limits::default());
    world.begun(ONE, SlowPolicy::LatestOnly);
    world.outbox.stall();
    world.publish(ONE, 1).unwrap();
    world.outbox.topic_lane(ONE).unwrap().is_stalled = true;
    for kind in [Kind::Ephemeral, Kind::Join] {
        let publication = world.publication(ONE, 0, None);
        let record = Record { kind, ..(*publication.record).clone() };
        world.outbox.publish(ONE, &Arc::new(Publication::new(Arc::new(record), None))).unwrap();
    }
    assert_eq!(world.told(usize::MAX), some([1, 0, 0]));
    world.publish(ONE, 2).unwrap();
    world.outbox.stall();
    world.publish(ONE, 3).unwrap();
    assert_eq!(world.told(usize::MAX), some([3]));
}

#[test]
fn the_newest_is_never_left_out_in_silence() {
    let mut world = World::new(three_frames());
    world.begun(ONE, SlowPolicy::Close);
    world.begun(TWO, SlowPolicy::LatestOnly);
    (1..4).for_each(|offset| world.publish(ONE, offset).unwrap());
    world.publish(TWO, 1).unwrap();
    assert_eq!(world.told(usize::MAX), [Some(1), Some(2), Some(3), None]);
}

#[test]
fn a_slow_reader_is_closed() {
    let mut world = World::new(three_frames());
    world.begun(ONE, SlowPolicy::Close);
    (1..4).for_each(|offset| world.publish(ONE, offset).unwrap());
    assert_eq!(world.publish(ONE, 4), Err(CloseReason::SlowClient));
}

#[test]
fn a_slow_reader_loses_the_oldest_and_is_told_how_many() {
    let mut world = World::new(three_frames());
    world.begun(ONE, SlowPolicy::DropOldest);
    world.begun(TWO, SlowPolicy::DropOldest);
    world.publish(TWO, 100).unwrap();
    (1..8).for_each(|offset| world.publish(ONE, offset).unwrap());
    world.assert_counted();
    assert_eq!(world.told(usize::MAX), some([100, -5, 6, 7]));
    world.publish(ONE, 8).unwrap();
    assert_eq!(world.told(usize::MAX), some([8]));
}

#[test]
fn where_others_fill_the_outbox_what_comes_is_dropped() {
    let mut world = World::new(three_frames());
    world.begun(ONE, SlowPolicy::DropOldest);
    world.begun(TWO, SlowPolicy::DropOldest);
    (1..4).for_each(|offset| world.publish(TWO, offset).unwrap());
    world.publish(ONE, 1).unwrap();
    assert_eq!(world.told(usize::MAX), some([1, 2, 3]));
    world.publish(ONE, 2).unwrap();
    assert_eq!(world.told(usize::MAX), some([-1, 2]));
}

#[test]
fn only_the_newest_of_each_key_waits_for_a_reader_that_stalls() {
    let mut world = World::new(Limits::default());
    world.begun(ONE, SlowPolicy::LatestOnly);
    // One that does not stall is told everything, also of one turn.
    (1..4).for_each(|offset| world.publish(ONE, offset).unwrap());
    assert_eq!(world.told(usize::MAX), some([1, 2, 3]));
    world.outbox.stall();
    for offset in 4..9 {
        let publication = world.publication(ONE, offset, Some(if offset % 2 == 0 { "a" } else { "b" }));
        world.outbox.publish(ONE, &publication).unwrap();
    }
    world.assert_counted();
    assert_eq!(world.told(usize::MAX), some([7, 8]));
    // It takes again, so it is told everything again.
    (9..11).for_each(|offset| world.publish(ONE, offset).unwrap());
    assert_eq!(world.told(usize::MAX), some([9, 10]));
}

#[test]
fn a_gap_is_the_last_that_is_told() {
    let mut world = World::new(Limits::default());
    world.begun(ONE, SlowPolicy::Close);
    world.begun(TWO, SlowPolicy::Close);
    world.publish(ONE, 1).unwrap();
    world.publish(TWO, 5).unwrap();
    world.outbox.gap(ONE).unwrap();
    world.assert_counted();
    assert_eq!(world.told(usize::MAX), [Some(5), None]);
}

#[derive(Debug, Clone)]
enum Step {
    Publish(bool),
    Stall,
    Drain(usize),
    End(bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => any::<bool>().prop_map(Step::Publish),
        1 => Just(Step::Stall),
        2 => (1usize..2_000).prop_map(Step::Drain),
        1 => any::<bool>().prop_map(Step::End),
    ]
}

proptest! {
    /// Whatever is dropped is counted, nothing is told twice or out of order, and the bounds hold.
    #[test]
    fn what_is_not_told_is_counted(steps in prop::collection::vec(step(), 1..120), frames in 1usize..6) {
        let mut world = World::new(Limits { outbox_frames: frames, outbox_bytes: 1_500, ..Limits::default() });
        let mut next = [0i64; 2];
        let mut seen = [0i64; 2];
        let ids = [ONE, TWO];
        ids.iter().for_each(|id| world.begun(*id, SlowPolicy::DropOldest));
        let mut is_open = [true; 2];
        let mut check = |world: &mut World, max: usize| {
            let mut items = Vec::new();
            world.outbox.drain(max, &mut items);
            for item in items {
                match item {
                    Item::Dropped(id, count) => seen[id.0 as usize - 1] += i64::from(count),
                    Item::Publication { subscription, publication } => {
                        let seen = &mut seen[subscription.0 as usize - 1];
                        *seen += 1;
                        assert_eq!(publication.record.offset as i64, *seen);
                    }
                    other => panic!("{other:?}"),
                }
            }
        };
        for step in steps {
            match step {
                Step::Publish(second) => {
                    let at = usize::from(second);
                    if is_open[at] {
                        next[at] += 1;
                        world.publish(ids[at], next[at] as u64).unwrap();
                    }
                }
                Step::Stall => world.outbox.stall(),
                Step::Drain(max) => check(&mut world, max),
                Step::End(second) => {
                    let at = usize::from(second);
                    is_open[at] = false;
                    world.outbox.end_topic(ids[at]);
                }
            }
            world.assert_counted();
            assert!(world.outbox.frames <= frames && world.outbox.bytes <= 1_500);
        }
    }
}
