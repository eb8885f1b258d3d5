//! What can be asked for: agents, by name and version.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Code, Fault};

/// Longest name and longest version, in bytes.
const NAME_BYTES_MAX: usize = 128;

/// An agent as a client asks for it: `name` or `name@version`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Its name: `[a-z0-9][a-z0-9._-]*`.
    pub name: Arc<str>,
    /// The version, `[a-zA-Z0-9.+_-]+`; `None` is the default one.
    pub version: Option<Arc<str>>,
}

/// One version of an agent: what a job is for, as long as it lives.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AgentRef {
    /// Its name.
    pub name: Arc<str>,
    /// Its version.
    pub version: Arc<str>,
}

impl fmt::Display for AgentRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.version)
    }
}

impl Asked {
    /// Reads `name` or `name@version`.
    ///
    /// # Errors
    /// `INVALID_REQUEST`: it is neither.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let (name, version) = match text.split_once('@') {
            Some((name, version)) => (name, Some(version)),
            None => (text, None),
        };
        if !is_name(name) || !version.is_none_or(is_version) {
            return Err(Fault::invalid(
                "payload.agent: name or name@version, name of a-z 0-9 . _ - and version of a-z A-Z 0-9 . + _ -",
            ));
        }
        Ok(Self { name: name.into(), version: version.map(Into::into) })
    }
}

/// Whether an agent may be called so.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    name.len() <= NAME_BYTES_MAX
        && name.bytes().next().is_some_and(is_plain)
        && name.bytes().all(|byte| is_plain(byte) || b"._-".contains(&byte))
}

/// Whether a version may be called so.
#[must_use]
pub fn is_version(version: &str) -> bool {
    !version.is_empty()
        && version.len() <= NAME_BYTES_MAX
        && version.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".+_-".contains(&byte))
}

/// The agents that there are now: what `session.welcome` shows and a submit is resolved by. Never changed: replaced.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inventory {
    agents: BTreeMap<Arc<str>, Offered>,
}

/// The versions of one agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offered {
    /// In the order in which they were offered.
    pub versions: Vec<Arc<str>>,
    /// What a bare name means: the one that was offered last, unless another was named.
    pub default: Arc<str>,
}

impl Inventory {
    /// Adds a version; it becomes the default unless `is_default` says otherwise and there is one.
    pub fn offer(&mut self, agent: &AgentRef, is_default: bool) {
        let offered = self.agents.entry(agent.name.clone());
        let offered = offered.or_insert_with(|| Offered { versions: Vec::new(), default: agent.version.clone() });
        if !offered.versions.contains(&agent.version) {
            offered.versions.push(agent.version.clone());
        }
        if is_default {
            offered.default = agent.version.clone();
        }
    }

    /// All of them, by name.
    pub fn agents(&self) -> impl Iterator<Item = (&Arc<str>, &Offered)> {
        self.agents.iter()
    }

    /// The version that is meant.
    ///
    /// # Errors
    /// `AGENT_NOT_AVAILABLE`, `AGENT_VERSION_NOT_AVAILABLE`.
    pub fn resolve(&self, asked: &Asked) -> Result<AgentRef, Fault> {
        let Some(offered) = self.agents.get(&asked.name) else {
            return Err(Fault::new(Code::AgentNotAvailable, format!("there is no agent {:?}", &*asked.name)));
        };
        let version = match &asked.version {
            None => offered.default.clone(),
            Some(version) if offered.versions.contains(version) => version.clone(),
            Some(version) => {
                let message = format!("there is no version {version:?} of the agent {:?}", &*asked.name);
                return Err(Fault::new(Code::AgentVersionNotAvailable, message));
            }
        };
        Ok(AgentRef { name: asked.name.clone(), version })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_versions_are_resolved() {
        let agent = |version: &str| AgentRef { name: "refactor".into(), version: version.into() };
        let mut inventory = Inventory::default();
        inventory.offer(&agent("1.0.0"), false);
        inventory.offer(&agent("2.0.0"), true);
        inventory.offer(&agent("3.0.0-rc.1"), false);
        let resolve = |text: &str| inventory.resolve(&Asked::parse(text)?);
        assert_eq!(resolve("refactor"), Ok(agent("2.0.0")));
        assert_eq!(resolve("refactor@1.0.0"), Ok(agent("1.0.0")));
        assert_eq!(resolve("refactor@9").unwrap_err().code, Code::AgentVersionNotAvailable);
        assert_eq!(resolve("other").unwrap_err().code, Code::AgentNotAvailable);
        for bad in ["", "@1", "a@", "A", "a@1@2", "a b", "-a", "ä", &"a".repeat(129)] {
            assert_eq!(resolve(bad).unwrap_err().code, Code::InvalidRequest, "{bad}");
        }
    }
}
