//! Ephemeral entries: which there are, whose they are, and when their time is over. No clock, no lock.
//!
//! # Invariants
//! - An entry is owned by one connection of its topic's tenant. What each connection owns is listed, so that clearing it
//!   costs in proportion to that.
//! - One table finds an entry by topic and key, and a topic lists its entries in the order of their keys: setting a key again
//!   needs only the former, listing only the latter. Whatever clients choose is hashed with a secret: none can make a
//!   table slow.
//! - Each entry waits in `timers` exactly once, at its deadline or before it: a longer life leaves it there, and it moves on
//!   when its turn comes. So refreshing touches no timer, and there are never more timers than entries.
//! - An entry at or past its deadline is gone for [`Entries::list`] and [`Entries::clear`]. Until [`Entries::expire`] comes to it
//!   it still counts against its owner's cap and the cap of all, and whoever sets its key meanwhile replaces it: that it
//!   expired is told no more, since the key has a value again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use bytes::Bytes;
use hashbrown::HashTable;
use slab::Slab;

use crate::{Entry, Limits, Owner, Set, Topic, TopicError};

/// For who does not say.
const TTL_MS: u64 = 60_000;
/// For who says more.
const TTL_MS_MAX: u64 = 30 * 60_000;
/// Longest key, in bytes.
const KEY_BYTES_MAX: usize = 255;

/// All entries of this process.
pub(crate) struct Entries {
    held: Slab<Held>,
    /// By topic and key, with the hash of both: growing reads no entry.
    places: HashTable<(u64, usize)>,
    secret: RandomState,
    topics: HashMap<Arc<Topic>, BTreeMap<Sorted, usize>>,
    owned: HashMap<Owner, Vec<usize>>,
    /// When to look at which entry.
    timers: BTreeSet<(u64, usize)>,
    /// Of all payloads.
    bytes: usize,
    limits: Limits,
}

/// A key as it is sorted: its first bytes stand before it, so that few comparisons have to look further.
type Sorted = (u128, Arc<str>);

struct Held {
    topic: Arc<Topic>,
    key: Arc<str>,
    payload: Bytes,
    /// The owner's public name; its tenant is the topic's.
    client: Arc<str>,
    /// Where it is in the list of what the owner owns.
    nth: usize,
    deadline_ms: u64,
    /// When it is looked at: not after the deadline.
    timer_ms: u64,
}

/// An entry that is no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Gone {
    /// Where it was.
    pub(crate) topic: Arc<Topic>,
    /// Within the topic.
    pub(crate) key: Arc<str>,
    /// The public name of who owned it.
    pub(crate) client: Arc<str>,
    /// When its time was over, or would have been.
    pub(crate) deadline_ms: u64,
}

impl Entries {
    /// None yet.
    pub(crate) fn new(limits: Limits) -> Self {
        let (held, places, secret) = (Slab::new(), HashTable::new(), RandomState::new());
        let (topics, owned, timers) = (HashMap::new(), HashMap::new(), BTreeSet::new());
        Self { held, places, secret, topics, owned, timers, bytes: 0, limits }
    }

    /// Sets an entry, whoever of the tenant owned it before. The payload is kept as it is: it must be no part of something
    /// much larger.
    ///
    /// # Errors
    /// [`TopicError::NotAvailable`], [`TopicError::UnknownClient`] for an owner of another tenant, [`TopicError::Key`],
    /// [`TopicError::TooLarge`], [`TopicError::TooManyKeys`], [`TopicError::Full`]. Nothing has changed then.
    pub(crate) fn set(&mut self, set: &Set, now_ms: u64) -> Result<(), TopicError> {
        check(&set.topic, &set.key)?;
        if set.owner.tenant != set.topic.tenant {
            return Err(TopicError::UnknownClient);
        }
        if set.payload.len() > self.limits.ephemeral_bytes {
            return Err(TopicError::TooLarge(self.limits.ephemeral_bytes));
        }
        let deadline_ms = now_ms.saturating_add(ttl_ms(set.ttl_ms));
        let Some(at) = self.find(&set.topic, &set.key) else { return self.insert(set, deadline_ms) };
        let before = self.held[at].payload.len();
        self.check_bytes(set.payload.len().saturating_sub(before))?;
        if self.held[at].client != set.owner.client {
            self.check_room(&set.owner)?;
            self.release(at);
            self.own(at, &set.owner);
        }
        self.bytes = self.bytes - before + set.payload.len();
        self.held[at].payload = set.payload.clone();
        self.prolong(at, deadline_ms);
        Ok(())
    }

