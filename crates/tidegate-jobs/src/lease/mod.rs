//! What a job may do: grants by namespace, a time that they end at, and budgets.
//!
//! A grant is a pattern, and an operation is about a target: both are made canonical before they meet. Leases only ever
//! narrow: a child's is covered by its parent's, pattern by pattern, and its budget is taken off its parent's.

mod budget;
mod constraints;
mod glob;
mod pattern;
mod target;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

pub use self::budget::Budget;
pub use self::constraints::Constraints;
use self::pattern::Pattern;
use self::target::{Refused, Target};
use crate::{Code, Fault, is_vendors};

/// Longest lease, in bytes of JSON. It bounds the work of a check with the longest target to about 10 ms, for patterns made to be slow;
/// usual ones take microseconds.
const LEASE_BYTES_MAX: usize = 16 << 10;
/// Most patterns of one namespace, and most namespaces.
const PATTERNS_MAX: usize = 128;
/// Longest pattern, in bytes.
const PATTERN_BYTES_MAX: usize = 1024;
/// Most of a target that a message repeats, in characters.
const SHOWN_MAX: usize = 200;

/// The namespace of amounts, which are no patterns.
const BUDGET: &str = "cost.budget";

/// Something that an agent may or may not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Namespace {
    /// `fs.read`: paths.
    FsRead,
    /// `fs.write`: paths.
    FsWrite,
    /// `net.fetch`: URLs.
    NetFetch,
    /// `tool.call`: names of tools.
    ToolCall,
    /// `agent.delegate`: names of agents, with `@version` or without.
    AgentDelegate,
    /// `model.use`: names of models.
    ModelUse,
}

impl Namespace {
    const ALL: [Self; 6] =
        [Self::FsRead, Self::FsWrite, Self::NetFetch, Self::ToolCall, Self::AgentDelegate, Self::ModelUse];

    /// As on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::FsRead => "fs.read",
            Self::FsWrite => "fs.write",
            Self::NetFetch => "net.fetch",
            Self::ToolCall => "tool.call",
            Self::AgentDelegate => "agent.delegate",
            Self::ModelUse => "model.use",
        }
    }

    /// From that. `cost.budget` is none: nothing is done with it.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|namespace| namespace.name() == name)
    }
}

/// Patterns by namespace, as they were written: `{"fs.read":["/workspace/**"],"cost.budget":["USD:5.00"]}`. In the order of
/// their names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Lease {
    grants: BTreeMap<Arc<str>, Vec<Arc<str>>>,
}

impl Lease {
    /// Reads an object of arrays of texts. Null is no grant, for the whole and for a namespace; an empty array is kept, and grants
    /// nothing. Namespaces are the draft's and `x-vendor.<vendor>.<name>`, whose patterns are not looked into.
    ///
    /// # Errors
    /// `INVALID_REQUEST`, with the place: it is something else, a pattern could never match, an amount is none, or there is too
    /// much of it (16 KiB, 128 namespaces, 128 patterns in each, 1,024 bytes a pattern).
    pub fn read(json: &RawValue) -> Result<Self, Fault> {
        if json.get().len() > LEASE_BYTES_MAX {
            return Err(Fault::invalid(format!("lease: it is longer than {LEASE_BYTES_MAX} bytes")));
        }
        let namespaces: Option<BTreeMap<Arc<str>, &RawValue>> =
            serde_json::from_str(json.get()).map_err(|_| Fault::invalid("lease: an object of arrays of texts"))?;
        let mut lease = Self::default();
        for (namespace, patterns) in namespaces.unwrap_or_default() {
            if lease.grants.len() == PATTERNS_MAX {
                return Err(Fault::invalid(format!("lease: more than {PATTERNS_MAX} namespaces")));
            }
            let patterns: Option<Vec<Arc<str>>> = serde_json::from_str(patterns.get())
                .map_err(|_| Fault::invalid(format!("lease.{}: an array of texts", shown(&namespace))))?;
            if let Some(patterns) = patterns {
                check(&namespace, &patterns)?;
                lease.grants.insert(namespace, patterns);
            }
        }
        Ok(lease)
    }

