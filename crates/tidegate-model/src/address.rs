//! Who something is for: a client of a worker, and one of its subscriptions.

/// The number of a client, chosen by the worker that has it and unique there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(pub u64);

/// The number of a subscription, chosen by its client and unique within it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubscriptionId(pub u64);

/// One subscription of one of a worker's clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    /// The client.
    pub client: ClientId,
    /// Which of its subscriptions.
    pub subscription: SubscriptionId,
}
