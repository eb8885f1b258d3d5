//! Clients, as other clients see them.

use std::sync::Arc;

use bytes::Bytes;
use tidegate_model::Tenant;

/// A connection, as others see it: in presence, joins, and as who published.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClientInfo {
    /// The connection's public name, such as `c_0f…`; empty for a server.
    pub client: Arc<str>,
    /// The user's name; empty for an anonymous one and for a server.
    pub user: Arc<str>,
    /// What the application said of the connection, as JSON.
    pub conn_info: Option<Bytes>,
    /// What the application said of the connection in this topic, as JSON.
    pub chan_info: Option<Bytes>,
}

/// Who owns ephemeral entries: one connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Owner {
    /// Its tenant: entries of others do not exist for it.
    pub tenant: Tenant,
    /// Its public name. Not empty.
    pub client: Arc<str>,
}