    /// Removes an entry that lives and is the owner's, if that is so.
    ///
    /// # Errors
    /// [`TopicError::NotAvailable`], [`TopicError::Key`].
    pub(crate) fn clear(
        &mut self,
        topic: &Topic,
        key: &str,
        owner: &Owner,
        now_ms: u64,
    ) -> Result<Option<Gone>, TopicError> {
        check(topic, key)?;
        let Some(at) = self.find(topic, key) else { return Ok(None) };
        let held = &self.held[at];
        if owner.tenant != topic.tenant || held.client != owner.client || held.deadline_ms <= now_ms {
            return Ok(None);
        }
        self.release(at);
        Ok(Some(self.remove(at)))
    }

    /// The live entries of a topic, sorted by key.
    ///
    /// # Errors
    /// [`TopicError::NotAvailable`]; [`TopicError::TooMuch`] if keys and payloads have more than `bytes_max` bytes.
    pub(crate) fn list(&self, topic: &Topic, now_ms: u64, bytes_max: usize) -> Result<Vec<Entry>, TopicError> {
        check_available(topic)?;
        let Some(keys) = self.topics.get(topic) else { return Ok(Vec::new()) };
        // First what is only read, so that the processor can fetch it ahead: it waits for each count of references.
        let live: Vec<_> = keys.values().map(|at| &self.held[*at]).filter(|held| held.deadline_ms > now_ms).collect();
        if live.iter().map(|held| held.key.len() + held.payload.len()).sum::<usize>() > bytes_max {
            return Err(TopicError::TooMuch(bytes_max));
        }
        let entry = |held: &Held| Entry {
            key: (*held.key).into(),
            payload: held.payload.clone(),
            client: held.client.clone(),
            expires_in_ms: held.deadline_ms - now_ms,
        };
        Ok(live.into_iter().map(entry).collect())
    }

    /// Removes all that somebody owns.
    pub(crate) fn disown(&mut self, owner: &Owner) -> Vec<Gone> {
        let owned = self.owned.remove(owner).unwrap_or_default();
        owned.into_iter().map(|at| self.remove(at)).collect()
    }

    /// Removes entries whose time is over, in the order of their timers. It looks at no more than `max`.
    pub(crate) fn expire(&mut self, now_ms: u64, max: usize) -> Vec<Gone> {
        let mut gone = Vec::new();
        for _ in 0..max {
            let Some(&(timer_ms, at)) = self.timers.first().filter(|(timer_ms, _)| *timer_ms <= now_ms) else { break };
            let deadline_ms = self.held[at].deadline_ms;
            if deadline_ms > now_ms {
                self.rearm(at, timer_ms, deadline_ms);
            } else {
                self.release(at);
                gone.push(self.remove(at));
            }
        }
        gone
    }

    /// When to call [`Entries::expire`] next: no entry's time is over before.
    pub(crate) fn next_deadline(&self) -> Option<u64> {
        self.timers.first().map(|(timer_ms, _)| *timer_ms)
    }

    /// How many there are, such as have expired and were not removed yet included.
    pub(crate) fn len(&self) -> usize {
        self.held.len()
    }

    fn find(&self, topic: &Topic, key: &str) -> Option<usize> {
        let hash = self.secret.hash_one((topic, key));
        self.places.find(hash, |place| self.is_at(*place, hash, topic, key)).map(|(_, at)| *at)
    }

    fn is_at(&self, (hashed, at): (u64, usize), hash: u64, topic: &Topic, key: &str) -> bool {
        hashed == hash && *self.held[at].key == *key && *self.held[at].topic == *topic
    }

    fn insert(&mut self, set: &Set, deadline_ms: u64) -> Result<(), TopicError> {
        self.check_room(&set.owner)?;
        if self.held.len() >= self.limits.entries {
            return Err(TopicError::Full(self.limits.entries));
        }
        self.check_bytes(set.payload.len())?;
        self.bytes += set.payload.len();
        let (topic, key, client) = (set.topic.clone(), Arc::from(&*set.key), set.owner.client.clone());
        let payload = set.payload.clone();
        let held = Held { topic, key: Arc::clone(&key), payload, client, nth: 0, deadline_ms, timer_ms: deadline_ms };
        let at = self.held.insert(held);
        let hash = self.secret.hash_one((&*set.topic, &*key));
        self.places.insert_unique(hash, (hash, at), |(hash, _)| *hash);
        self.topics.entry(set.topic.clone()).or_default().insert(sorted(key), at);
        self.timers.insert((deadline_ms, at));
        self.own(at, &set.owner);
        Ok(())
    }

    /// Of an entry that nobody owns any longer.
    fn remove(&mut self, at: usize) -> Gone {
        let Held { topic, key, payload, client, deadline_ms, timer_ms, .. } = self.held.remove(at);
        self.bytes -= payload.len();
        self.timers.remove(&(timer_ms, at));
        let hash = self.secret.hash_one((&*topic, &*key));
        if let Ok(place) = self.places.find_entry(hash, |place| place.1 == at) {
            place.remove();
        }
        if let Some(keys) = self.topics.get_mut(&topic) {
            keys.remove(&sorted(key.clone()));
            if keys.is_empty() {
                self.topics.remove(&topic);
            }
        }
        Gone { topic, key, client, deadline_ms }
    }

