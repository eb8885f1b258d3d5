//! The messages of PostgreSQL's `pgoutput` plugin, protocol version 1, with cells as text.
//!
//! Pure: bytes in, a message that borrows from them out. Every count is checked against the bytes that are there before
//! anything is allocated for it; bytes left over are an error.

use super::Lsn;
use super::reader::Reader;

/// Most columns of a PostgreSQL table.
pub const COLUMNS_MAX: usize = 1_600;

/// One message of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message<'a> {
    /// A transaction begins.
    Begin {
        /// Where its commit record stands.
        final_lsn: Lsn,
        /// When it was committed: microseconds since 2000-01-01 UTC, as sent.
        commit_micros: i64,
        /// Its number, of 32 bits.
        xid: u32,
    },
    /// The transaction begun last ends.
    Commit {
        /// Where its commit record stands.
        lsn: Lsn,
        /// Where the next record begins.
        end_lsn: Lsn,
        /// As in [`Message::Begin`].
        commit_micros: i64,
    },
    /// The transaction was replicated from elsewhere. Nothing follows from it.
    Origin,
    /// The name of a type. Nothing follows from it: types are looked up in the catalogs.
    Type,
    /// What a table looks like from now on.
    Relation(Relation),
    /// A new row.
    Insert {
        /// The table's oid.
        relation: u32,
        /// Its cells.
        new: Tuple<'a>,
    },
    /// A changed row.
    Update {
        /// The table's oid.
        relation: u32,
        /// The row as it was, as far as the replica identity tells it; absent where the identity did not change.
        old: Option<Old<'a>>,
        /// Its cells now.
        new: Tuple<'a>,
    },
    /// A row that is gone.
    Delete {
        /// The table's oid.
        relation: u32,
        /// The row as it was.
        old: Old<'a>,
    },
    /// Tables that were emptied together.
    Truncate {
        /// Their oids.
        relations: Vec<u32>,
    },
    /// Written with `pg_logical_emit_message`.
    Message {
        /// Whether it belongs to the transaction begun last.
        transactional: bool,
        /// Where it stands.
        lsn: Lsn,
        /// Who it is for.
        prefix: &'a str,
        /// What it says.
        content: &'a [u8],
    },
}

/// A table as the stream describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    /// Its oid.
    pub oid: u32,
    /// Its schema; `pg_catalog` is sent as the empty name.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Its replica identity: `d`, `n`, `f` or `i`.
    pub identity: u8,
    /// Its published columns, in order; at most [`COLUMNS_MAX`].
    pub columns: Vec<RelationColumn>,
}

/// A column of a [`Relation`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelationColumn {
    /// Whether it is part of the replica identity.
    pub key: bool,
    /// Its name.
    pub name: String,
    /// Its type's oid; a domain's own.
    pub type_oid: u32,
    /// The type's modifier, or -1.
    pub typmod: i32,
}

/// The row as it was before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Old<'a> {
    /// Only the identity's cells; the others are null.
    Key(Tuple<'a>),
    /// Every cell: the identity is FULL.
    Full(Tuple<'a>),
}

/// One cell per column of the relation.
pub type Tuple<'a> = Vec<Cell<'a>>;

/// One cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cell<'a> {
    /// Null.
    Null,
    /// A large value that did not change and is not sent.
    Unchanged,
    /// What the type's output function prints.
    Text(&'a [u8]),
}

/// Bytes that are no message of this protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The message ends early.
    #[error("a replication message is cut short")]
    Short,
    /// Bytes are left over.
    #[error("a replication message has {0} bytes after its end")]
    Trailing(usize),
    /// A letter that stands for nothing here.
    #[error("a replication message has {0:#04x} where {1} is expected")]
    Unknown(u8, &'static str),
    /// A name that is not UTF-8.
    #[error("a replication message has a name that is not UTF-8; the session must set client_encoding to UTF8")]
    NotUtf8,
    /// A count past its bound.
    #[error("a replication message tells of {0} columns; a table has at most {COLUMNS_MAX}")]
    Columns(u16),
    /// A cell in binary.
    #[error("a cell is sent in binary; replication must be started without the option `binary`")]
    Binary,
}

/// Reads one message.
///
/// # Errors
/// [`DecodeError`] where the bytes are anything but one whole message.
pub fn decode(bytes: &[u8]) -> Result<Message<'_>, DecodeError> {
    let mut decoder = Decoder(Reader(bytes));
    let message = decoder.message()?;
    match decoder.0.0.len() {
        0 => Ok(message),
        left => Err(DecodeError::Trailing(left)),
    }
}

struct Decoder<'a>(Reader<'a>);

