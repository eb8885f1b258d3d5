//! Random histories of a Redis that is written to, its stream, look-ups and the cache, held against a model that is naive.
//!
//! Each write has a number, and is the user of its snapshot: so whatever the cache holds says which write it is. A look-up
//! reads whenever it likes between its begin and its end; entries arrive late but in order; a gap loses those that wait.

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;
use proptest::sample::Index;

use super::tests::{malformed, session};
use super::*;

const IDS: u8 = 6;

/// What is written about a session.
#[derive(Debug, Clone, Copy)]
enum Written {
    Active,
    Revoked,
    /// The entry is malformed and the hash is gone.
    Malformed,
}

#[derive(Debug, Clone)]
enum Step {
    Write(u8, Written),
    /// Somebody else's nonsense in the stream.
    WriteNameless,
    /// The next entry of the stream arrives.
    Deliver,
    /// Entries were lost: the place is taken anew, the cache is emptied.
    Gap,
    /// An entry could not be stored.
    Drop(u8),
    Ask(u8),
    /// A look-up under way reads the hash.
    Read(Index),
    Finish(Index),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let written = prop_oneof![Just(Written::Active), Just(Written::Revoked), Just(Written::Malformed)];
    let step = prop_oneof![
        6 => (0..IDS, written).prop_map(|(id, written)| Step::Write(id, written)),
        1 => Just(Step::WriteNameless),
        6 => Just(Step::Deliver),
        1 => Just(Step::Gap),
        1 => (0..IDS).prop_map(Step::Drop),
        8 => (0..IDS).prop_map(Step::Ask),
        6 => any::<Index>().prop_map(Step::Read),
        6 => any::<Index>().prop_map(Step::Finish),
    ];
    prop::collection::vec(step, 0..200)
}

/// A look-up under way.
struct LookUp {
    id: u8,
    flight: Flight,
    is_overtaken: bool,
    read: Option<Option<Snapshot>>,
}

struct World {
    cache: Cache,
    cap: usize,
    flights_max: usize,
    writes: u64,
    /// Redis: the hashes, and the entries that did not arrive yet with their writes.
    hashes: BTreeMap<u8, Snapshot>,
    stream: VecDeque<(u64, Result<Snapshot, Malformed>)>,
    look_ups: Vec<LookUp>,
    /// What the cache should hold, but for evictions.
    held: BTreeMap<u8, Snapshot>,
    evicted: u64,
    /// By session: nothing older than this write may be believed.
    oldest: BTreeMap<u8, u64>,
}

fn name(id: u8) -> String {
    format!("session-{id}")
}

impl World {
    fn new(cap: usize, flights_max: usize) -> Self {
        Self {
            cache: Cache::new(cap, flights_max),
            cap,
            flights_max,
            writes: 0,
            hashes: BTreeMap::new(),
            stream: VecDeque::new(),
            look_ups: Vec::new(),
            held: BTreeMap::new(),
            evicted: 0,
            oldest: BTreeMap::new(),
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Write(id, written) => self.write(id, written),
            Step::WriteNameless => self.stream.push_back((0, Err(malformed(None)))),
            Step::Deliver => self.deliver(),
            Step::Gap => {
                self.stream.clear();
                drop(self.cache.empty());
                self.held.clear();
                self.look_ups.iter_mut().for_each(|look_up| look_up.is_overtaken = true);
                self.oldest = (0..IDS).map(|id| (id, self.writes_of(id))).collect();
            }
            Step::Drop(id) => {
                assert_eq!(self.cache.drop_session(&name(id)), self.held.remove(&id).is_some());
                self.overtake(id);
            }
            Step::Ask(id) => self.ask(id),
            Step::Read(index) if !self.look_ups.is_empty() => {
                let look_up = index.get_mut(&mut self.look_ups);
                look_up.read.get_or_insert(self.hashes.get(&look_up.id).cloned());
            }
            Step::Finish(index) if !self.look_ups.is_empty() => self.finish(index.index(self.look_ups.len())),
            Step::Read(_) | Step::Finish(_) => {}
        }
    }

    fn write(&mut self, id: u8, written: Written) {
        self.writes += 1;
        let is_revoked = matches!(written, Written::Revoked);
        let snapshot = session(&name(id), &self.writes.to_string(), is_revoked);
        let entry = match written {
            Written::Active | Written::Revoked => {
                self.hashes.insert(id, snapshot.clone());
                Ok(snapshot)
            }
            Written::Malformed => {
                self.hashes.remove(&id);
                Err(malformed(Some(&name(id))))
            }
        };
        self.stream.push_back((self.writes, entry));
    }

