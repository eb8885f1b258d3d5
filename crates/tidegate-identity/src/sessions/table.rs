//! Sessions in memory: each one allocation, in tables that are small enough to grow without a pause.

use std::hash::{BuildHasher, RandomState};

use hashbrown::{HashTable, TryReserveError};

use super::snapshot::Snapshot;

/// A table that is full is copied whole into one of twice its size: at 1,000,000 sessions that is some 4,000 at a time.
const SHARDS: usize = 256;

/// Hashes ids, with keys of its own so that nobody can choose ids that collide.
#[derive(Clone, Default)]
pub(super) struct Hasher(RandomState);

impl Hasher {
    pub(super) fn hash(&self, id: &str) -> u64 {
        self.0.hash_one(id)
    }
}

/// A session: its id, its user and its public key, one behind the other.
pub(super) struct Packed {
    text: Box<str>,
    id_bytes: u16,
    user_bytes: u16,
}

impl Packed {
    /// `None` where there is no memory for it, or it is longer than any session that was decoded.
    pub(super) fn new(snapshot: &Snapshot) -> Option<Self> {
        let (id_bytes, user_bytes) = (snapshot.id.len().try_into().ok()?, snapshot.user.len().try_into().ok()?);
        let mut text = String::new();
        text.try_reserve_exact(snapshot.id.len() + snapshot.user.len() + snapshot.public_key.len()).ok()?;
        for part in [&*snapshot.id, &*snapshot.user, &*snapshot.public_key] {
            text.push_str(part);
        }
        Some(Self { text: text.into_boxed_str(), id_bytes, user_bytes })
    }

    pub(super) fn id(&self) -> &str {
        &self.text[..usize::from(self.id_bytes)]
    }

    pub(super) fn user(&self) -> &str {
        &self.text[usize::from(self.id_bytes)..][..usize::from(self.user_bytes)]
    }

    pub(super) fn public_key(&self) -> &str {
        &self.text[usize::from(self.id_bytes) + usize::from(self.user_bytes)..]
    }
}

/// Sessions by id. Every `hash` is that of [`Hasher::hash`] for the id, by the same hasher.
pub(super) struct Table {
    shards: Box<[HashTable<Packed>]>,
    len: usize,
    /// Where [`Table::evict`] goes on: a shard, and a bucket in it.
    hand: (usize, usize),
}

impl Table {
    pub(super) fn new() -> Self {
        Self { shards: (0..SHARDS).map(|_| HashTable::new()).collect(), len: 0, hand: (0, 0) }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn find(&self, hash: u64, id: &str) -> Option<&Packed> {
        self.shards[shard_of(hash)].find(hash, |packed| packed.id() == id)
    }

    /// Takes in one that is not there.
    ///
    /// # Errors
    /// There is no memory.
    pub(super) fn insert(&mut self, hash: u64, packed: Packed, hasher: &Hasher) -> Result<(), TryReserveError> {
        let rehash = |packed: &Packed| hasher.hash(packed.id());
        let shard = &mut self.shards[shard_of(hash)];
        shard.try_reserve(1, rehash)?;
        shard.insert_unique(hash, packed, rehash);
        self.len += 1;
        Ok(())
    }

    /// Whether it was there.
    pub(super) fn remove(&mut self, hash: u64, id: &str) -> bool {
        let there = self.shards[shard_of(hash)].find_entry(hash, |packed| packed.id() == id);
        let was_there = there.map(|entry| entry.remove()).is_ok();
        self.len -= usize::from(was_there);
        was_there
    }

    /// Removes one, going round through all of them: by their hashes, so as good as any. `false` when there is none.
    pub(super) fn evict(&mut self) -> bool {
        // Once round, and what is before the hand in the shard where it began.
        for _ in 0..=SHARDS {
            let shard = &mut self.shards[self.hand.0];
            while !shard.is_empty() && self.hand.1 < shard.num_buckets() {
                self.hand.1 += 1;
                if let Ok(there) = shard.get_bucket_entry(self.hand.1 - 1) {
                    there.remove();
                    self.len -= 1;
                    return true;
                }
            }
            self.hand = ((self.hand.0 + 1) % SHARDS, 0);
        }
        false
    }
}

/// By bits that the tables themselves do not use: they take the lowest and the highest seven.
fn shard_of(hash: u64) -> usize {
    (hash >> 40) as usize % SHARDS
}
