//! What agents' sessions and jobs count.

use std::fmt;

use tidegate_session::runtime::RuntimeMetrics;

use super::{Out, load};

pub(super) fn encode(metrics: &RuntimeMetrics, out: &mut Out<'_>) -> fmt::Result {
    out.gauge("arcp_sessions", "Durable sessions of agents' clients", load(&metrics.sessions))?;
    out.gauge("arcp_sessions_attached", "Of these, such as have a connection", load(&metrics.attached))?;
    out.counter("arcp_sessions_begun", "Sessions that began", load(&metrics.begun))?;
    out.counter("arcp_sessions_resumed", "Sessions that were gone on with", load(&metrics.resumed))?;
    out.counter("arcp_sessions_refused", "Sessions that were refused, resumes too", load(&metrics.refused))?;
    out.counter("arcp_sessions_ended", "Sessions whose window was over", load(&metrics.ended))?;
    out.counter("arcp_outrun", "Connections that fell behind what is kept", load(&metrics.outrun))?;
    out.counter("arcp_busy", "Wishes of connections that found no room", load(&metrics.busy))?;
    out.gauge("jobs_live", "Jobs that have not ended", load(&metrics.live))?;
    out.gauge("jobs_kept", "Jobs that are remembered, ended ones too", load(&metrics.kept))?;
    out.counter("jobs_rejected", "Submits that were refused", load(&metrics.rejected))?;
    out.counter("jobs_entries", "Events and ends of jobs that were stored", load(&metrics.entries))?;
    out.counter("jobs_commits", "Commits for them", load(&metrics.commits))?;
    out.seconds("jobs_commit_seconds", "Time that these took, fsync included", load(&metrics.commit_us))?;
    out.counter("jobs_commits_failed", "Commits that failed and were tried again", load(&metrics.commit_failures))?;
    out.gauge("credentials_unrevoked", "Credentials that are yet to be revoked", load(&metrics.unrevoked))?;
    out.counter("credentials_revocations_failed", "Revocations tried again", load(&metrics.revoke_failures))
}
