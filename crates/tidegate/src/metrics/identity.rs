//! What identity counts: tokens, device sessions, the connect hook.

use std::fmt;

use tidegate_identity::{HookMetrics, Identity, SessionMetrics, TokenMetrics};

use super::{Out, load};

pub(super) fn encode(identity: &Identity, out: &mut Out<'_>) -> fmt::Result {
    tokens(identity.tokens().metrics(), out)?;
    let metrics = identity.sessions().metrics();
    out.counter("identity_sessions_revoked", "Device sessions that were revoked", load(&metrics.revoked))?;
    if identity.follows_a_stream() {
        stream(metrics, out)?;
    }
    identity.hook_metrics().map_or(Ok(()), |metrics| hook(metrics, out))
}

fn tokens(metrics: &TokenMetrics, out: &mut Out<'_>) -> fmt::Result {
    out.counter("identity_tokens_accepted", "Tokens that were valid", load(&metrics.accepted))?;
    let refused = [
        ("malformed", load(&metrics.malformed)),
        ("algorithm", load(&metrics.algorithm)),
        ("key", load(&metrics.key)),
        ("signature", load(&metrics.signature)),
        ("addressee", load(&metrics.addressee)),
        ("time", load(&metrics.time)),
        ("claim", load(&metrics.claim)),
        ("unavailable", load(&metrics.unavailable)),
    ];
    out.by_reason("identity_tokens_refused", "Tokens that were not", &refused)?;
    let jwks = &metrics.jwks;
    out.counter("identity_jwks_fetches", "Fetches of issuers' keys", load(&jwks.fetches))?;
    out.counter("identity_jwks_failures", "Of these, such as brought no keys", load(&jwks.failures))?;
    out.counter("identity_jwks_passed_over", "Fetched keys that cannot be used here", load(&jwks.passed_over))
}

fn stream(metrics: &SessionMetrics, out: &mut Out<'_>) -> fmt::Result {
    out.gauge("identity_sessions", "Device sessions in memory", load(&metrics.held))?;
    out.counter("identity_sessions_evicted", "Sessions that left memory for others", load(&metrics.evicted))?;
    out.gauge("identity_stream_in_step", "Whether nothing of the stream is missing", load(&metrics.in_step))?;
    out.counter("identity_stream_entries", "Entries read from the stream", load(&metrics.entries))?;
    let dropped = [
        ("malformed_event", load(&metrics.malformed)),
        ("store_failure", load(&metrics.store_failures)),
        ("malformed_hash", load(&metrics.malformed_hashes)),
    ];
    out.by_reason("identity_sessions_dropped", "Sessions that could not be taken in", &dropped)?;
    out.counter("identity_stream_gaps", "Times that entries of the stream were missed", load(&metrics.gaps))?;
    out.counter("identity_stream_disconnects", "Connections to the stream that failed", load(&metrics.disconnects))?;
    out.counter("identity_lookups", "Sessions looked up in Redis", load(&metrics.lookups))?;
    out.counter("identity_lookups_overtaken", "Look-ups that the stream overtook", load(&metrics.overtaken))?;
    out.counter("identity_lookups_failed", "Look-ups that failed", load(&metrics.lookup_failures))
}

fn hook(metrics: &HookMetrics, out: &mut Out<'_>) -> fmt::Result {
    out.counter("identity_hook_asked", "Questions to the connect hook", load(&metrics.asked))?;
    out.counter("identity_hook_accepted", "Answered with somebody", load(&metrics.accepted))?;
    let refused = [
        ("refused", load(&metrics.refused)),
        ("failed", load(&metrics.failed)),
        ("turned_away", load(&metrics.turned_away)),
    ];
    out.by_reason("identity_hook_refused", "Clients not let in by the connect hook", &refused)?;
    out.counter("identity_hook_cached", "Handshakes served from earlier answers", load(&metrics.cached))?;
    out.counter("identity_hook_joined", "Handshakes that waited for a question under way", load(&metrics.joined))
}
