//! What topics and ephemeral state count.

use std::fmt;

use tidegate_topics::{Cleared, Metrics};

use super::{Out, load};

/// In the order of [`Metrics::cleared`].
const CLEARED: [Cleared; 5] =
    [Cleared::Explicit, Cleared::Disconnect, Cleared::Expired, Cleared::NodeLost, Cleared::Revoked];

pub(super) fn encode(metrics: &Metrics, out: &mut Out<'_>) -> fmt::Result {
    out.gauge("topics", "Topics about which something is remembered", load(&metrics.topics))?;
    out.counter("topics_forgotten", "Topics forgotten at the cap", load(&metrics.topics_forgotten))?;
    out.counter("topics_published", "Publications taken", load(&metrics.published))?;
    let repeated = load(&metrics.repeated);
    out.counter("topics_repeated", "Of these, such as were known by their idempotency key", repeated)?;
    let overloaded = load(&metrics.overloaded);
    out.counter("topics_overloaded", "Publishes refused because too much waits for a worker", overloaded)?;
    out.counter("topics_passed", "Publications handed to workers", load(&metrics.passed))?;
    out.counter("topics_gapped", "Topics whose subscriptions on a worker had to end", load(&metrics.gapped))?;
    out.gauge("topics_history_bytes", "Size of histories and kept values", load(&metrics.history_bytes))?;
    let evicted = load(&metrics.history_evicted);
    out.counter("topics_history_evicted", "Publications that left a history early, at the cap on bytes", evicted)?;
    out.counter("topics_recovered", "Subscribes that were recovered", load(&metrics.recovered))?;
    out.counter("topics_unrecovered", "Subscribes that hoped to be and were not", load(&metrics.unrecovered))?;
    out.gauge("topics_members", "Members of all topics", load(&metrics.members))?;
    out.gauge("ephemeral_entries", "Ephemeral entries", load(&metrics.entries))?;
    out.counter("ephemeral_sets", "Ephemeral sets taken", load(&metrics.sets))?;
    out.counter("ephemeral_sets_refused", "Ephemeral sets refused at a cap", load(&metrics.sets_refused))?;
    let cleared = CLEARED.map(|reason| (reason.name(), load(&metrics.cleared[reason as usize])));
    out.by_reason("ephemeral_cleared", "Ephemeral entries cleared", &cleared)
}
