//! Which workers have subscribers of a topic, and what waits for each of them.
//!
//! Locks are taken from left to right: the broker's, a shard of the relay, a port's. None is held while anything is waited for.

use std::collections::{HashSet, VecDeque};
use std::hash::BuildHasher as _;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashbrown::{DefaultHashBuilder, HashMap};
use smallvec::SmallVec;

use crate::metrics::count;
use crate::{Limits, Metrics, Outlet, Publication, Topic};

/// Locks over which topics are spread.
const SHARDS: usize = 64;

/// One thing passed on, with its number.
#[derive(Debug, Clone)]
pub struct Passed {
    /// Grows with each that is passed on in this process. Who joined at a number is told what has a higher one.
    pub number: u64,
    /// What.
    pub publication: Arc<Publication>,
}

/// Passes on what happens in topics, to the workers that have subscribers.
pub struct Relay {
    shards: Box<[Mutex<Interests>]>,
    /// Keyed: clients choose names.
    hasher: DefaultHashBuilder,
    last: AtomicU64,
    /// Ports that have no room.
    full: Arc<AtomicUsize>,
    limits: Limits,
    metrics: Arc<Metrics>,
}

/// By topic: the workers with subscribers, and how many each has.
type Interests = HashMap<Arc<Topic>, SmallVec<[(Arc<Port>, u32); 2]>, DefaultHashBuilder>;

/// One worker's way in.
pub struct Port {
    queue: Mutex<Queue>,
    wake: Box<dyn Fn() + Send + Sync>,
    full: Arc<AtomicUsize>,
    limits: Limits,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct Queue {
    passed: VecDeque<Passed>,
    bytes: usize,
    is_full: bool,
    /// Topics of which something found no room.
    gapped: HashSet<Arc<Topic>>,
}

impl Relay {
    /// A relay without workers.
    #[must_use]
    pub fn new(limits: Limits, metrics: Arc<Metrics>) -> Arc<Self> {
        let hasher = DefaultHashBuilder::default();
        let shards = (0..SHARDS).map(|_| Mutex::new(HashMap::with_hasher(hasher.clone()))).collect();
        Arc::new(Self { shards, hasher, last: AtomicU64::new(0), full: Arc::default(), limits, metrics })
    }

    /// A way in for one worker; `wake` is called when something waits there again, under a lock: it must not call back.
    pub fn port(&self, wake: impl Fn() + Send + Sync + 'static) -> Arc<Port> {
        let (full, limits, metrics) = (self.full.clone(), self.limits, self.metrics.clone());
        Arc::new(Port { queue: Mutex::default(), wake: Box::new(wake), full, limits, metrics })
    }

    /// Whether some worker has as much waiting as it may: then nothing should be published.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed) > 0
    }

    /// Another subscriber: from now on its port gets what is passed on in the topic; the last number that was passed on
    /// before.
    pub(crate) fn join(&self, topic: &Arc<Topic>, port: &Arc<Port>) -> u64 {
        let mut shard = self.shard(topic);
        let ports = shard.entry(topic.clone()).or_default();
        match ports.iter_mut().find(|(other, _)| Arc::ptr_eq(other, port)) {
            Some((_, subscribers)) => *subscribers += 1,
            None => ports.push((port.clone(), 1)),
        }
        self.last.load(Ordering::Relaxed)
    }

    /// The other way round.
    pub(crate) fn leave(&self, topic: &Arc<Topic>, port: &Arc<Port>) {
        let mut shard = self.shard(topic);
        let Some(ports) = shard.get_mut(topic) else { return };
        ports.retain(|(other, subscribers)| {
            let is_it = Arc::ptr_eq(other, port);
            *subscribers -= u32::from(is_it);
            !is_it || *subscribers > 0
        });
        if ports.is_empty() {
            shard.remove(topic);
        }
    }

