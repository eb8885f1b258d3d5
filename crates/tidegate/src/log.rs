//! Where events go: standard error, so that standard output is for whoever started the program.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::Log;

/// Begins logging for the rest of the process.
pub(crate) fn start(log: &Log) {
    let filter = EnvFilter::builder().parse_lossy(&log.level);
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // Fails only where an embedding program has set up its own, which then is the one to use.
    let _ = if log.json {
        builder.json().finish().try_init()
    } else {
        builder.with_ansi(console::colors_enabled_stderr()).finish().try_init()
    };
}
