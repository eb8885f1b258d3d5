//! Whether the stream went on without a gap: a comparison of what was read with what the stream says of itself.
//!
//! `XREAD` passes over trimmed and deleted entries without a word, and on a stream that was made anew with lower ids it
//! waits for ever. So the place is an id and a count: of all entries that were ever added to this stream, those that were
//! not read must be exactly those that are still there to read.

use std::fmt;
use std::str::FromStr;

/// Entries asked for at once.
pub(super) const BATCH_MAX: usize = 128;

/// The id of an entry: milliseconds and a number, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct EntryId {
    ms: u64,
    number: u64,
}

impl EntryId {
    #[cfg(test)]
    pub(super) const fn new(ms: u64, number: u64) -> Self {
        Self { ms, number }
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.number)
    }
}

impl FromStr for EntryId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (ms, number) = text.split_once('-').ok_or(())?;
        Ok(Self { ms: ms.parse().map_err(drop)?, number: number.parse().map_err(drop)? })
    }
}

/// What a stream says of itself; one that is not there has never had an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct StreamState {
    /// The highest id that was ever given out.
    pub(super) last_generated: EntryId,
    /// Entries that were ever added, trimmed and deleted ones included.
    pub(super) entries_added: u64,
}

/// How far the stream was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    position: EntryId,
    /// Of the entries that were ever added, those up to the position.
    counted: u64,
}

/// What a look at the stream proves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Continuity {
    /// Nothing was missed: after the entries that the look brought, this is the stream's end.
    Proven,
    /// Not decided: the look brought a full batch, and there may be more.
    More,
    /// Entries are missing, or it is another stream.
    Gap,
}

impl Place {
    /// After everything that was ever added.
    pub(super) fn at_end(stream: StreamState) -> Self {
        Self { position: stream.last_generated, counted: stream.entries_added }
    }

    /// Entries after this one are unread.
    pub(super) fn position(&self) -> EntryId {
        self.position
    }

    /// An entry was read.
    pub(super) fn pass(&mut self, entry: EntryId) {
        self.position = self.position.max(entry);
        self.counted = self.counted.saturating_add(1);
    }

    /// Judges a look: in one moment, the stream was in this state and had `unread` entries after the position, of which
    /// at most [`BATCH_MAX`] were asked for.
    pub(super) fn judge(&self, stream: StreamState, unread: usize) -> Continuity {
        if stream.last_generated < self.position {
            return Continuity::Gap;
        }
        let accounted = self.counted.saturating_add(unread as u64);
        match stream.entries_added {
            added if added < accounted => Continuity::Gap,
            _ if unread >= BATCH_MAX => Continuity::More,
            added if added > accounted => Continuity::Gap,
            _ => Continuity::Proven,
        }
    }
}

#[cfg(test)]
mod tests;
