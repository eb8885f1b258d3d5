//! All channels, behind locks: by topic, each found by its name; and how much they hold together.
//!
//! Locks are taken from left to right: a shard's, then the agenda's or those of the outlet.

use std::hash::BuildHasher as _;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use hashbrown::{DefaultHashBuilder, HashMap};

use super::agenda::{Agenda, Alarm};
use super::channel::{Channel, Happened};
use super::{Clock, Outlet};
use crate::metrics::count;
use crate::{Limits, Metrics, Publication, Topic, TopicError};

/// Locks over which topics are spread.
const SHARDS: usize = 64;
/// Channels looked at for one that can be forgotten, or whose history can.
const LOOKED_AT: usize = 64;

/// See the module.
pub(super) struct Store {
    shards: Box<[Mutex<Shard>]>,
    hasher: DefaultHashBuilder,
    pub(super) agenda: Mutex<Agenda>,
    /// The timer has something to do before the time it sleeps until.
    pub(super) earlier: Condvar,
    channels: AtomicUsize,
    history_bytes: AtomicUsize,
    values_bytes: AtomicUsize,
    /// Uses of channels, to put them in order.
    uses: AtomicU64,
    epochs: AtomicU64,
    versions: AtomicU64,
    pub(super) limits: Limits,
    clock: Clock,
    pub(super) outlet: Arc<dyn Outlet>,
    pub(super) metrics: Arc<Metrics>,
}

type Shard = HashMap<Arc<Topic>, Slot, DefaultHashBuilder>;

/// A channel, and its places in the agenda.
struct Slot {
    channel: Channel,
    /// Its last use.
    used: u64,
    /// Its place among all channels.
    place: u64,
    /// Its place among those with a history.
    history_place: Option<u64>,
    alarm: Option<Alarm>,
}

/// What a turn at a topic knows, and what it makes happen.
pub(super) struct Turn {
    /// Whether anybody is told.
    pub(super) heard: bool,
    /// When it is.
    pub(super) now_ms: u64,
    /// Passed on at the end of the turn.
    pub(super) happened: Happened,
}

impl Store {
    /// Without channels. `start` is random: epochs follow from it.
    pub(super) fn new(
        limits: Limits,
        start: u64,
        clock: Clock,
        outlet: Arc<dyn Outlet>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let hasher = DefaultHashBuilder::default();
        let shards = (0..SHARDS).map(|_| Mutex::new(HashMap::with_hasher(hasher.clone()))).collect();
        // A process that changes more than a thousand things a millisecond for all its life is not one of ours, so these
        // are greater than those of the process before, and exact as a number of JavaScript.
        let versions = AtomicU64::new(clock().saturating_mul(1_000));
        Self {
            shards,
            hasher,
            agenda: Mutex::default(),
            earlier: Condvar::new(),
            channels: AtomicUsize::new(0),
            history_bytes: AtomicUsize::new(0),
            values_bytes: AtomicUsize::new(0),
            uses: AtomicU64::new(0),
            epochs: AtomicU64::new(start),
            versions,
            limits,
            clock,
            outlet,
            metrics,
        }
    }

    /// An epoch that no other is like.
    pub(super) fn epoch(&self) -> Arc<str> {
        base36(self.epochs.fetch_add(1, Ordering::Relaxed)).into()
    }

