//! Who is present in one topic, and what changed lately.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};

use crate::{ClientInfo, Members, Presence, PresenceAsk};

/// Changes remembered at most for those who ask for the difference.
const CHANGES_MAX: usize = 1_024;
/// As many of them for each member: a longer difference is no better than the members themselves. One who comes and goes all
/// the time makes no small topic a large one.
const CHANGES_EACH: usize = 4;
/// As many in any case.
const CHANGES_MIN: usize = 64;

/// Members of one topic, by the public name of their connection. Versions are numbers of the process that only grow, so one
/// that was told before everybody had left, or by another process, is known to be older than what is remembered.
pub(super) struct Present {
    members: BTreeMap<Arc<str>, Arc<ClientInfo>>,
    /// How many members each user is.
    users: HashMap<Arc<str>, usize>,
    version: u64,
    changes: VecDeque<Change>,
    /// The version before the oldest remembered change.
    since: u64,
}

struct Change {
    version: u64,
    name: Arc<str>,
    before: Option<Arc<ClientInfo>>,
}

/// What a join was.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Joining {
    /// A member more.
    New,
    /// A member with other words.
    Changed,
    /// Nothing new.
    Same,
}

impl Present {
    /// Nobody, at a version.
    pub(super) fn new(version: u64) -> Self {
        let (members, users, changes) = (BTreeMap::new(), HashMap::new(), VecDeque::new());
        Self { members, users, version, changes, since: version }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// How many.
    pub(super) fn clients(&self) -> usize {
        self.members.len()
    }

    /// Enters a member. `version` is greater than any before, and taken if this changes something.
    pub(super) fn join(&mut self, member: Arc<ClientInfo>, version: u64) -> Joining {
        let name = member.client.clone();
        if self.members.get(&name).is_some_and(|known| *known == member) {
            return Joining::Same;
        }
        *self.users.entry(member.user.clone()).or_default() += 1;
        let before = self.members.insert(name.clone(), member);
        if let Some(before) = &before {
            self.forget_user(&before.user);
        }
        let joining = if before.is_some() { Joining::Changed } else { Joining::New };
        self.note(Change { version, name, before });
        joining
    }

    /// The member that is none any more, if it was one.
    pub(super) fn leave(&mut self, name: &str, version: u64) -> Option<Arc<ClientInfo>> {
        let (name, member) = self.members.remove_entry(name)?;
        self.forget_user(&member.user);
        self.note(Change { version, name, before: Some(member.clone()) });
        Some(member)
    }

    fn forget_user(&mut self, user: &Arc<str>) {
        if let Some(members) = self.users.get_mut(user) {
            *members -= 1;
            if *members == 0 {
                self.users.remove(user);
            }
        }
    }

    fn note(&mut self, change: Change) {
        self.version = change.version;
        self.changes.push_back(change);
        let max = (self.members.len() * CHANGES_EACH).clamp(CHANGES_MIN, CHANGES_MAX);
        while self.changes.len() > max
            && let Some(oldest) = self.changes.pop_front()
        {
            self.since = oldest.version;
        }
    }

    /// Answers.
    pub(super) fn tell(&self, ask: &PresenceAsk) -> Presence {
        let known = |since: &u64| (self.since..=self.version).contains(since);
        let members = match ask.since.filter(known) {
            Some(since) if ask.limit > 0 => self.difference(since),
            _ => self.page(ask.after.as_deref(), ask.limit),
        };
        Presence { version: self.version, clients: self.members.len(), users: self.users.len(), members }
    }

    fn difference(&self, since: u64) -> Members {
        let (mut joined, mut left) = (Vec::new(), Vec::new());
        let mut seen = HashSet::new();
        let from = self.changes.partition_point(|change| change.version <= since);
        for Change { name, before, .. } in self.changes.range(from..) {
            // The first change of a name tells how it was.
            if !seen.insert(name) {
                continue;
            }
            match self.members.get(name) {
                Some(member) if before.as_ref() != Some(member) => joined.push(member.clone()),
                None if before.is_some() => left.push(name.clone()),
                _ => {}
            }
        }
        Members::Changes { joined, left }
    }

    fn page(&self, after: Option<&str>, limit: usize) -> Members {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut rest = self.members.range::<str, _>((from, Bound::Unbounded));
        let members: Vec<_> = rest.by_ref().take(limit).map(|(_, member)| member.clone()).collect();
        let more = rest.next().is_some();
        let next = members.last().map(|member| member.client.clone()).filter(|_| more);
        Members::Page(members, next)
    }
}