    /// Calls with every topic that has subscribers, and with how many. Under a lock: it must not call back.
    pub fn subscribed(&self, mut call: impl FnMut(&Topic, usize)) {
        for shard in &self.shards {
            for (topic, ports) in lock(shard).iter() {
                call(topic, ports.iter().map(|(_, subscribers)| *subscribers as usize).sum());
            }
        }
    }

    fn shard(&self, topic: &Topic) -> MutexGuard<'_, Interests> {
        let hash = self.hasher.hash_one(topic) as usize;
        // The low bits choose the place within a table.
        lock(&self.shards[(hash >> 40) % SHARDS])
    }
}

impl Outlet for Relay {
    fn pass(&self, publication: &Arc<Publication>) {
        let shard = self.shard(&publication.record.topic);
        let Some(ports) = shard.get(&publication.record.topic) else { return };
        let number = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        for (port, _) in ports {
            port.put(Passed { number, publication: publication.clone() });
        }
    }

    fn has_subscribers(&self, topic: &Topic) -> bool {
        self.shard(topic).contains_key(topic)
    }

    fn is_full(&self) -> bool {
        Self::is_full(self)
    }

    fn gap(&self, topic: &Arc<Topic>) {
        let shard = self.shard(topic);
        for (port, _) in shard.get(topic).into_iter().flatten() {
            port.gap(topic);
        }
    }

    fn each(&self, call: &mut dyn FnMut(&Topic)) {
        self.subscribed(|topic, _| call(topic));
    }
}

impl Port {
    fn put(&self, passed: Passed) {
        self.change(|queue| {
            let record = &passed.publication.record;
            let bytes = record.size();
            if queue.passed.len() >= self.limits.passed_queued || queue.bytes + bytes > self.limits.passed_bytes {
                if !queue.is_full {
                    queue.is_full = true;
                    self.full.fetch_add(1, Ordering::Relaxed);
                }
                self.miss(queue, &record.topic);
            } else if queue.gapped.is_empty() || !queue.gapped.contains(&record.topic) {
                // Nothing follows what is missing.
                count(&self.metrics.passed);
                queue.bytes += bytes;
                queue.passed.push_back(passed);
            }
        });
    }

    /// The topic's subscriptions here have to end.
    fn gap(&self, topic: &Arc<Topic>) {
        self.change(|queue| self.miss(queue, topic));
    }

    fn miss(&self, queue: &mut Queue, topic: &Arc<Topic>) {
        if queue.gapped.insert(topic.clone()) {
            count(&self.metrics.gapped);
        }
    }

    fn change(&self, change: impl FnOnce(&mut Queue)) {
        let mut queue = lock(&self.queue);
        let was_empty = queue.passed.is_empty() && queue.gapped.is_empty();
        change(&mut queue);
        drop(queue);
        if was_empty {
            (self.wake)();
        }
    }

    /// Takes what waits, in its order: no more than `max`, and nothing more once that has `bytes_max`. Where nothing is left,
    /// also the topics of which something is missing, whose subscriptions have to end.
    pub fn take(&self, max: usize, bytes_max: usize, passed: &mut Vec<Passed>) -> HashSet<Arc<Topic>> {
        let mut queue = lock(&self.queue);
        let mut bytes = 0;
        let fits = |item: &&Passed| {
            let fits = bytes < bytes_max;
            bytes += if fits { item.publication.record.size() } else { 0 };
            fits
        };
        let count = queue.passed.iter().take(max).take_while(fits).count();
        passed.extend(queue.passed.drain(..count));
        queue.bytes -= bytes;
        if std::mem::take(&mut queue.is_full) {
            self.full.fetch_sub(1, Ordering::Relaxed);
        }
        if queue.passed.is_empty() { std::mem::take(&mut queue.gapped) } else { HashSet::new() }
    }

    /// Whether nothing waits: only then who waits is woken by what comes.
    pub fn is_empty(&self) -> bool {
        let queue = lock(&self.queue);
        queue.passed.is_empty() && queue.gapped.is_empty()
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        if lock(&self.queue).is_full {
            self.full.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// What is behind a lock stays whole whoever panicked meanwhile: every change is one step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