impl<'a> Decoder<'a> {
    fn message(&mut self) -> Result<Message<'a>, DecodeError> {
        Ok(match self.u8()? {
            b'B' => Message::Begin { final_lsn: self.lsn()?, commit_micros: self.i64()?, xid: self.u32()? },
            b'C' => {
                self.u8()?; // Flags, of which there are none yet.
                Message::Commit { lsn: self.lsn()?, end_lsn: self.lsn()?, commit_micros: self.i64()? }
            }
            b'O' => {
                self.lsn()?;
                self.name()?;
                Message::Origin
            }
            b'Y' => {
                self.u32()?;
                self.name()?;
                self.name()?;
                Message::Type
            }
            b'R' => Message::Relation(self.relation()?),
            b'I' => {
                let relation = self.u32()?;
                match self.u8()? {
                    b'N' => Message::Insert { relation, new: self.tuple()? },
                    other => return Err(DecodeError::Unknown(other, "a new row")),
                }
            }
            b'U' => self.update()?,
            b'D' => {
                let relation = self.u32()?;
                let letter = self.u8()?;
                Message::Delete { relation, old: self.old(letter)? }
            }
            b'T' => self.truncate()?,
            b'M' => {
                let transactional = self.u8()? & 1 == 1;
                let (lsn, prefix) = (self.lsn()?, self.name()?);
                Message::Message { transactional, lsn, prefix, content: self.0.counted().ok_or(DecodeError::Short)? }
            }
            other => return Err(DecodeError::Unknown(other, "a kind of message")),
        })
    }

    fn relation(&mut self) -> Result<Relation, DecodeError> {
        let oid = self.u32()?;
        let (schema, name) = (self.name()?.to_owned(), self.name()?.to_owned());
        let identity = self.u8()?;
        let count = self.columns()?;
        let mut columns = Vec::with_capacity(count);
        for _ in 0..count {
            columns.push(RelationColumn {
                key: self.u8()? & 1 == 1,
                name: self.name()?.to_owned(),
                type_oid: self.u32()?,
                typmod: self.0.i32().ok_or(DecodeError::Short)?,
            });
        }
        Ok(Relation { oid, schema, name, identity, columns })
    }

    fn update(&mut self) -> Result<Message<'a>, DecodeError> {
        let relation = self.u32()?;
        let mut letter = self.u8()?;
        let mut old = None;
        if letter != b'N' {
            old = Some(self.old(letter)?);
            letter = self.u8()?;
        }
        match letter {
            b'N' => Ok(Message::Update { relation, old, new: self.tuple()? }),
            other => Err(DecodeError::Unknown(other, "a new row")),
        }
    }

    fn old(&mut self, letter: u8) -> Result<Old<'a>, DecodeError> {
        match letter {
            b'K' => self.tuple().map(Old::Key),
            b'O' => self.tuple().map(Old::Full),
            other => Err(DecodeError::Unknown(other, "an old row")),
        }
    }

    fn truncate(&mut self) -> Result<Message<'a>, DecodeError> {
        let count = self.u32()?;
        self.u8()?; // CASCADE and RESTART IDENTITY: every table emptied is named either way.
        let bytes = usize::try_from(count).ok().and_then(|count| count.checked_mul(4)).ok_or(DecodeError::Short)?;
        let oids = self.0.take(bytes).ok_or(DecodeError::Short)?;
        let relations = oids.as_chunks::<4>().0.iter().map(|oid| u32::from_be_bytes(*oid)).collect();
        Ok(Message::Truncate { relations })
    }

    fn tuple(&mut self) -> Result<Tuple<'a>, DecodeError> {
        let count = self.columns()?;
        let mut cells = Vec::with_capacity(count);
        for _ in 0..count {
            cells.push(match self.u8()? {
                b'n' => Cell::Null,
                b'u' => Cell::Unchanged,
                b't' => Cell::Text(self.0.counted().ok_or(DecodeError::Short)?),
                b'b' => return Err(DecodeError::Binary),
                other => return Err(DecodeError::Unknown(other, "a kind of cell")),
            });
        }
        Ok(cells)
    }

    fn columns(&mut self) -> Result<usize, DecodeError> {
        let count = self.0.u16().ok_or(DecodeError::Short)?;
        if usize::from(count) > COLUMNS_MAX { Err(DecodeError::Columns(count)) } else { Ok(usize::from(count)) }
    }

    fn name(&mut self) -> Result<&'a str, DecodeError> {
        let bytes = self.0.terminated().ok_or(DecodeError::Short)?;
        std::str::from_utf8(bytes).map_err(|_| DecodeError::NotUtf8)
    }

    fn u8(&mut self) -> Result<u8, DecodeError> {
        self.0.u8().ok_or(DecodeError::Short)
    }

    fn u32(&mut self) -> Result<u32, DecodeError> {
        self.0.u32().ok_or(DecodeError::Short)
    }

    fn i64(&mut self) -> Result<i64, DecodeError> {
        self.0.i64().ok_or(DecodeError::Short)
    }

    fn lsn(&mut self) -> Result<Lsn, DecodeError> {
        self.0.u64().map(Lsn).ok_or(DecodeError::Short)
    }
}

#[cfg(test)]
mod tests;
