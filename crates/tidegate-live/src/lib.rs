//! The live-query engine.
mod delivery;

pub use delivery::{Delivery, EndReason, Sink, SubscriptionId, View};
