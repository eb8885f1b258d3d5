//! What Redis is asked, and its answers in our words. They are hostile input: nothing is taken that has not the shape asked for.

use redis::aio::MultiplexedConnection;
use redis::{Cmd, Pipeline, Value};

use super::connect::Trouble;
use super::continuity::{BATCH_MAX, EntryId, StreamState};

/// An entry of the stream: its id, its fields and their values in turn.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) id: EntryId,
    fields: Vec<Value>,
}

impl Entry {
    #[cfg(test)]
    pub(super) fn of(fields: &[(&str, &str)]) -> Self {
        let fields = fields.iter().flat_map(|(name, value)| [name, value]);
        Self {
            id: EntryId::default(),
            fields: fields.map(|part| Value::BulkString(part.as_bytes().to_vec())).collect(),
        }
    }

    /// Fields with their values; what is no text of bytes is empty.
    pub(super) fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.fields.chunks(2).map(|pair| (bytes(pair.first()), bytes(pair.get(1))))
    }
}

/// One moment of a stream: what it says of itself, and the first entries after a place.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) stream: StreamState,
    pub(super) unread: Vec<Entry>,
}

/// Entries after `position`, at most a batch.
pub(super) fn read_after(stream: &str, position: EntryId, block_ms: Option<u64>) -> Cmd {
    let mut read = redis::cmd("XREAD");
    read.arg("COUNT").arg(BATCH_MAX);
    if let Some(block_ms) = block_ms {
        read.arg("BLOCK").arg(block_ms);
    }
    read.arg("STREAMS").arg(stream).arg(position.to_string());
    read
}

/// Both in one transaction.
pub(super) fn look(stream: &str, position: EntryId) -> Pipeline {
    let mut look = redis::pipe();
    look.atomic().cmd("XINFO").arg("STREAM").arg(stream);
    look.add_command(read_after(stream, position, None));
    look
}

/// Asks all commands of a transaction, and gives their answers as they are, errors among them.
pub(super) async fn transact<const N: usize>(
    connection: &mut MultiplexedConnection,
    commands: &Pipeline,
) -> Result<[Value; N], Trouble> {
    // `MULTI` and what it queued are answered first.
    let answers = connection.send_packed_commands(commands, N + 1, 1).await?;
    let Ok([Value::Array(answers)]) = <[Value; 1]>::try_from(answers) else {
        return Err(Trouble::Nonsense("the transaction was not done"));
    };
    answers.try_into().map_err(|_| Trouble::Nonsense("the transaction has another length"))
}

impl Look {
    /// Of the answers to [`look`].
    pub(super) fn read([info, unread]: [Value; 2]) -> Result<Self, Trouble> {
        Ok(Self { stream: stream_state(info)?, unread: entries(unread)? })
    }
}

fn stream_state(info: Value) -> Result<StreamState, Trouble> {
    let info = match info {
        Value::ServerError(error) if error.details() == Some("no such key") => return Ok(StreamState::default()),
        Value::ServerError(error) => return Err(Trouble::Redis(error.into())),
        Value::Array(info) => info,
        _ => return Err(Trouble::Nonsense("XINFO STREAM")),
    };
    let field = |name: &str| {
        let mut pairs = info.chunks_exact(2);
        pairs.find(|pair| bytes(pair.first()) == name.as_bytes()).and_then(|pair| pair.get(1))
    };
    let last_generated = std::str::from_utf8(bytes(field("last-generated-id"))).ok().and_then(|id| id.parse().ok());
    let last_generated = last_generated.ok_or(Trouble::Nonsense("last-generated-id"))?;
    match field("entries-added") {
        Some(&Value::Int(added)) => {
            let entries_added = added.try_into().map_err(|_| Trouble::Nonsense("entries-added"))?;
            Ok(StreamState { last_generated, entries_added })
        }
        Some(_) => Err(Trouble::Nonsense("entries-added")),
        None => Err(Trouble::TooOld),
    }
}

/// The entries of one stream, of an answer to `XREAD`.
pub(super) fn entries(answer: Value) -> Result<Vec<Entry>, Trouble> {
    const NONSENSE: Trouble = Trouble::Nonsense("XREAD");
    let streams = match answer {
        Value::Nil => return Ok(Vec::new()),
        Value::Array(streams) => streams,
        Value::ServerError(error) => return Err(Trouble::Redis(error.into())),
        _ => return Err(NONSENSE),
    };
    let Ok([Value::Array(stream)]) = <[Value; 1]>::try_from(streams) else { return Err(NONSENSE) };
    let Ok([_, Value::Array(entries)]) = <[Value; 2]>::try_from(stream) else { return Err(NONSENSE) };
    entries.into_iter().map(|entry| entry_of(entry).ok_or(NONSENSE)).collect()
}

fn entry_of(entry: Value) -> Option<Entry> {
    let Value::Array(parts) = entry else { return None };
    let [id, fields] = <[Value; 2]>::try_from(parts).ok()?;
    let id = std::str::from_utf8(bytes(Some(&id))).ok()?.parse().ok()?;
    match fields {
        Value::Array(fields) => Some(Entry { id, fields }),
        _ => None,
    }
}

/// A value's bytes; none where it is no text of bytes.
pub(super) fn bytes(value: Option<&Value>) -> &[u8] {
    match value {
        Some(Value::BulkString(bytes)) => bytes,
        Some(Value::SimpleString(text)) => text.as_bytes(),
        Some(Value::Okay) => b"OK",
        _ => b"",
    }
}