    /// A version that is greater than all before.
    pub(super) fn next_version(&self) -> u64 {
        self.versions.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The last version.
    pub(super) fn version(&self) -> u64 {
        self.versions.load(Ordering::Relaxed)
    }

    pub(super) fn now_ms(&self) -> u64 {
        (self.clock)()
    }

    /// How many bytes kept values may take beyond what they do.
    pub(super) fn values_room(&self) -> usize {
        self.limits.history_bytes.saturating_sub(self.values_bytes.load(Ordering::Relaxed))
    }

    /// A turn at a topic: `act` has its channel, which has gone on to now, if there is one or `create` says that there has to
    /// be. What happens is passed on before anybody else has a turn there.
    ///
    /// # Errors
    /// [`TopicError::Full`] if there can be no channel more.
    pub(super) fn turn<T>(
        &self,
        topic: &Arc<Topic>,
        create: bool,
        act: impl FnOnce(Option<&mut Channel>, &mut Turn) -> T,
    ) -> Result<T, TopicError> {
        let mut shard = self.shard(topic);
        if create && !shard.contains_key(topic) {
            if self.channels.load(Ordering::Relaxed) >= self.limits.topics {
                drop(shard);
                self.forget_one()?;
                shard = self.shard(topic);
            }
            self.create(&mut shard, topic);
        }
        let mut turn = self.begin(topic);
        let Some(slot) = shard.get_mut(topic) else {
            let done = act(None, &mut turn);
            self.pass(turn);
            return Ok(done);
        };
        slot.used = self.uses.fetch_add(1, Ordering::Relaxed) + 1;
        let before = Held::of(&slot.channel);
        slot.channel.expire(turn.now_ms, &mut turn.happened);
        let done = act(Some(&mut slot.channel), &mut turn);
        self.end(&mut shard, topic, before, turn);
        drop(shard);
        self.make_room();
        Ok(done)
    }

    /// A channel's alarm has gone off.
    pub(super) fn ring(&self, topic: &Arc<Topic>, alarm: Alarm) {
        let mut shard = self.shard(topic);
        let Some(slot) = shard.get_mut(topic).filter(|slot| slot.alarm == Some(alarm)) else { return };
        slot.alarm = None;
        let mut turn = self.begin(topic);
        let before = Held::of(&slot.channel);
        slot.channel.expire(turn.now_ms, &mut turn.happened);
        if !turn.heard {
            slot.channel.forget_previous();
        }
        self.end(&mut shard, topic, before, turn);
    }

    /// Calls with every topic about which something is remembered.
    pub(super) fn each(&self, mut call: impl FnMut(&Arc<Topic>, &Channel)) {
        for shard in &self.shards {
            for (topic, slot) in lock(shard).iter() {
                call(topic, &slot.channel);
            }
        }
    }

    fn create(&self, shard: &mut Shard, topic: &Arc<Topic>) {
        shard.entry(topic.clone()).or_insert_with(|| {
            let epoch = if topic.options.history_size > 0 { self.epoch() } else { Arc::default() };
            let used = self.uses.fetch_add(1, Ordering::Relaxed) + 1;
            self.agenda().channels.enter(used, topic.clone());
            let channels = self.channels.fetch_add(1, Ordering::Relaxed) + 1;
            self.metrics.topics.store(channels as u64, Ordering::Relaxed);
            let channel = Channel::new(topic.clone(), epoch, self.now_ms());
            Slot { channel, used, place: used, history_place: None, alarm: None }
        });
    }

    fn begin(&self, topic: &Topic) -> Turn {
        Turn { heard: self.outlet.has_subscribers(topic), now_ms: self.now_ms(), happened: Happened::new() }
    }

    fn pass(&self, turn: Turn) {
        if !turn.heard {
            return;
        }
        for (record, previous) in turn.happened {
            self.outlet.pass(&Arc::new(Publication::new(record, previous)));
        }
    }

    /// Passes on what happened, and puts the channel's new state on record.
    fn end(&self, shard: &mut Shard, topic: &Arc<Topic>, before: Held, turn: Turn) {
        self.pass(turn);
        let Some(slot) = shard.get_mut(topic) else { return };
        self.account(before, Held::of(&slot.channel));
        while self.is_over() {
            let before = Held::of(&slot.channel);
            if !slot.channel.evict() {
                break;
            }
            count(&self.metrics.history_evicted);
            self.account(before, Held::of(&slot.channel));
        }
        if slot.channel.is_vacant() {
            self.remove(shard, topic);
        } else {
            self.enter(slot, topic);
        }
    }

    /// Brings the channel's places in the agenda up to date.
    fn enter(&self, slot: &mut Slot, topic: &Arc<Topic>) {
        let has_history = slot.channel.history_bytes() > 0;
        if has_history != slot.history_place.is_some() {
            let mut agenda = self.agenda();
            match slot.history_place.take() {
                Some(place) => agenda.histories.remove(place),
                None => {
                    slot.history_place = Some(slot.used);
                    agenda.histories.enter(slot.used, topic.clone());
                }
            }
        }
        // One that is too early only looks in vain.
        let Some(due_ms) = slot.channel.next_due_ms() else { return };
        if slot.alarm.is_none_or(|(at_ms, _)| due_ms < at_ms) {
            let mut agenda = self.agenda();
            let is_first = agenda.next_ms().is_none_or(|next_ms| due_ms < next_ms);
            if let Some(alarm) = slot.alarm {
                agenda.disarm(alarm);
            }
            slot.alarm = Some(agenda.arm(topic, due_ms));
            if is_first {
                self.earlier.notify_one();
            }
        }
    }

    fn remove(&self, shard: &mut Shard, topic: &Arc<Topic>) {
        let Some(slot) = shard.remove(topic) else { return };
        self.account(Held::of(&slot.channel), Held::default());
        let mut agenda = self.agenda();
        agenda.channels.remove(slot.place);
        if let Some(place) = slot.history_place {
            agenda.histories.remove(place);
        }
        if let Some(alarm) = slot.alarm {
            agenda.disarm(alarm);
        }
        drop(agenda);
        let channels = self.channels.fetch_sub(1, Ordering::Relaxed) - 1;
        self.metrics.topics.store(channels as u64, Ordering::Relaxed);
    }

    /// Forgets the topic that was used longest ago and that nobody subscribes to, is present in or keeps keyed values in; one
    /// without history and value first.
    fn forget_one(&self) -> Result<(), TopicError> {
        let mut with_history = Vec::new();
        let mut is_forgotten = false;
        for _ in 0..LOOKED_AT {
            let popped = self.agenda().channels.pop();
            let Some((place, topic)) = popped else { break };
            let mut shard = self.shard(&topic);
            let Some(slot) = shard.get_mut(&topic).filter(|slot| slot.place == place) else { continue };
            if slot.used == place && !slot.channel.is_held() && !self.outlet.has_subscribers(&topic) {
                if slot.channel.is_empty() {
                    self.remove(&mut shard, &topic);
                    is_forgotten = true;
                    break;
                }
                with_history.push((place, topic.clone()));
                continue;
            }
            if slot.used == place {
                // In use, if only by those who listen.
                slot.used = self.uses.fetch_add(1, Ordering::Relaxed) + 1;
            }
            slot.place = slot.used;
            self.agenda().channels.enter(slot.place, topic.clone());
        }
        for (place, topic) in with_history {
            let mut shard = self.shard(&topic);
            let Some(slot) = shard.get(&topic).filter(|slot| slot.place == place) else { continue };
            let is_idle = slot.used == place && !slot.channel.is_held() && !self.outlet.has_subscribers(&topic);
            if is_idle && !is_forgotten {
                self.remove(&mut shard, &topic);
                is_forgotten = true;
            } else {
                self.agenda().channels.enter(place, topic.clone());
            }
        }
        if !is_forgotten {
            return Err(TopicError::Full(self.limits.topics));
        }
        count(&self.metrics.topics_forgotten);
        Ok(())
    }

    /// Takes from the histories that were used longest ago what is too much.
    fn make_room(&self) {
        for _ in 0..LOOKED_AT {
            if !self.is_over() {
                return;
            }
            let popped = self.agenda().histories.pop();
            let Some((place, topic)) = popped else { return };
            let mut shard = self.shard(&topic);
            let Some(slot) = shard.get_mut(&topic).filter(|slot| slot.history_place == Some(place)) else { continue };
            slot.history_place = None;
            if slot.used == place {
                let before = Held::of(&slot.channel);
                while self.is_over_by(before, Held::of(&slot.channel)) && slot.channel.evict_any() {
                    count(&self.metrics.history_evicted);
                }
                self.account(before, Held::of(&slot.channel));
            }
            self.enter(slot, &topic);
        }
    }

    fn is_over(&self) -> bool {
        self.held() > self.limits.history_bytes
    }

    fn is_over_by(&self, before: Held, after: Held) -> bool {
        self.held() - (before.history_bytes - after.history_bytes) > self.limits.history_bytes
    }

    fn held(&self) -> usize {
        self.history_bytes.load(Ordering::Relaxed) + self.values_bytes.load(Ordering::Relaxed)
    }

    fn account(&self, before: Held, after: Held) {
        if before == after {
            return;
        }
        shift(&self.history_bytes, before.history_bytes, after.history_bytes);
        shift(&self.values_bytes, before.values_bytes, after.values_bytes);
        self.metrics.history_bytes.store(self.held() as u64, Ordering::Relaxed);
        // Wraps around where there are fewer.
        let members = (after.members as u64).wrapping_sub(before.members as u64);
        self.metrics.members.fetch_add(members, Ordering::Relaxed);
    }

    pub(super) fn agenda(&self) -> MutexGuard<'_, Agenda> {
        lock(&self.agenda)
    }

    fn shard(&self, topic: &Topic) -> MutexGuard<'_, Shard> {
        let hash = self.hasher.hash_one(topic) as usize;
        // The low bits choose the place within a table.
        lock(&self.shards[(hash >> 40) % SHARDS])
    }
}

/// What a channel holds.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
struct Held {
    history_bytes: usize,
    values_bytes: usize,
    members: usize,
}

impl Held {
    fn of(channel: &Channel) -> Self {
        let (history_bytes, values_bytes) = (channel.history_bytes(), channel.values_bytes());
        Self { history_bytes, values_bytes, members: channel.members() }
    }
}

/// Wraps around where it becomes less.
fn shift(level: &AtomicUsize, before: usize, after: usize) {
    level.fetch_add(after.wrapping_sub(before), Ordering::Relaxed);
}

fn base36(mut number: u64) -> String {
    let mut digits = Vec::new();
    loop {
        digits.push(b"0123456789abcdefghijklmnopqrstuvwxyz"[(number % 36) as usize]);
        number /= 36;
        if number == 0 {
            break;
        }
    }
    digits.iter().rev().map(|digit| *digit as char).collect()
}

/// What is behind a lock stays whole whoever panicked meanwhile: every change is one step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
