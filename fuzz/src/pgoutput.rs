//! A replication message, as the feed reads it.

use tidegate_feed::postgres::pgoutput::{self, COLUMNS_MAX, Message};

/// Decodes a message; what comes out is never more than what went in.
pub fn pgoutput(data: &[u8]) {
    let cells = match pgoutput::decode(data) {
        Ok(Message::Relation(relation)) => relation.columns.len(),
        Ok(Message::Insert { new, .. } | Message::Update { new, .. }) => new.len(),
        Ok(Message::Truncate { relations }) => {
            assert!(relations.len() * 4 < data.len(), "more tables than bytes");
            0
        }
        _ => 0,
    };
    assert!(cells <= COLUMNS_MAX.min(data.len()), "more columns than there may be");
}
