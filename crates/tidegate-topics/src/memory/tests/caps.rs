//! What is never exceeded, and what it costs: histories give way, never with a lie.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::{Keep, Leave, Range};

#[derive(Debug, Clone)]
enum Op {
    Publish { topic: usize, bytes: usize },
    Join { topic: usize, back: u64 },
    Member { topic: usize, is_there: bool },
    Hear { topics: Vec<usize> },
    Advance { ms: u64 },
}

const TOPICS: usize = 8;
const CAP: usize = 5;
const BYTES: usize = 3_000;

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (0..TOPICS, 0..300_usize).prop_map(|(topic, bytes)| Op::Publish { topic, bytes }),
        5 => (0..TOPICS, 0..8_u64).prop_map(|(topic, back)| Op::Join { topic, back }),
        1 => (0..TOPICS, any::<bool>()).prop_map(|(topic, is_there)| Op::Member { topic, is_there }),
        1 => proptest::collection::vec(0..TOPICS, 0..3).prop_map(|topics| Op::Hear { topics }),
        1 => (0..500_u64).prop_map(|ms| Op::Advance { ms }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn caps_hold_and_recovery_is_proven(ops in proptest::collection::vec(op(), 1..150)) {
        let world = World::new(Limits { topics: CAP, history_bytes: BYTES, ..Limits::default() });
        world.hear_only(&[]);
        let options = Options { history_size: 6, history_age_ms: 2_000, presence: true, ..Options::default() };
        let topics: Vec<_> = (0..TOPICS).map(|n| topic(&format!("t{n}"), options.clone())).collect();
        // All that was ever published, by topic and epoch.
        let mut logs: HashMap<(usize, Arc<str>), Vec<Data>> = HashMap::new();
        let mut last: Vec<Option<Published>> = vec![None; TOPICS];
        for op in &ops {
            match op {
                Op::Publish { topic, bytes } => {
                    let data = Data::Binary(vec![7; *bytes].into());
                    let Ok(at) = world.publish(Publish::new(topics[*topic].clone(), data.clone())) else { continue };
                    let log = logs.entry((*topic, at.epoch.clone())).or_default();
                    log.push(data);
                    assert_eq!(log.len() as u64, at.offset, "no gap, and no offset twice");
                    last[*topic] = Some(at);
                }
                Op::Join { topic, back } => {
                    let Some(mut at) = last[*topic].clone() else { continue };
                    at.offset = at.offset.saturating_sub(*back);
                    let join = Join { topic: topics[*topic].clone(), member: None, since: since(&at), bytes_max: usize::MAX };
                    let Ok(joined) = now(world.memory.join(join)) else { continue };
                    if joined.recovered == Some(true) {
                        let log = &logs[&(*topic, at.epoch.clone())];
                        let missed = &log[usize::try_from(at.offset).unwrap()..];
                        assert!(joined.records.iter().map(|record| &record.data).eq(missed));
                        assert_eq!(joined.at.offset, log.len() as u64);
                    } else {
                        assert!(joined.records.is_empty());
                    }
                }
                Op::Member { topic, is_there } => {
                    let topic = topics[*topic].clone();
                    if *is_there {
                        let member = Some(client("c", "u"));
                        let _ = now(world.memory.join(Join { topic, member, since: None, bytes_max: 0 }));
                    } else {
                        world.memory.leave(Leave { topic, member: Some("c".into()) });
                    }
                }
                Op::Hear { topics } => {
                    let names: Vec<_> = topics.iter().map(|n| format!("t{n}")).collect();
                    world.hear_only(&names.iter().map(String::as_str).collect::<Vec<_>>());
                }
                Op::Advance { ms } => world.advance(*ms),
            }
            let (mut held, mut members, mut channels) = (0, 0, 0);
            world.memory.store.each(|_, channel| {
                held += channel.history_bytes() + channel.values_bytes();
                members += channel.members();
                channels += 1;
            });
            assert!(held <= BYTES && channels <= CAP);
            let levels = [&world.metrics.history_bytes, &world.metrics.members, &world.metrics.topics];
            assert_eq!(levels.map(|level| level.load(Ordering::Relaxed)), [held as u64, members as u64, channels as u64]);
        }
    }
}

