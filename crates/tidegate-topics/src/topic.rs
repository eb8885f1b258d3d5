//! A topic: a name within a tenant, and the options of its namespace.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use tidegate_model::Tenant;

use crate::{Options, TopicError};

/// Longest name, in bytes.
pub const TOPIC_BYTES_MAX: usize = 255;

/// A topic. Two are the same if tenant and name are; compared and hashed by these.
#[derive(Debug)]
pub struct Topic {
    /// Whose: from the verified identity, never from a message.
    pub tenant: Tenant,
    /// Within the tenant. Not empty, at most [`TOPIC_BYTES_MAX`] bytes, without control characters.
    pub name: Box<str>,
    /// Of its namespace.
    pub options: Arc<Options>,
}

impl Topic {
    /// Checks the name. One that begins with `$` is the gateway's own: see [`Topic::reserved`].
    ///
    /// # Errors
    /// [`TopicError::Name`] with the rule.
    pub fn check_name(name: &str) -> Result<(), TopicError> {
        if name.is_empty() {
            return Err(TopicError::Name("must not be empty"));
        }
        if name.len() > TOPIC_BYTES_MAX {
            return Err(TopicError::Name("must have at most 255 bytes"));
        }
        if name.chars().any(char::is_control) {
            return Err(TopicError::Name("must have no control characters"));
        }
        if name.starts_with('$') {
            return Err(TopicError::Name("must not begin with $: those are the gateway's own"));
        }
        Ok(())
    }

    /// A topic that clients cannot name: `$` and the name.
    /// What is published there is a whole message of the application's: a record of [`Kind::Event`](crate::Kind::Event).
    #[must_use]
    pub fn reserved(tenant: Tenant, name: &str, options: Arc<Options>) -> Self {
        Self { tenant, name: format!("${name}").into(), options }
    }

    /// Whether it is one of those.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        self.name.starts_with('$')
    }
}

impl PartialEq for Topic {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.tenant == other.tenant
    }
}

impl Eq for Topic {}

impl Hash for Topic {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
        self.tenant.hash(state);
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}
