//! Everything that is amiss with a source at once, each with what mends it. Pure.

use super::inspect::{PublicationInfo, Server, SlotInfo, TableInfo};
use super::resolve::Wish;

/// Something amiss.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What is so, and why that does not do.
    pub what: String,
    /// What mends it: SQL to run, or a line of configuration.
    pub mend: String,
    /// Whether nothing can be followed before it is mended.
    pub fatal: bool,
}

/// The names that the settings give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Names<'a> {
    /// The slot.
    pub slot: &'a str,
    /// The publication.
    pub publication: &'a str,
}

/// Lists what is amiss: with the server, the tables wished for, the publication and the slot (absent where not there
/// yet).
#[must_use]
pub fn check(
    server: &Server,
    tables: &[TableInfo],
    publication: Option<&PublicationInfo>,
    slot: Option<&SlotInfo>,
    wishes: &[Wish],
    names: Names<'_>,
) -> Vec<Problem> {
    let _ = (server, tables, publication, slot, wishes, names);
    Vec::new()
}
