//! What each mode does, from its options to its report.

pub(super) mod echo;
pub(super) mod fanout;
pub(super) mod idle;
pub(super) mod jobs;
pub(super) mod live;
pub(super) mod revoke;
pub(super) mod soak;
pub(super) mod storm;
