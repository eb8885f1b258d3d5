//! Grants: one permission of the configuration, as it is held against principals.

use globset::{Glob, GlobMatcher};
use serde_json::Value;
use tidegate_model::EntityId;

use super::Rows;
use crate::Principal;

/// The role that everybody has, strangers among them.
const EVERYBODY: &str = "*";

/// One permission: what it grants, and to whom.
#[derive(Debug, Clone)]
pub struct Grant {
    /// To whom.
    pub to: Audience,
    /// What.
    pub rights: Rights,
}

/// Who a permission is granted to.
#[derive(Debug, Clone, Default)]
pub struct Audience {
    /// Whoever has one of these roles; `*` is everybody.
    pub roles: Vec<Box<str>>,
    /// And all of these claims: equal, or in the claim where that is a list.
    pub claims: Vec<(Box<str>, Value)>,
}

/// What a permission grants.
#[derive(Debug, Clone)]
pub enum Rights {
    /// On rows.
    Rows {
        /// May see them.
        read: bool,
        /// May change them.
        write: bool,
        /// Which.
        of: Vec<EntityRights>,
    },
    /// On topics.
    Topics {
        /// What may be done there.
        may: Vec<TopicVerb>,
        /// Which.
        topics: Patterns,
    },
    /// On agents.
    Agents {
        /// What may be done with them.
        may: Vec<AgentVerb>,
        /// Which.
        agents: Patterns,
    },
}

/// Rows and columns of one entity.
#[derive(Debug, Clone)]
pub struct EntityRights {
    /// Which.
    pub entity: EntityId,
    /// Which of its rows.
    pub rows: Rows,
    /// Which of its columns, a bit each; the key's always among them.
    pub columns: u128,
}

/// What may be done with a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are the wire's")]
pub enum TopicVerb {
    Subscribe,
    Publish,
    Presence,
    History,
}

/// What may be done with an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are the wire's")]
pub enum AgentVerb {
    Submit,
    Observe,
    /// Be a worker that its jobs run on, whoever submits them.
    Serve,
}

/// Names of topics or agents, as globs: `*` is any text, `{a,b}` either, `[ab]` one of these.
#[derive(Debug, Clone)]
pub struct Patterns(Vec<GlobMatcher>);

impl Audience {
    /// Whether the principal is one of them.
    pub(super) fn has(&self, principal: &Principal) -> bool {
        let has_role = |role: &str| role == EVERYBODY || principal.roles.iter().any(|own| **own == *role);
        let has_claim = |(name, wanted): &(Box<str>, Value)| match principal.claims.get(&**name) {
            Some(Value::Array(all)) => all.contains(wanted),
            Some(claim) => claim == wanted,
            None => false,
        };
        self.roles.iter().any(|role| has_role(role)) && self.claims.iter().all(has_claim)
    }
}

impl Rights {
    /// The claims that rows follow from.
    pub(super) fn claims(&self) -> impl Iterator<Item = &str> {
        let rows: &[EntityRights] = if let Rights::Rows { of, .. } = self { of } else { &[] };
        rows.iter().flat_map(|rights| rights.rows.claims())
    }
}

impl Patterns {
    /// Reads the patterns.
    ///
    /// # Errors
    /// Which of them is none, and why not.
    pub fn new(patterns: &[String]) -> Result<Self, (usize, String)> {
        let read = |(i, pattern): (usize, &String)| match Glob::new(pattern) {
            Ok(_) if pattern.is_empty() => Err((i, "is empty; \"*\" is all".to_owned())),
            Ok(_) if pattern.contains("$claim") => Err((i, "names a claim; claims belong into where".to_owned())),
            Ok(glob) => Ok(glob.compile_matcher()),
            Err(error) => Err((i, error.kind().to_string())),
        };
        patterns.iter().enumerate().map(read).collect::<Result<_, _>>().map(Self)
    }

    /// Whether one of them is that of `name`.
    #[must_use]
    pub fn have(&self, name: &str) -> bool {
        self.0.iter().any(|pattern| pattern.is_match(name))
    }
}