#[test]
fn reading_what_is_not_there_leaves_nothing_behind() {
    let world = World::new(Limits { topics: 1, ..Limits::default() });
    world.hear_only(&[]);
    let a = world.publish(Publish::new(with_history("a"), data(1))).unwrap();
    let values = topic("v", Options { keep: Keep::LastOfKey, ..(*with_history("v").options).clone() });
    let range = |since| Range { since, limit: 9, reverse: false, bytes_max: 999 };
    let beginning = Since { epoch: "".into(), offset: 0 };
    for n in 0..100 {
        let unknown = with_history(&n.to_string());
        let history = now(world.memory.history(&unknown, range(Some(beginning.clone())))).unwrap();
        assert_eq!((history.at, history.records.len()), (Published::default(), 0));
        assert_eq!(now(world.memory.history(&unknown, range(since(&a)))), Err(TopicError::Unrecoverable));
    }
    let page = now(world.memory.values(&values, None, 9, 999)).unwrap();
    assert_eq!((page.at, page.next), (Published::default(), None));
    assert_eq!(world.metrics.topics.load(Ordering::Relaxed), 1);
    assert_eq!(world.join(&with_history("a"), since(&a)).recovered, Some(true));
    // What was read there is a position that holds: nothing is missed that comes after it.
    let world = World::new(Limits::default());
    world.publish(Publish::new(with_history("b"), data(1))).unwrap();
    assert_eq!(world.join(&with_history("b"), Some(beginning)).recovered, Some(true));
}

fn with_history(name: &str) -> Arc<Topic> {
    topic(name, Options { history_size: 100, history_age_ms: 0, ..Options::default() })
}

#[test]
fn the_topic_that_was_used_longest_ago_is_forgotten() {
    let world = World::new(Limits { topics: 3, ..Limits::default() });
    world.hear_only(&["a"]);
    let publish = |name| world.publish(Publish::new(with_history(name), data(1))).unwrap();
    let [a, b, c] = ["a", "b", "c"].map(publish);
    // Used again, so c is the one.
    world.join(&with_history("b"), None);
    publish("d");
    assert_eq!(world.metrics.topics_forgotten.load(Ordering::Relaxed), 1);
    assert_eq!(world.join(&with_history("a"), since(&a)).recovered, Some(true));
    assert_eq!(world.join(&with_history("b"), since(&b)).recovered, Some(true));
    // It comes back as another.
    let joined = world.join(&with_history("c"), since(&c));
    assert_eq!((joined.recovered, joined.at.offset), (Some(false), 0));
    assert_ne!(joined.at.epoch, c.epoch);
    // One without history goes first, even if it was used later.
    world.hear_only(&["a", "b", "c"]);
    let refused = world.publish(Publish::new(with_history("e"), data(1)));
    assert_eq!(refused, Err(TopicError::Full(3)), "all are in use");
}

#[test]
fn a_topic_without_history_is_forgotten_before_one_with_it() {
    let world = World::new(Limits { topics: 2, ..Limits::default() });
    world.hear_only(&[]);
    let a = world.publish(Publish::new(with_history("a"), data(1))).unwrap();
    world.join(&with_history("b"), None);
    world.join(&with_history("c"), None);
    assert_eq!(world.join(&with_history("a"), since(&a)).recovered, Some(true));
}

#[test]
fn old_publications_give_way_and_values_do_not() {
    let size = size_of::<crate::Record>() + 1;
    let world = World::new(Limits { history_bytes: size * 4, ..Limits::default() });
    let (a, b) = (with_history("a"), with_history("b"));
    let first = world.publish(Publish::new(a.clone(), data(1))).unwrap();
    for _ in 0..3 {
        world.publish(Publish::new(b.clone(), data(1))).unwrap();
    }
    // The topic's own go first.
    let last = world.publish(Publish::new(b.clone(), data(1))).unwrap();
    let start = Published { offset: 0, ..first.clone() };
    assert_eq!(world.join(&a, since(&start)).recovered, Some(true));
    let back = |offset| since(&Published { offset, ..last.clone() });
    assert_eq!(world.join(&b, back(1)).recovered, Some(true));
    assert_eq!(world.join(&b, back(0)).recovered, Some(false));
    assert_eq!(world.metrics.history_evicted.load(Ordering::Relaxed), 1);
    // Then others': b was used later than a.
    let keyed = topic("k", Options { keep: Keep::LastOfKey, ..Options::default() });
    let value = |key: &str| Publish { key: Some(key.into()), ..Publish::new(keyed.clone(), data(1)) };
    for key in ["1", "2", "3"] {
        world.publish(value(key)).unwrap();
    }
    assert_eq!(world.join(&a, since(&start)).recovered, Some(false));
    // Its position is as it was.
    assert_eq!(world.join(&a, since(&first)).recovered, Some(true));
    // A key more does not find room: there are values alone.
    assert_eq!(world.publish(value("four")), Err(TopicError::Full(size * 4)));
    assert_eq!(world.metrics.history_bytes.load(Ordering::Relaxed), (size as u64 + 1) * 3);
}

#[test]
fn nothing_is_to_be_done_for_a_topic_that_is_forgotten() {
    let world = World::new(Limits { topics: 1, ..Limits::default() });
    world.hear_only(&[]);
    let aging = topic("a", Options { history_size: 1, ..Options::default() });
    world.publish(Publish::new(aging, data(1))).unwrap();
    assert!(world.memory.store.agenda().next_ms().is_some());
    world.publish(Publish::new(with_history("b"), data(1))).unwrap();
    assert!(world.memory.store.agenda().next_ms().is_none());
}
