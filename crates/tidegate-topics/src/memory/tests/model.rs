//! Positions, recovery, history, values, idempotency against a model that keeps everything and looks at all of it.

use std::collections::{BTreeMap, HashSet};

use proptest::prelude::*;

use super::*;
use crate::{Keep, Range};

/// Values of one topic.
const VALUES: usize = 3;
const IDEMPOTENCY_KEYS: usize = 3;
const IDEMPOTENCY_MS: u64 = 600;
const NOTHING: u64 = u64::MAX;

#[derive(Debug, Clone)]
enum Op {
    Publish { topic: usize, key: Option<u8>, removed: bool, skip: bool, once: Option<u8> },
    Join { topic: usize, since: From, bytes: Option<usize> },
    History { topic: usize, since: From, limit: usize, reverse: bool, bytes: Option<usize> },
    Values { topic: usize, after: Option<u8>, limit: usize, bytes: Option<usize> },
    Forget { topic: usize },
    Advance { ms: u64 },
    Ring,
}

#[derive(Debug, Clone)]
enum From {
    Nowhere,
    Back(u64),
    Future(u64),
    Foreign(u64),
    Former(u64),
    Empty(u64),
}

fn from() -> impl Strategy<Value = From> {
    prop_oneof![
        2 => Just(From::Nowhere),
        6 => (0..10_u64).prop_map(From::Back),
        1 => (1..3_u64).prop_map(From::Future),
        1 => (0..3_u64).prop_map(From::Foreign),
        1 => (0..6_u64).prop_map(From::Former),
        1 => (0..2_u64).prop_map(From::Empty),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let topic = || 0..5_usize;
    let key = || proptest::option::weighted(0.7, 0..5_u8);
    let bytes = || proptest::option::weighted(0.2, 0..5_usize);
    prop_oneof![
        8 => (topic(), key(), proptest::bool::weighted(0.2), proptest::bool::weighted(0.15), proptest::option::weighted(0.2, 0..5_u8))
            .prop_map(|(topic, key, removed, skip, once)| Op::Publish { topic, key, removed, skip, once }),
        4 => (topic(), from(), bytes()).prop_map(|(topic, since, bytes)| Op::Join { topic, since, bytes }),
        2 => (topic(), from(), 0..8_usize, any::<bool>(), bytes())
            .prop_map(|(topic, since, limit, reverse, bytes)| Op::History { topic, since, limit, reverse, bytes }),
        2 => (topic(), key(), 0..5_usize, bytes())
            .prop_map(|(topic, after, limit, bytes)| Op::Values { topic, after, limit, bytes }),
        1 => (0..20_usize).prop_filter_map("seldom", |topic| (topic < 5).then_some(Op::Forget { topic })),
        // Ages and times to live are multiples of it, so that some end at the very millisecond.
        3 => (0..8_u64).prop_map(|n| Op::Advance { ms: n * 50 }),
        1 => Just(Op::Ring),
    ]
}

fn topics() -> Vec<Arc<Topic>> {
    let base = Options { delta: true, ..Options::default() };
    [
        Options { history_size: 5, history_age_ms: 1_000, ..base.clone() },
        Options { history_size: 8, history_age_ms: 0, keep: Keep::LastOfKey, value_ttl_ms: 700, ..base.clone() },
        base.clone(),
        Options { history_size: 4, history_age_ms: 500, keep: Keep::Last, value_ttl_ms: 900, recover_max: 3, ..base },
        Options { keep: Keep::LastOfKey, ..Options::default() },
    ]
    .into_iter()
    .enumerate()
    .map(|(n, options)| topic(&format!("t{n}"), options))
    .collect()
}

/// What a record says, as far as the model goes.
#[derive(Debug, Clone, PartialEq)]
struct Said {
    offset: u64,
    key: Option<String>,
    removed: bool,
    data: u64,
    time_ms: u64,
}

impl Said {
    fn of(record: &crate::Record) -> Self {
        let data = number(&record.data).unwrap_or(NOTHING);
        let key = record.key.as_ref().map(|key| (**key).to_owned());
        Self { offset: record.offset, key, removed: record.removed, data, time_ms: record.time_ms }
    }

    fn size(&self) -> usize {
        let data = if self.data == NOTHING { "null".len() } else { self.data.to_string().len() };
        size_of::<crate::Record>() + data + self.key.as_ref().map_or(0, String::len)
    }
}

fn said(records: &[Arc<crate::Record>]) -> Vec<Said> {
    records.iter().map(|record| Said::of(record)).collect()
}

#[derive(Default)]
struct Naive {
    epoch: Option<String>,
    former: Option<String>,
    /// All of the epoch.
    log: Vec<Said>,
    /// With their end and the order in which they were set.
    values: BTreeMap<String, (Said, u64, usize)>,
    last: Option<(Said, u64)>,
    once: Vec<(u8, Published, u64)>,
    previous: Option<u64>,
    /// What has to have been passed on, with the one before.
    told: Vec<(Said, Option<u64>)>,
    set: usize,
}

impl Naive {
    fn go_on(&mut self, options: &Options, now_ms: u64) {
        let mut over: Vec<_> = self.values.iter().filter(|(_, (_, end, _))| *end <= now_ms).collect();
        over.sort_by_key(|(_, (_, end, set))| (*end, *set));
        for key in over.into_iter().map(|(key, _)| key.clone()).collect::<Vec<_>>() {
            self.values.remove(&key);
            let offset = if options.history_size > 0 { self.log.len() as u64 + 1 } else { 0 };
            self.say(Said { offset, key: Some(key), removed: true, data: NOTHING, time_ms: now_ms }, None);
        }
        self.last.take_if(|(_, end)| *end <= now_ms);
        self.once.retain(|(_, _, end)| *end > now_ms);
    }

    fn say(&mut self, said: Said, previous: Option<u64>) {
        if said.offset > 0 {
            self.log.push(said.clone());
        }
        self.told.push((said, previous));
    }

    fn kept(&self, options: &Options, now_ms: u64) -> &[Said] {
        let by_size = self.log.len().saturating_sub(options.history_size);
        let is_old = |said: &Said| options.history_age_ms > 0 && said.time_ms + options.history_age_ms <= now_ms;
        let by_age = self.log.iter().take_while(|said| is_old(said)).count();
        &self.log[by_size.max(by_age)..]
    }

    /// An epoch is told for the first time, or the same again.
    fn check(&mut self, at: &Published, options: &Options, epochs: &mut HashSet<String>) {
        if options.history_size == 0 {
            assert_eq!(*at, Published::default());
            return;
        }
        if self.epoch.is_none() {
            assert!(epochs.insert(at.epoch.to_string()), "an epoch came twice");
            self.epoch = Some(at.epoch.to_string());
        }
        assert_eq!(self.epoch.as_deref(), Some(&*at.epoch));
        assert_eq!(at.offset, self.log.len() as u64);
    }

    /// Who only reads finds nothing where nothing was, and leaves nothing there.
    fn check_read(&mut self, at: &Published, options: &Options, epochs: &mut HashSet<String>) {
        if self.epoch.is_some() || *at != Published::default() {
            self.check(at, options, epochs);
        }
    }

    fn since(&self, from: &From) -> Option<Since> {
        let top = self.log.len() as u64;
        let here = self.epoch.clone().unwrap_or_else(|| "none".to_owned());
        let (epoch, offset) = match from {
            From::Nowhere => return None,
            From::Back(n) => (here, top.saturating_sub(*n)),
            From::Future(n) => (here, top + n),
            From::Foreign(n) => ("foreign".to_owned(), *n),
            From::Former(n) => (self.former.clone().unwrap_or_else(|| "former".to_owned()), *n),
            From::Empty(n) => (String::new(), *n),
        };
        Some(Since { epoch: epoch.into(), offset })
    }
}

struct Test {
    world: World,
    topics: Vec<Arc<Topic>>,
    naive: Vec<Naive>,
    epochs: HashSet<String>,
    published: u64,
}

impl Test {
    fn run(&mut self, op: &Op) {
        let now_ms = self.world.now_ms();
        match op {
            Op::Advance { ms } => self.world.advance(*ms),
            Op::Ring => {
                self.world.memory.store.ring_due();
                for (naive, topic) in self.naive.iter_mut().zip(&self.topics) {
                    naive.go_on(&topic.options, now_ms);
                }
            }
            Op::Publish { topic, key, removed, skip, once } => {
                self.publish(*topic, *key, *removed, *skip, *once, now_ms);
            }
            Op::Join { topic, since, bytes } => self.join(*topic, since, *bytes, now_ms),
            Op::History { topic, since, limit, reverse, bytes } => {
                self.history(*topic, since, *limit, *reverse, *bytes, now_ms);
            }
            Op::Values { topic, after, limit, bytes } => self.values(*topic, *after, *limit, *bytes, now_ms),
            Op::Forget { topic: at } => {
                let (topic, naive) = (&self.topics[*at], &mut self.naive[*at]);
                naive.go_on(&topic.options, now_ms);
                now(self.world.memory.forget(topic)).unwrap();
                let (told, once) = (std::mem::take(&mut naive.told), std::mem::take(&mut naive.once));
                *naive = Naive { former: naive.epoch.take(), told, once, ..Naive::default() };
            }
        }
        let passed = self.world.passed();
        for (naive, topic) in self.naive.iter_mut().zip(&self.topics) {
            let of_topic = passed.iter().filter(|publication| publication.record.topic == *topic);
            let told: Vec<_> = of_topic
                .map(|publication| {
                    let previous = publication.previous.as_ref().and_then(|previous| number(&previous.data));
                    (Said::of(&publication.record), previous)
                })
                .collect();
            assert_eq!(told, std::mem::take(&mut naive.told), "in {topic} after {op:?}");
        }
    }

    fn publish(&mut self, at: usize, key: Option<u8>, removed: bool, skip: bool, once: Option<u8>, now_ms: u64) {
        let (topic, naive) = (self.topics[at].clone(), &mut self.naive[at]);
        let options = topic.options.clone();
        let is_keyed = options.keep == Keep::LastOfKey;
        let key = key.filter(|_| is_keyed).map(|key| format!("k{key}"));
        let removed = removed && key.is_some();
        self.published += 1;
        let publish = Publish {
            key: key.as_deref().map(Into::into),
            removed,
            skip_history: skip,
            idempotency_key: once.map(|once| once.to_string().into()),
            ..Publish::new(topic, data(self.published))
        };
        let answer = self.world.publish(publish);
        naive.go_on(&options, now_ms);
        if let Some((_, known, _)) = naive.once.iter().find(|(known, ..)| Some(*known) == once) {
            assert_eq!(answer.as_ref(), Ok(known));
            return;
        }
        if let Some(key) = &key
            && !removed
            && !naive.values.contains_key(key)
            && naive.values.len() == VALUES
        {
            assert_eq!(answer, Err(TopicError::Full(VALUES)));
            return;
        }
        let offset = if skip || options.history_size == 0 { 0 } else { naive.log.len() as u64 + 1 };
        let said = Said { offset, key: key.clone(), removed, data: self.published, time_ms: now_ms };
        let end = |ttl_ms| if ttl_ms == 0 { u64::MAX } else { now_ms + ttl_ms };
        let previous = match &key {
            Some(key) => {
                let before = naive.values.remove(key);
                if !removed {
                    naive.set += 1;
                    naive.values.insert(key.clone(), (said.clone(), end(options.value_ttl_ms), naive.set));
                }
                before.filter(|_| !removed).map(|(said, ..)| said.data)
            }
            None => naive.previous.replace(self.published),
        };
        if options.keep == Keep::Last {
            naive.last = Some((said.clone(), end(options.value_ttl_ms)));
        }
        naive.say(said, previous.filter(|_| options.delta));
        let answer = answer.unwrap();
        if offset > 0 {
            naive.check(&answer, &options, &mut self.epochs);
        } else {
            assert_eq!(answer, Published::default());
        }
        if let Some(once) = once {
            naive.once.push((once, answer, now_ms + IDEMPOTENCY_MS));
            if naive.once.len() > IDEMPOTENCY_KEYS {
                naive.once.remove(0);
            }
        }
    }

    fn join(&mut self, at: usize, from: &From, bytes: Option<usize>, now_ms: u64) {
        let (topic, naive) = (&self.topics[at], &mut self.naive[at]);
        let options = &topic.options;
        naive.go_on(options, now_ms);
        let since = naive.since(from);
        let kept = naive.kept(options, now_ms);
        let bytes_max = bytes.map_or(usize::MAX, |records| records * (size_of::<crate::Record>() + 2));
        let missed = since.as_ref().and_then(|since| {
            let is_beginning = since.epoch.is_empty() && since.offset == 0 && options.history_size > 0;
            let is_of_epoch = naive.epoch.as_deref() == Some(&*since.epoch) || is_beginning;
            let is_here = is_of_epoch && since.offset <= naive.log.len() as u64;
            let missed = &naive.log[..].get(usize::try_from(since.offset).unwrap()..).filter(|_| is_here)?;
            let size: usize = missed.iter().map(Said::size).sum();
            (kept.ends_with(missed) && missed.len() <= options.recover_max && size <= bytes_max)
                .then(|| missed.to_vec())
        });
        let expected = match &missed {
            Some(missed) => missed.clone(),
            None => naive.last.iter().map(|(said, _)| said.clone()).filter(|said| said.size() <= bytes_max).collect(),
        };
        let join = Join { topic: topic.clone(), member: None, since: since.clone(), bytes_max };
        let joined = now(self.world.memory.join(join)).unwrap();
        assert_eq!(joined.recovered, since.is_some().then_some(missed.is_some()));
        assert_eq!(said(&joined.records), expected);
        naive.check(&joined.at, options, &mut self.epochs);
    }

    fn history(&mut self, at: usize, from: &From, limit: usize, reverse: bool, bytes: Option<usize>, now_ms: u64) {
        let (topic, naive) = (&self.topics[at], &mut self.naive[at]);
        let options = &topic.options;
        let bytes_max = bytes.map_or(usize::MAX, |records| records * (size_of::<crate::Record>() + 2));
        let since = naive.since(from);
        let range = Range { since: since.clone(), limit, reverse, bytes_max };
        let answer = now(self.world.memory.history(topic, range));
        if options.history_size == 0 {
            assert_eq!(answer, Err(TopicError::NotAvailable("history")));
            return;
        }
        naive.go_on(options, now_ms);
        if let Some(since) = &since {
            let is_here =
                naive.epoch.as_deref() == Some(&*since.epoch) || (since.epoch.is_empty() && since.offset == 0);
            if !is_here || since.offset > naive.log.len() as u64 {
                assert_eq!(answer, Err(TopicError::Unrecoverable));
                return;
            }
        }
        let mut expected: Vec<_> = naive.kept(options, now_ms).to_vec();
        if reverse {
            expected.reverse();
        }
        if let Some(since) = since {
            expected.retain(|said| if reverse { said.offset < since.offset } else { said.offset > since.offset });
        }
        expected.truncate(limit);
        let mut size = 0;
        let fits = expected.iter().take_while(|said| {
            size += said.size();
            size <= bytes_max
        });
        expected.truncate(fits.count());
        let answer = answer.unwrap();
        assert_eq!(said(&answer.records), expected);
        naive.check_read(&answer.at, options, &mut self.epochs);
    }

    fn values(&mut self, at: usize, after: Option<u8>, limit: usize, bytes: Option<usize>, now_ms: u64) {
        let (topic, naive) = (&self.topics[at], &mut self.naive[at]);
        let after = after.map(|after| format!("k{after}"));
        let bytes_max = bytes.map_or(usize::MAX, |records| records * (size_of::<crate::Record>() + 4));
        let answer = now(self.world.memory.values(topic, after.as_deref(), limit, bytes_max));
        if topic.options.keep != Keep::LastOfKey {
            assert_eq!(answer, Err(TopicError::NotAvailable("values")));
            return;
        }
        naive.go_on(&topic.options, now_ms);
        let rest = || naive.values.iter().filter(|(key, _)| after.as_ref().is_none_or(|after| *key > after));
        let mut expected: Vec<_> = rest().take(limit).map(|(_, (said, ..))| said.clone()).collect();
        while expected.len() > 1 && expected.iter().map(Said::size).sum::<usize>() > bytes_max {
            expected.pop();
        }
        let next = expected.last().filter(|_| rest().count() > expected.len()).and_then(|said| said.key.clone());
        let answer = answer.unwrap();
        assert_eq!(said(&answer.records), expected);
        assert_eq!(answer.next.as_deref(), next.as_deref());
        naive.check_read(&answer.at, &topic.options, &mut self.epochs);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_says_what_the_model_says(ops in proptest::collection::vec(op(), 1..120)) {
        let limits = Limits {
            values: VALUES,
            idempotency_keys: IDEMPOTENCY_KEYS,
            idempotency_ms: IDEMPOTENCY_MS,
            ..Limits::default()
        };
        let topics = topics();
        let naive = topics.iter().map(|_| Naive::default()).collect();
        let mut test = Test { world: World::new(limits), topics, naive, epochs: HashSet::new(), published: 0 };
        for op in &ops {
            test.run(op);
        }
    }
}
