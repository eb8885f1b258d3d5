//! What the broker within one process is made with.

use std::sync::Arc;

use crate::{Publication, Topic};

/// Where everything that happens is passed on, in the order of its topic. Called under the broker's locks: it must not call
/// back.
pub trait Outlet: Send + Sync {
    /// Passes it on.
    fn pass(&self, publication: &Arc<Publication>);

    /// Whether anybody is told what happens in the topic.
    fn has_subscribers(&self, topic: &Topic) -> bool;

    /// Whether nothing should be published for now, because too much waits.
    fn is_full(&self) -> bool;

    /// Offsets of the topic begin anew: what its subscribers know of its position is void, so their subscriptions end.
    fn gap(&self, _topic: &Arc<Topic>) {}

    /// Calls with every topic that has subscribers. Not called under the broker's locks.
    fn each(&self, _call: &mut dyn FnMut(&Topic)) {}
}

/// Milliseconds since 1970.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;
