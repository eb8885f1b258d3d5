//! Namespaces: what holds for the topics whose names begin alike.

use std::sync::Arc;

use tidegate_model::Tenant;

use crate::{Topic, TopicError};

/// What happens to a subscriber that does not take what is published, once its outbox is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SlowPolicy {
    /// Its connection is closed; it comes back and recovers.
    #[default]
    Close,
    /// The oldest of what waits is dropped, and it is told how many.
    DropOldest,
    /// Only the newest (of each key) waits while it takes nothing.
    LatestOnly,
}

/// Which values a topic keeps beside its history, for those who subscribe later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Keep {
    /// None.
    #[default]
    Nothing,
    /// The last publication.
    Last,
    /// The last publication of each key, until it is removed or `value_ttl_ms` has passed.
    LastOfKey,
}

/// Options of a namespace. Defaults are for a topic that only passes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Publications kept. 0 = no history: no offset, no recovery. Default 0.
    pub history_size: usize,
    /// How long they are kept, in milliseconds; 0 = for as long as there is room. Default 5 minutes.
    pub history_age_ms: u64,
    /// Which values are kept. Default none.
    pub keep: Keep,
    /// How long a kept value lasts, in milliseconds; 0 = until it is replaced or removed. Default 0.
    pub value_ttl_ms: u64,
    /// Whether it is known who subscribes. Default no.
    pub presence: bool,
    /// Whether subscribers are told who comes and goes. Needs `presence`. Default no.
    pub join_leave: bool,
    /// Whether ephemeral entries may be set. Default yes.
    pub ephemeral: bool,
    /// Default [`SlowPolicy::Close`].
    pub slow: SlowPolicy,
    /// Whether subscribers may ask for the difference to the publication before (fossil). Default no.
    pub delta: bool,
    /// Publications that one recovery brings at most; who missed more is not recovered. Default 300.
    pub recover_max: usize,
    /// Whether the application is asked before somebody subscribes. Default no.
    pub ask_subscribe: bool,
    /// Whether the application is asked before a client publishes. Default no.
    pub ask_publish: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            history_size: 0,
            history_age_ms: 300_000,
            keep: Keep::Nothing,
            value_ttl_ms: 0,
            presence: false,
            join_leave: false,
            ephemeral: true,
            slow: SlowPolicy::Close,
            delta: false,
            recover_max: 300,
            ask_subscribe: false,
            ask_publish: false,
        }
    }
}

/// Topics whose names begin with `prefix`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace {
    /// Such as `chat:`; empty for all that no other has.
    pub prefix: Box<str>,
    /// What holds for them.
    pub options: Arc<Options>,
}

/// All namespaces. The longest prefix that fits decides.
#[derive(Debug, Clone)]
pub struct Namespaces {
    /// Longest prefix first; the last one's is empty.
    namespaces: Vec<Namespace>,
}

impl Namespaces {
    /// Those given, and default options for everything else unless one has the empty prefix.
    #[must_use]
    pub fn new(mut namespaces: Vec<Namespace>) -> Self {
        if namespaces.iter().all(|namespace| !namespace.prefix.is_empty()) {
            namespaces.push(Namespace { prefix: "".into(), options: Arc::default() });
        }
        namespaces.sort_by_key(|namespace| std::cmp::Reverse(namespace.prefix.len()));
        Self { namespaces }
    }

    /// The topic of that name.
    ///
    /// # Errors
    /// [`TopicError::Name`].
    pub fn topic(&self, tenant: Tenant, name: &str) -> Result<Arc<Topic>, TopicError> {
        Topic::check_name(name)?;
        let options = self.options(name).clone();
        Ok(Arc::new(Topic { tenant, name: name.into(), options }))
    }

    fn options(&self, name: &str) -> &Arc<Options> {
        let found = self.namespaces.iter().find(|namespace| name.starts_with(&*namespace.prefix));
        // The last one's prefix is empty, so there always is one.
        &found.unwrap_or(&self.namespaces[self.namespaces.len() - 1]).options
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_decides() {
        let of = |size| Arc::new(Options { history_size: size, ..Options::default() });
        let namespaces = Namespaces::new(vec![
            Namespace { prefix: "chat:".into(), options: of(1) },
            Namespace { prefix: "chat:big:".into(), options: of(2) },
        ]);
        let size = |name| namespaces.topic(Tenant::common(), name).unwrap().options.history_size;
        assert_eq!([size("chat:a"), size("chat:big:a"), size("chat"), size("x")], [1, 2, 0, 0]);
        for bad in ["", "$x", "a\nb", "a\u{0}", &"x".repeat(256)] {
            assert!(namespaces.topic(Tenant::common(), bad).is_err(), "{bad:?}");
        }
    }
}
