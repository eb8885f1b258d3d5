//! The sessions held in memory, and the look-ups under way. It is pure: whoever has it locks it, reads the stream and looks up.
//!
//! # Invariants
//! - What is held about a session is what its newest entry said, or what a look-up found that began after it.
//! - A look-up ends in [`Finished::Overtaken`] if an entry that names its session was applied since it began, or all was
//!   emptied: what it found may be older than that.
//! - There are never more sessions than the cap. Past it an active one goes, and a revoked one only if there is no other:
//!   either is found again by a look-up.

use std::collections::HashMap;
use std::sync::Arc;

use super::snapshot::{Malformed, Snapshot};
use super::table::{Hasher, Packed, Table};

/// What is known about a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Known<'a> {
    /// Whose it is.
    pub(crate) user: &'a str,
    /// As it was written.
    pub(crate) public_key: &'a str,
    /// Whether it ended.
    pub(crate) is_revoked: bool,
}

/// One look-up, by number: no two of a cache are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Flight(u64);

/// What to do about a session that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Begin {
    /// Nothing: it is held.
    Known,
    /// Wait for this look-up.
    Joined(Flight),
    /// Look it up, then say so to [`Cache::finish`] whatever came of it.
    Started(Flight),
    /// Refuse: as many look-ups as may be are under way.
    Busy,
}

/// What came of a look-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Finished {
    /// It is held.
    Stored,
    /// There is no such session, or it could not be stored.
    Unknown,
    /// What was found may be out of date and is thrown away.
    Overtaken,
}

/// What came of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Applied {
    /// The session is held as active.
    Active,
    /// It is held as revoked: what is bound to it has to end.
    Revoked(Arc<str>),
    /// The entry is malformed; nothing is held about the session that it names.
    Dropped(Arc<str>),
    /// There was no room for it; nothing is held about the session.
    Unstored(Arc<str>),
    /// The entry is malformed and names no session.
    Nameless,
}

/// See the module.
pub(crate) struct Cache {
    cap: usize,
    hasher: Hasher,
    /// An id is in one of the two at most.
    active: Table,
    revoked: Table,
    evicted: u64,
    /// The look-ups that nothing has overtaken.
    flights: HashMap<Arc<str>, Flight>,
    flights_max: usize,
    /// All that were started and not finished.
    flying: usize,
    next_flight: u64,
}

impl Cache {
    /// Holds nothing; at most `cap` sessions, but one always, and at most `flights_max` look-ups.
    pub(crate) fn new(cap: usize, flights_max: usize) -> Self {
        Self {
            cap: cap.max(1),
            hasher: Hasher::default(),
            active: Table::new(),
            revoked: Table::new(),
            evicted: 0,
            flights: HashMap::new(),
            flights_max,
            flying: 0,
            next_flight: 0,
        }
    }

    /// What is held about a session.
    pub(crate) fn get(&self, id: &str) -> Option<Known<'_>> {
        let hash = self.hasher.hash(id);
        let known = |packed, is_revoked| Known {
            user: Packed::user(packed),
            public_key: Packed::public_key(packed),
            is_revoked,
        };
        let active = self.active.find(hash, id).map(|packed| known(packed, false));
        active.or_else(|| self.revoked.find(hash, id).map(|packed| known(packed, true)))
    }

    /// A session is asked for.
    pub(crate) fn begin(&mut self, id: &str) -> Begin {
        if self.get(id).is_some() {
            return Begin::Known;
        }
        if let Some(&flight) = self.flights.get(id) {
            return Begin::Joined(flight);
        }
        if self.flying >= self.flights_max {
            return Begin::Busy;
        }
        let flight = Flight(self.next_flight);
        self.next_flight += 1;
        self.flying += 1;
        self.flights.insert(id.into(), flight);
        Begin::Started(flight)
    }

    /// A look-up that was started is over; `found` is `None` if there is no such session, and also if it failed. A session
    /// of another id is none.
    pub(crate) fn finish(&mut self, id: &str, flight: Flight, found: Option<&Snapshot>) -> Finished {
        self.flying = self.flying.saturating_sub(1);
        if self.flights.get(id) != Some(&flight) {
            return Finished::Overtaken;
        }
        self.flights.remove(id);
        match found {
            Some(snapshot) if *snapshot.id == *id && self.store(snapshot) => Finished::Stored,
            _ => Finished::Unknown,
        }
    }

    /// Takes in an entry of the stream, in the stream's order.
    pub(crate) fn apply(&mut self, entry: Result<Snapshot, Malformed>) -> Applied {
        match entry {
            Ok(snapshot) => {
                self.flights.remove(&snapshot.id);
                match self.store(&snapshot) {
                    false => Applied::Unstored(snapshot.id),
                    true if snapshot.is_revoked => Applied::Revoked(snapshot.id),
                    true => Applied::Active,
                }
            }
            Err(Malformed { names: Some(id), .. }) => {
                self.drop_session(&id);
                Applied::Dropped(id)
            }
            Err(Malformed { names: None, .. }) => Applied::Nameless,
        }
    }

    /// Forgets a session, and overtakes its look-up. Whether it was held.
    pub(crate) fn drop_session(&mut self, id: &str) -> bool {
        self.flights.remove(id);
        self.remove(self.hasher.hash(id), id)
    }

    /// Forgets all, and overtakes all look-ups. To free what it gives takes long: not under a lock.
    #[must_use]
    pub(crate) fn empty(&mut self) -> impl Send + use<> {
        self.flights.clear();
        (std::mem::replace(&mut self.active, Table::new()), std::mem::replace(&mut self.revoked, Table::new()))
    }

    /// Sessions held.
    pub(crate) fn len(&self) -> usize {
        self.active.len() + self.revoked.len()
    }

    /// Sessions that had to go for others so far.
    pub(crate) fn evicted(&self) -> u64 {
        self.evicted
    }

    fn remove(&mut self, hash: u64, id: &str) -> bool {
        self.active.remove(hash, id) || self.revoked.remove(hash, id)
    }

    /// Holds this instead of what is held about the session; `false` if there is no room, and then nothing is.
    fn store(&mut self, snapshot: &Snapshot) -> bool {
        let hash = self.hasher.hash(&snapshot.id);
        self.remove(hash, &snapshot.id);
        let Some(packed) = Packed::new(snapshot) else { return false };
        while self.len() >= self.cap && (self.active.evict() || self.revoked.evict()) {
            self.evicted += 1;
        }
        let table = if snapshot.is_revoked { &mut self.revoked } else { &mut self.active };
        table.insert(hash, packed, &self.hasher).is_ok()
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