    /// The newest write about a session that can be found.
    fn writes_of(&self, id: u8) -> u64 {
        self.hashes.get(&id).map_or(self.writes, |snapshot| number(&snapshot.user))
    }

    fn deliver(&mut self) {
        let Some((write, entry)) = self.stream.pop_front() else { return };
        let id = match &entry {
            Ok(snapshot) => Some(snapshot.id.clone()),
            Err(malformed) => malformed.names.clone(),
        };
        let applied = self.cache.apply(entry.clone());
        let Some(id) = id else { return assert_eq!(applied, Applied::Nameless) };
        let number = (0..IDS).find(|&number| name(number) == *id).unwrap();
        self.overtake(number);
        self.oldest.insert(number, write);
        match entry {
            Ok(snapshot) => {
                let expected = if snapshot.is_revoked { Applied::Revoked(id) } else { Applied::Active };
                assert_eq!(applied, expected);
                self.stored(number, snapshot);
            }
            Err(_) => {
                assert_eq!(applied, Applied::Dropped(id));
                self.held.remove(&number);
            }
        }
    }

    fn ask(&mut self, id: u8) {
        let joined = self.look_ups.iter().find(|look_up| look_up.id == id && !look_up.is_overtaken);
        match (self.cache.begin(&name(id)), joined) {
            (Begin::Known, _) => assert!(self.held.contains_key(&id)),
            (_, _) if self.held.contains_key(&id) => panic!("it is held"),
            (Begin::Joined(flight), joined) => assert_eq!(Some(flight), joined.map(|look_up| look_up.flight)),
            (_, Some(_)) => panic!("it is looked up already"),
            (Begin::Started(flight), None) => {
                assert!(self.look_ups.iter().all(|look_up| look_up.flight != flight));
                self.look_ups.push(LookUp { id, flight, is_overtaken: false, read: None });
                assert!(self.look_ups.len() <= self.flights_max);
            }
            (Begin::Busy, None) => assert_eq!(self.look_ups.len(), self.flights_max),
        }
    }

    fn finish(&mut self, index: usize) {
        let LookUp { id, flight, is_overtaken, read } = self.look_ups.remove(index);
        // One that has not read yet has failed.
        let found = read.flatten();
        let expected = match &found {
            _ if is_overtaken => Finished::Overtaken,
            Some(_) => Finished::Stored,
            None => Finished::Unknown,
        };
        assert_eq!(self.cache.finish(&name(id), flight, found.as_ref()), expected);
        if let Some(snapshot) = found.filter(|_| !is_overtaken) {
            self.stored(id, snapshot);
        }
    }

    fn overtake(&mut self, id: u8) {
        self.look_ups.iter_mut().filter(|look_up| look_up.id == id).for_each(|look_up| look_up.is_overtaken = true);
    }

    /// The model holds it too, and forgets whom the cache evicted for it: an active one if there is one.
    fn stored(&mut self, id: u8, snapshot: Snapshot) {
        self.held.remove(&id);
        if self.held.len() >= self.cap {
            let gone: Vec<u8> =
                self.held.keys().copied().filter(|&other| self.cache.get(&name(other)).is_none()).collect();
            let [gone] = *gone else { panic!("{gone:?} made room for one") };
            let evicted = self.held.remove(&gone);
            let is_revoked = |snapshot: &Snapshot| snapshot.is_revoked;
            assert!(!evicted.is_some_and(|evicted| evicted.is_revoked) || self.held.values().all(is_revoked));
            self.evicted += 1;
        }
        self.held.insert(id, snapshot);
    }

    fn check(&self) {
        assert!(self.cache.len() <= self.cap);
        assert_eq!((self.cache.len(), self.cache.evicted()), (self.held.len(), self.evicted));
        for id in 0..IDS {
            let known = self.cache.get(&name(id));
            let held = self.held.get(&id);
            assert_eq!(
                known.map(|known| (known.user, known.is_revoked)),
                held.map(|held| (&*held.user, held.is_revoked))
            );
            if let Some(known) = known {
                let oldest = self.oldest.get(&id).copied().unwrap_or(0);
                assert!(number(known.user) >= oldest, "{id}: {known:?} is older than {oldest}");
            }
        }
    }
}

fn number(user: &str) -> u64 {
    user.parse().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn nothing_is_believed_that_an_entry_or_a_gap_made_old(
        cap in 1..=usize::from(IDS),
        flights_max in 1..8usize,
        steps in steps(),
    ) {
        let mut world = World::new(cap, flights_max);
        for step in steps {
            world.step(step);
            world.check();
        }
    }
}
