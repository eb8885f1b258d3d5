//! How many files and sockets the system lets the process have open.

use std::thread::available_parallelism;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tidegate_edge::EdgeConfig;

/// Beside sockets: the store and its readers, event loops, standard streams. Some forty, with room.
const OTHER_FILES: u64 = 128;
/// Of one worker of the edge: its event loop and what wakes that, some five, with room.
const WORKER_FILES: u64 = 8;

/// Raises the limit as far as the process may: it commonly starts with 1,024, which programs that use `select` need and
/// this one does not. Warns where that is less than all sockets need at once: past it a connect waits unanswered, where
/// past `max_connections` it gets a `503`.
pub(crate) fn raise_limit(edge: &EdgeConfig) {
    let given = getrlimit(Resource::Nofile);
    if given.current != given.maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: given.maximum, ..given })
    {
        tracing::warn!(%error, "the limit on open files cannot be raised");
    }
    let Some(limit) = getrlimit(Resource::Nofile).current else { return };
    tracing::info!(limit, "open files");
    let needed = needed(edge);
    if needed > limit {
        let max_connections = edge.max_connections;
        tracing::warn!(
            limit,
            needed,
            max_connections,
            "too few open files for edge.max_connections; raise the hard limit (ulimit -H -n, LimitNOFILE=) or lower it"
        );
    }
}

fn needed(edge: &EdgeConfig) -> u64 {
    // Strangers are among those two; a connection on a stream of HTTP/2 has no socket of its own.
    let sockets = (edge.max_connections as u64).saturating_add(edge.max_other_sockets as u64);
    let workers = match edge.workers {
        0 => available_parallelism().map_or(1, usize::from),
        workers => workers,
    };
    sockets.saturating_add(OTHER_FILES + WORKER_FILES * workers as u64)
}
