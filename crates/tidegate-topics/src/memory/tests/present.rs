//! Presence against a model that remembers every state it was in.

use std::collections::{BTreeMap, HashMap, HashSet};

use proptest::prelude::*;

use super::*;
use crate::{Leave, Members, Presence, PresenceAsk};

#[derive(Debug, Clone)]
enum Op {
    Join { client: u8, user: u8 },
    Leave { client: u8 },
    Difference { back: usize },
    Page { limit: usize },
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0..12_u8, 0..4_u8).prop_map(|(client, user)| Op::Join { client, user }),
        4 => (0..12_u8).prop_map(|client| Op::Leave { client }),
        3 => (0..30_usize).prop_map(|back| Op::Difference { back }),
        3 => (0..5_usize).prop_map(|limit| Op::Page { limit }),
    ]
}

/// A walk through the pages, while members change.
struct Walk {
    after: Option<Box<str>>,
    seen: HashSet<String>,
    /// Who was there all the time.
    stayed: HashSet<String>,
}

fn ask(world: &World, topic: &Arc<Topic>, ask: PresenceAsk) -> Presence {
    now(world.memory.presence(topic, ask)).unwrap()
}

fn everybody(world: &World, topic: &Arc<Topic>) -> Presence {
    ask(world, topic, PresenceAsk { limit: usize::MAX, ..PresenceAsk::default() })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_says_who_is_there(ops in proptest::collection::vec(op(), 1..150)) {
        let world = World::new(Limits::default());
        let topic = topic("t", Options { presence: true, join_leave: true, ..Options::default() });
        let mut members: BTreeMap<String, Arc<ClientInfo>> = BTreeMap::new();
        let mut states = vec![(everybody(&world, &topic).version, members.clone())];
        let mut walk: Option<Walk> = None;
        for op in ops {
            let before = members.clone();
            match op {
                Op::Join { client: n, user } => {
                    let info = client(&format!("c{n}"), &format!("u{user}"));
                    let (member, since) = (Some(info.clone()), None);
                    now(world.memory.join(Join { topic: topic.clone(), member, since, bytes_max: 0 })).unwrap();
                    members.insert(info.client.to_string(), info);
                }
                Op::Leave { client } => {
                    let name = format!("c{client}");
                    world.memory.leave(Leave { topic: topic.clone(), member: Some(name.as_str().into()) });
                    members.remove(&name);
                }
                Op::Difference { back } => {
                    let (version, then) = &states[states.len().saturating_sub(back + 1)];
                    let answer = ask(&world, &topic, PresenceAsk { since: Some(*version), after: None, limit: 100 });
                    match answer.members {
                        Members::Changes { joined, left } => {
                            let mut known = then.clone();
                            for name in left {
                                assert!(known.remove(&*name).is_some(), "{name} was not there");
                            }
                            for info in joined {
                                let before = known.insert(info.client.to_string(), info.clone());
                                assert_ne!(before, Some(info), "nothing new");
                            }
                            assert_eq!(known, members);
                        }
                        Members::Page(page, next) => {
                            assert!(page.iter().eq(members.values()) && next.is_none());
                            let is_forgotten = states.iter().any(|(later, state)| later >= version && state.is_empty());
                            assert!(is_forgotten, "the difference is known");
                        }
                    }
                }
                Op::Page { limit } => {
                    let Walk { after, mut seen, stayed } = walk.take().unwrap_or_else(|| Walk {
                        after: None,
                        seen: HashSet::new(),
                        stayed: members.keys().cloned().collect(),
                    });
                    let answer = ask(&world, &topic, PresenceAsk { since: None, after: after.clone(), limit });
                    let Members::Page(page, next) = answer.members else { panic!("a page was asked for") };
                    let rest = || members.iter().filter(|(name, _)| after.as_deref().is_none_or(|after| name.as_str() > after));
                    assert!(page.iter().eq(rest().take(limit).map(|(_, info)| info)));
                    assert_eq!(next.is_some(), limit > 0 && rest().count() > limit);
                    for info in page {
                        assert!(seen.insert(info.client.to_string()), "twice");
                    }
                    if limit == 0 {
                        walk = Some(Walk { after, seen, stayed });
                    } else if let Some(next) = next {
                        walk = Some(Walk { after: Some((*next).into()), seen, stayed });
                    } else {
                        assert!(seen.is_superset(&stayed));
                    }
                }
            }
            if let Some(walk) = &mut walk {
                walk.stayed.retain(|name| members.contains_key(name));
            }
            let kinds: Vec<_> = world.passed().iter().map(|publication| publication.record.kind).collect();
            match members.len().cmp(&before.len()) {
                std::cmp::Ordering::Greater => assert_eq!(kinds, [Kind::Join]),
                std::cmp::Ordering::Less => assert_eq!(kinds, [Kind::Leave]),
                std::cmp::Ordering::Equal => assert!(kinds.is_empty()),
            }
            let counts = ask(&world, &topic, PresenceAsk::default());
            let users: HashMap<_, _> = members.values().map(|info| (info.user.clone(), ())).collect();
            assert_eq!((counts.clients, counts.users), (members.len(), users.len()));
            assert_eq!(counts.members, Members::Page(Vec::new(), None));
            let last = &states[states.len() - 1];
            assert_eq!(counts.version > last.0, members != last.1, "versions grow with every change, and only with these");
            assert!(counts.version >= last.0);
            if members != last.1 {
                states.push((counts.version, members.clone()));
            }
        }
    }
}

#[test]
fn a_change_too_long_ago_is_answered_by_a_page() {
    let world = World::new(Limits::default());
    let topic = topic("t", Options { presence: true, ..Options::default() });
    let join = |n: usize| {
        let member = Some(client(&format!("c{n:05}"), "u"));
        now(world.memory.join(Join { topic: topic.clone(), member, since: None, bytes_max: 0 })).unwrap();
        everybody(&world, &topic).version
    };
    let versions: Vec<_> = (0..1_030).map(join).collect();
    let is_known = |version| {
        let answer = ask(&world, &topic, PresenceAsk { since: Some(version), after: None, limit: 10_000 });
        matches!(answer.members, Members::Changes { .. })
    };
    let known = versions.iter().filter(|version| is_known(**version)).count();
    // After each of the last 1,024 changes, and before the first of these.
    assert_eq!(known, 1_025);
    assert!(!is_known(versions[1_029] + 1), "of the future");
}

#[test]
fn one_who_comes_and_goes_makes_no_small_topic_a_large_one() {
    let world = World::new(Limits::default());
    let topic = topic("t", Options { presence: true, ..Options::default() });
    let join = |name: &str| {
        let member = Some(client(name, "u"));
        now(world.memory.join(Join { topic: topic.clone(), member, since: None, bytes_max: 0 })).unwrap();
        everybody(&world, &topic).version
    };
    join("stays");
    let versions: Vec<_> = (0..200)
        .map(|_| {
            let version = join("goes");
            world.memory.leave(Leave { topic: topic.clone(), member: Some("goes".into()) });
            version
        })
        .collect();
    let is_known = |version: &&u64| {
        let answer = ask(&world, &topic, PresenceAsk { since: Some(**version), after: None, limit: 10 });
        matches!(answer.members, Members::Changes { .. })
    };
    assert_eq!(versions.iter().filter(is_known).count(), 32);
}
