//! People seeing people: topics with history and recovery, presence, and ephemeral state that dies with its owner.
//!
//! # Place in the flow
//! A protocol of the edge decodes what a client wants, asks the authority whether it may, and calls its session, which calls
//! here. What comes of it goes to everybody who subscribes:
//!
//! ```text
//! publish, set, join ─► Broker ─► Relay ─► Port of each worker with subscribers ─► Hub ─► sessions
//!                       order,    which     one item a worker,                     the worker's own
//!                       history,  workers   bounded                                subscribers
//!                       presence
//! ```
//!
//! - [`Broker`]: what all nodes agree on: the order of a topic, its history, who is present, ephemeral entries. The form in memory is
//!   for one process. Every method gives an [`Answer`](tidegate_model::Answer), at once or later, so a form that
//!   asks another machine changes nothing for those who call.
//! - [`Relay`]: one a process. It knows which workers have subscribers of a topic, and numbers what it passes on.
//! - [`Hub`]: one a worker, on its thread alone: who of its clients subscribes to what.
//!
//! # Invariants
//! - **No silent gap.** A subscriber joins the relay before the position is read. What was passed on before it joined is not
//!   for it (by the relay's number), what the answer to its subscribe contains is not told twice (by the offset), and
//!   everything else reaches it, or the subscription ends with `insufficient_state`.
//! - **`recovered` is proven**: same epoch, and every publication after the offset is in the answer.
//! - **Owned state dies with its owner**, in work proportional to what it owned.
//! - **Encoded once**: a publication carries its encoded forms, made by whoever needs one first.
//! - **Bounded**: names, payloads, history, presence, entries, what waits for a worker. See [`Limits`].
//! - **No clock, no task, no I/O** in the state machines: time comes in, in milliseconds.

mod broker;
mod ephemeral;
mod error;
mod hub;
mod info;
mod limits;
mod memory;
mod metrics;
mod options;
mod publication;
mod relay;
mod topic;

pub use broker::{
    Answered, Broker, Entry, History, Join, Joined, Leave, Members, Page, Presence, PresenceAsk, Publish, Published,
    Range, Set, Since,
};
pub use error::TopicError;
pub use hub::{Hub, Seat, Subscriber};
pub use info::{ClientInfo, Owner};
pub use limits::Limits;
pub use memory::{Clock, Memory, Outlet};
pub use metrics::Metrics;
pub use options::{Keep, Namespace, Namespaces, Options, SlowPolicy};
pub use publication::{Cleared, Data, JSON_DEPTH_MAX, Kind, Publication, Record, SLOTS, nests_deeper};
pub use relay::{Passed, Port, Relay};
pub use topic::{TOPIC_BYTES_MAX, Topic};

use std::sync::Arc;

/// The room as the others have it. Cheap to clone.
#[derive(Clone)]
pub struct Topics {
    /// What all nodes agree on.
    pub broker: Arc<dyn Broker>,
    /// Who in this process is told.
    pub relay: Arc<Relay>,
    /// What holds for which names.
    pub namespaces: Arc<Namespaces>,
    /// How much may be held.
    pub limits: Limits,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

impl Topics {
    /// Topics of this process alone. `discriminator`: the field by which clients tell ephemeral events from others.
    ///
    /// # Errors
    /// If there can be no thread for a timer.
    pub fn in_memory(
        namespaces: Namespaces,
        limits: Limits,
        discriminator: &str,
        clock: Clock,
    ) -> std::io::Result<Self> {
        let metrics = Arc::<Metrics>::default();
        let relay = Relay::new(limits, metrics.clone());
        let broker = Memory::new(limits, discriminator, clock, relay.clone(), metrics.clone())?;
        Ok(Self { broker, relay, namespaces: Arc::new(namespaces), limits, metrics })
    }
}