    /// Whether it grants nothing and limits nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.grants.is_empty()
    }

    /// Whether it says anything of a namespace, be it that nothing is granted. Of `model.use` that is another thing than not to name it
    /// where a runtime does not require it.
    #[must_use]
    pub fn names(&self, namespace: &str) -> bool {
        self.grants.contains_key(namespace)
    }

    /// The patterns of a namespace, as they were written.
    #[must_use]
    pub fn patterns(&self, namespace: &str) -> &[Arc<str>] {
        self.grants.get(namespace).map_or(&[], Vec::as_slice)
    }

    /// Whether that may be done with the target. It is made canonical first: `/a/../b` is `/b`, `HTTP://Host:80` is `http://host/`.
    /// An agent's version counts only where a pattern has one (`name@version`).
    ///
    /// # Errors
    /// `PERMISSION_DENIED`: no pattern matches it, or it could be read in two ways.
    pub fn permits(&self, op: Namespace, target: &str) -> Result<(), Fault> {
        let denied = |why: &str| {
            let message = format!("the lease does not permit {} of {:?}: {why}", op.name(), shown(target));
            Err(Fault::new(Code::PermissionDenied, message))
        };
        let canonical = match Target::read(op, target) {
            Ok(canonical) => canonical,
            Err(Refused(why)) => return denied(why),
        };
        let mut patterns = self.patterns(op.name()).iter().filter_map(|pattern| Pattern::read(op, pattern).ok());
        if patterns.any(|pattern| pattern.matches(&canonical)) { Ok(()) } else { denied("no pattern matches") }
    }

    /// Whether all that `child` permits is permitted here: each of its patterns is under one of this lease's. Amounts are not compared
    /// ([`Budget::reserve`]). A vendor's pattern is only under the same one. A child does not get rid of a list of models by not naming
    /// `model.use`: see [`under`](Self::under).
    ///
    /// # Errors
    /// `LEASE_SUBSET_VIOLATION`, with the first place.
    pub fn covers(&self, child: &Self) -> Result<(), Fault> {
        let violation =
            |place: String, why: &str| Err(Fault::new(Code::LeaseSubsetViolation, format!("{place}: {why}")));
        let models = Namespace::ModelUse.name();
        if self.names(models) && !child.names(models) {
            return violation(format!("lease.{models}"), "the parent has a list of models, so a child has one");
        }
        for (namespace, patterns) in child.grants.iter().filter(|(namespace, _)| &***namespace != BUDGET) {
            for (at, pattern) in patterns.iter().enumerate() {
                if !self.has(namespace, pattern) {
                    return violation(format!("lease.{namespace}[{at}]"), "it is not within the parent's lease");
                }
            }
        }
        Ok(())
    }

    /// This one, as what a child of `parent` asked for: it is given an empty list of models where its parent has a list and it named none.
    #[must_use]
    pub fn under(mut self, parent: &Self) -> Self {
        let models = Namespace::ModelUse.name();
        if parent.names(models) && !self.names(models) {
            self.grants.insert(models.into(), Vec::new());
        }
        self
    }

    /// What may be spent at the start; `None` where there is no `cost.budget`.
    #[must_use]
    pub fn budget(&self) -> Option<Budget> {
        self.grants
            .get(BUDGET)
            .and_then(|amounts| Budget::of(amounts).ok())
            .filter(|budget| budget.iter().next().is_some())
    }

    fn has(&self, namespace: &str, child: &str) -> bool {
        let own = self.patterns(namespace);
        let Some(known) = Namespace::named(namespace) else { return own.iter().any(|pattern| &**pattern == child) };
        let Ok(child) = Pattern::read(known, child) else { return false };
        own.iter().filter_map(|pattern| Pattern::read(known, pattern).ok()).any(|pattern| pattern.covers(&child))
    }
}

/// Whether these may be the patterns of that namespace.
fn check(namespace: &str, patterns: &[Arc<str>]) -> Result<(), Fault> {
    let known = Namespace::named(namespace);
    if known.is_none() && namespace != BUDGET && !is_vendors(namespace) {
        return Err(Fault::invalid(format!("lease.{}: there is no such namespace", shown(namespace))));
    }
    if patterns.len() > PATTERNS_MAX {
        return Err(Fault::invalid(format!("lease.{namespace}: more than {PATTERNS_MAX} patterns")));
    }
    for (at, pattern) in patterns.iter().enumerate() {
        let refused = match known {
            _ if pattern.len() > PATTERN_BYTES_MAX => Some("it is longer than 1024 bytes"),
            Some(known) => Pattern::read(known, pattern).err().map(|Refused(why)| why),
            None => None,
        };
        if let Some(why) = refused {
            return Err(Fault::invalid(format!("lease.{namespace}[{at}]: {why}")));
        }
    }
    if namespace == BUDGET {
        let place = |(at, fault): (usize, Fault)| Fault::invalid(format!("lease.{namespace}[{at}]: {}", fault.message));
        Budget::of(patterns).map_err(place)?;
    }
    Ok(())
}

/// As much of a text as a message repeats.
fn shown(text: &str) -> &str {
    text.char_indices().nth(SHOWN_MAX).map_or(text, |(end, _)| &text[..end])
}