    fn check_bytes(&self, more: usize) -> Result<(), TopicError> {
        let bytes_max = self.limits.entries_bytes;
        if more > 0 && self.bytes + more > bytes_max { Err(TopicError::Full(bytes_max)) } else { Ok(()) }
    }

    fn check_room(&self, owner: &Owner) -> Result<(), TopicError> {
        let owned = self.owned.get(owner).map_or(0, Vec::len);
        if owned >= self.limits.owned_keys { Err(TopicError::TooManyKeys(self.limits.owned_keys)) } else { Ok(()) }
    }

    fn own(&mut self, at: usize, owner: &Owner) {
        let owned = match self.owned.get_mut(owner) {
            Some(owned) => owned,
            None => self.owned.entry(owner.clone()).or_default(),
        };
        let held = &mut self.held[at];
        held.client = owner.client.clone();
        held.nth = owned.len();
        owned.push(at);
    }

    /// Takes an entry off the list of what its owner owns.
    fn release(&mut self, at: usize) {
        let Held { topic, client, nth, .. } = &self.held[at];
        let (owner, nth) = (Owner { tenant: topic.tenant.clone(), client: client.clone() }, *nth);
        let Some(owned) = self.owned.get_mut(&owner) else { return };
        owned.swap_remove(nth);
        if let Some(moved) = owned.get(nth) {
            self.held[*moved].nth = nth;
        }
        if owned.is_empty() {
            self.owned.remove(&owner);
        }
    }

    fn prolong(&mut self, at: usize, deadline_ms: u64) {
        let held = &mut self.held[at];
        held.deadline_ms = deadline_ms;
        let timer_ms = held.timer_ms;
        if deadline_ms < timer_ms {
            self.rearm(at, timer_ms, deadline_ms);
        }
    }

    fn rearm(&mut self, at: usize, from_ms: u64, to_ms: u64) {
        self.timers.remove(&(from_ms, at));
        self.timers.insert((to_ms, at));
        self.held[at].timer_ms = to_ms;
    }
}

fn sorted(key: Arc<str>) -> Sorted {
    let mut first = [0; 16];
    let length = key.len().min(first.len());
    first[..length].copy_from_slice(&key.as_bytes()[..length]);
    // Big endian compares as the bytes do.
    (u128::from_be_bytes(first), key)
}

fn ttl_ms(asked_ms: i64) -> u64 {
    match u64::try_from(asked_ms) {
        Ok(0) | Err(_) => TTL_MS,
        Ok(ttl_ms) => ttl_ms.min(TTL_MS_MAX),
    }
}

fn check(topic: &Topic, key: &str) -> Result<(), TopicError> {
    check_available(topic)?;
    if key.is_empty() {
        return Err(TopicError::Key("must not be empty"));
    }
    if key.len() > KEY_BYTES_MAX {
        return Err(TopicError::Key("must have at most 255 bytes"));
    }
    if key.chars().any(char::is_control) {
        return Err(TopicError::Key("must have no control characters"));
    }
    Ok(())
}

fn check_available(topic: &Topic) -> Result<(), TopicError> {
    if topic.options.ephemeral { Ok(()) } else { Err(TopicError::NotAvailable("ephemeral state")) }
}

#[cfg(test)]
impl Entries {
    pub(super) fn timers(&self) -> usize {
        self.timers.len()
    }

    pub(super) fn owned(&self, owner: &Owner) -> usize {
        self.owned.get(owner).map_or(0, Vec::len)
    }

    /// Every list agrees with every other, and none is kept empty.
    pub(super) fn check_invariants(&self) {
        assert_eq!(self.timers.len(), self.held.len());
        assert_eq!(self.places.len(), self.held.len());
        assert_eq!(self.topics.values().map(BTreeMap::len).sum::<usize>(), self.held.len());
        assert_eq!(self.owned.values().map(Vec::len).sum::<usize>(), self.held.len());
        assert!(
            self.topics.values().all(|keys| !keys.is_empty()) && self.owned.values().all(|owned| !owned.is_empty())
        );
        for (at, held) in &self.held {
            assert!(held.timer_ms <= held.deadline_ms && self.timers.contains(&(held.timer_ms, at)));
            assert_eq!(self.topics[&held.topic][&sorted(held.key.clone())], at);
            assert_eq!(self.find(&held.topic, &held.key), Some(at));
            let owner = Owner { tenant: held.topic.tenant.clone(), client: held.client.clone() };
            assert_eq!(self.owned[&owner][held.nth], at);
        }
    }
}
