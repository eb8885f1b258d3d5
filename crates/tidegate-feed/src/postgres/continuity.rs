//! Whether the stream goes on from where the mirror is, decided from what the server says of itself and from what it
//! sends again. Pure.
//!
//! A log position alone proves nothing: a server put back from an older copy reaches the same numbers again with
//! another history. So the stream always begins where the server believes that we are (the slot's confirmed position,
//! never past the mirror's), and what comes again up to the mirror's position must be what the mirror applied: its last
//! transaction is recognised by place, number and time, and a transaction that the mirror should know and does not is a
//! fork. Whatever can't be proven means: copy again.

use serde::{Deserialize, Serialize};

use super::Lsn;

/// What tells a transaction from any other at the same place of another history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CommitMark {
    /// Where its commit record begins.
    pub(crate) lsn: Lsn,
    /// The server's 32-bit number of it.
    pub(crate) xid: u32,
    /// When it committed, in microseconds since 2000-01-01 UTC.
    pub(crate) commit_micros: i64,
}

/// Where the mirror stands in the source: kept as a note in the same commit as the rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Standing {
    /// Of the cluster, given at `initdb`.
    pub(crate) system_id: u64,
    /// Of its log.
    pub(crate) timeline: u32,
    /// Slot and publication by name, and the marks of the publication's catalog rows.
    pub(crate) through: String,
    /// Everything committed up to here is in the mirror.
    pub(crate) lsn: Lsn,
    /// The last transaction that was applied, if any was since the last full copy.
    pub(crate) last: Option<CommitMark>,
}

/// What the server says when a session begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) system_id: u64,
    pub(crate) timeline: u32,
    /// The end of its log.
    pub(crate) wal: Lsn,
    /// As [`Standing::through`].
    pub(crate) through: String,
    /// Where the slot believes that we are; `None`: there is no usable slot.
    pub(crate) confirmed: Option<Lsn>,
}

/// Why everything is copied again. The name is a metric's label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Break {
    /// The mirror has never followed anything.
    New,
    /// Another cluster.
    OtherSystem,
    /// The server was promoted or restored to a point in time.
    Timeline,
    /// Another slot or publication, or the publication was altered.
    Publication,
    /// The slot is gone, or the server gave up on it.
    SlotLost,
    /// The slot was moved past the mirror: by another reader, or the mirror is an old copy.
    SlotAhead,
    /// The server fails at decoding what the slot leads through.
    Undecodable,
    /// The server's log ends before what the mirror has applied, or goes on differently.
    Forked,
}

impl Break {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Break::New => "first_copy",
            Break::OtherSystem => "other_system",
            Break::Timeline => "timeline_changed",
            Break::Publication => "publication_altered",
            Break::SlotLost => "slot_lost",
            Break::SlotAhead => "slot_ahead",
            Break::Undecodable => "slot_undecodable",
            Break::Forked => "history_forked",
        }
    }
}

/// Whether the mirror may go on; `Err` says why not.
pub(crate) fn judge(standing: Option<&Standing>, server: &Server) -> Result<Redelivery, Break> {
    let standing = standing.ok_or(Break::New)?;
    if standing.system_id != server.system_id {
        return Err(Break::OtherSystem);
    }
    if standing.timeline != server.timeline {
        return Err(Break::Timeline);
    }
    if standing.through != server.through {
        return Err(Break::Publication);
    }
    let confirmed = server.confirmed.ok_or(Break::SlotLost)?;
    if confirmed > standing.lsn {
        return Err(Break::SlotAhead);
    }
    if server.wal < standing.lsn {
        return Err(Break::Forked);
    }
    // Past the confirmed position the last transaction has to come again.
    let last = standing.last.filter(|last| last.lsn >= confirmed);
    Ok(Redelivery { upto: standing.lsn, last })
}

/// What comes again at the beginning of a session, held against what was applied.
#[derive(Debug, Clone)]
pub(crate) struct Redelivery {
    upto: Lsn,
    /// Still to come.
    last: Option<CommitMark>,
}

/// What to do with a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It is new.
    Apply,
    /// The mirror has it.
    Skip,
}

impl Redelivery {
    /// Nothing comes again: the mirror begins at the slot's own position.
    pub(crate) fn none(upto: Lsn) -> Self {
        Self { upto, last: None }
    }

    /// A transaction begins. `Err`: the server tells another history.
    pub(crate) fn admit(&mut self, mark: CommitMark) -> Result<Admission, Break> {
        match self.last {
            Some(last) if mark == last => {
                self.last = None;
                Ok(Admission::Skip)
            }
            // What is before the last one was applied before it.
            Some(last) if mark.lsn < last.lsn => Ok(Admission::Skip),
            Some(_) => Err(Break::Forked),
            None if mark.lsn < self.upto => Err(Break::Forked),
            None => Ok(Admission::Apply),
        }
    }

    /// The server has sent everything up to `sent`.
    pub(crate) fn reached(&self, sent: Lsn) -> Result<(), Break> {
        if self.last.is_some() && sent >= self.upto { Err(Break::Forked) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests;
