//! What the application counts: handlers and the endpoint.

use std::fmt;

use super::{Out, load};
use crate::application::{Failed, Metrics};

pub(super) fn encode(metrics: &Metrics, out: &mut Out<'_>) -> fmt::Result {
    out.counter("application_handled", "Compiled-in handlers begun", load(&metrics.handled))?;
    out.counter("application_handlers_panicked", "Of these, such as panicked", load(&metrics.panicked))?;
    out.counter("application_handlers_timed_out", "Of these, such as took too long", load(&metrics.timed_out))?;
    out.counter("application_handlers_busy", "Not begun, as too many were running", load(&metrics.handlers_busy))?;
    out.counter("application_asked", "Questions to the application's endpoint", load(&metrics.asked))?;
    out.counter("application_answered", "Of these, such as were answered as agreed", load(&metrics.answered))?;
    out.counter("application_repeated", "Questions asked a second time", load(&metrics.repeated))?;
    out.counter("application_turned_away", "Questions beyond max_concurrent", load(&metrics.turned_away))?;
    let failed = Failed::ALL.map(|reason| (reason.name(), load(&metrics.failed[reason as usize])));
    out.by_reason("application_failed", "Questions not answered as agreed", &failed)
}
