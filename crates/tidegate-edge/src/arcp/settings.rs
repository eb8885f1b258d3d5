//! What an operator may set of the protocol.

use std::time::Duration;

use super::dialect::Dialects;

/// Settings of ARCP.
#[derive(Debug, Clone)]
pub struct ArcpSettings {
    /// The interval of heartbeats, in whole seconds; zero offers none. Default 30 s.
    pub heartbeat: Duration,
    /// Which clients are spoken to otherwise than their messages suggest. Default none.
    pub dialects: Dialects,
}

impl Default for ArcpSettings {
    fn default() -> Self {
        Self { heartbeat: Duration::from_secs(30), dialects: Dialects::default() }
    }
}
