//! The hash of each session: read when it is looked up, written when it is revoked.

use std::time::Duration;

use redis::Value;
use redis::aio::MultiplexedConnection;
use tokio::time::{Instant, timeout_at};

use super::connect::{Shared, Trouble};
use super::lookup::Unread;
use super::reply::{bytes, transact};
use crate::sessions::snapshot::{KEY_BYTES_MAX, Snapshot, decode};

/// A session's fields; one more makes it malformed.
const FIELDS: [&str; 5] = ["device_session_id", "user_id", "client_public_key", "status", "revoked_at_ms"];
/// Longest value that is fetched: a longer one is malformed in any field.
const VALUE_BYTES_MAX: i64 = KEY_BYTES_MAX as i64;

/// Marks the hash and tells the stream the whole session, in one step: nobody sees one without the other. What the hash lacks
/// the entry lacks too; then it is malformed, and drops the session wherever it is held.
const REVOKE: &str = r"
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
redis.call('HSET', KEYS[1], 'status', 'revoked', 'revoked_at_ms', ARGV[2])
local entry = {'device_session_id', ARGV[1], 'status', 'revoked', 'revoked_at_ms', ARGV[2]}
for _, field in ipairs({'user_id', 'client_public_key'}) do
  local value = redis.call('HGET', KEYS[1], field)
  if value then
    entry[#entry + 1] = field
    entry[#entry + 1] = value
  end
end
redis.call('XADD', KEYS[2], '*', unpack(entry))
return 1
";

/// See the module.
pub(super) struct Hashes {
    pub(super) redis: Shared,
    pub(super) key_prefix: String,
    pub(super) stream: String,
    /// For one question, connecting included.
    pub(super) timeout: Duration,
}

impl Hashes {
    /// A session as its hash says; `None` if there is no hash.
    pub(super) async fn read(&self, id: &str) -> Result<Option<Snapshot>, Unread> {
        let key = &self.key(id);
        let answer = self.ask(|mut connection| async move {
            if !is_small(&mut connection, key).await? {
                return Ok(None);
            }
            let mut read = redis::pipe();
            read.atomic().cmd("HLEN").arg(key).cmd("HMGET").arg(key).arg(&FIELDS);
            transact::<2>(&mut connection, &read).await.map(Some)
        });
        match answer.await {
            Ok(Some(answers)) => snapshot(id, answers),
            Ok(None) => Err(Unread::Malformed("it has too many fields, or too long ones")),
            Err(Trouble::Redis(error)) if error.code() == Some("WRONGTYPE") => Err(Unread::Malformed("it is no hash")),
            Err(trouble) => Err(trouble.into()),
        }
    }

    /// Revokes a session in Redis; `false` if there is none.
    pub(super) async fn revoke(&self, id: &str, now_ms: u64) -> Result<bool, Trouble> {
        let script = redis::Script::new(REVOKE);
        let mut revoke = script.key(self.key(id));
        let revoke = &*revoke.key(&self.stream).arg(id).arg(now_ms);
        self.ask(|mut connection| async move { Ok(revoke.invoke_async(&mut connection).await?) }).await
    }

    fn key(&self, id: &str) -> String {
        format!("{}{id}", self.key_prefix)
    }

    /// Asks over the shared connection, which is given up if it may be the reason that there is no answer. One that had been
    /// cut since it was last used is made anew, and asked again: servers cut connections that are idle.
    async fn ask<T, F>(&self, question: impl Fn(MultiplexedConnection) -> F) -> Result<T, Trouble>
    where
        F: Future<Output = Result<T, Trouble>>,
    {
        let deadline = Instant::now() + self.timeout;
        loop {
            let (used, connection) = timeout_at(deadline, self.redis.get()).await.map_err(|_| Trouble::Late)??;
            let answer = timeout_at(deadline, question(connection)).await.unwrap_or(Err(Trouble::Late));
            let Err(trouble) = &answer else { return answer };
            if trouble.is_of_connection() {
                self.redis.give_up(used.number).await;
            }
            if !(trouble.is_cut() && used.is_old) {
                return answer;
            }
        }
    }
}

/// Whether a hash is worth fetching: what is there may be of any size.
async fn is_small(connection: &mut MultiplexedConnection, key: &str) -> Result<bool, Trouble> {
    let mut sizes = redis::pipe();
    sizes.cmd("HLEN").arg(key);
    for field in FIELDS {
        sizes.cmd("HSTRLEN").arg(key).arg(field);
    }
    let answers = connection.send_packed_commands(&sizes, 0, 1 + FIELDS.len()).await?;
    let mut sizes = Vec::with_capacity(answers.len());
    for answer in answers {
        match answer.extract_error()? {
            Value::Int(size) => sizes.push(size),
            _ => return Err(Trouble::Nonsense("HLEN, HSTRLEN")),
        }
    }
    let Some((&fields, lengths)) = sizes.split_first() else { return Err(Trouble::Nonsense("HLEN")) };
    Ok(fields <= FIELDS.len() as i64 && lengths.iter().all(|&length| length <= VALUE_BYTES_MAX))
}

fn snapshot(id: &str, [fields, values]: [Value; 2]) -> Result<Option<Snapshot>, Unread> {
    let (fields, values) = match (fields, values) {
        (Value::Int(0), _) => return Ok(None),
        (Value::Int(fields), Value::Array(values)) if values.len() == FIELDS.len() => (fields, values),
        (Value::ServerError(error), _) | (_, Value::ServerError(error)) if error.code() == "WRONGTYPE" => {
            return Err(Unread::Malformed("it is no hash"));
        }
        (Value::ServerError(error), _) | (_, Value::ServerError(error)) => {
            return Err(Trouble::Redis(error.into()).into());
        }
        _ => return Err(Trouble::Nonsense("HLEN, HMGET").into()),
    };
    let there = FIELDS.iter().zip(&values).filter(|(_, value)| !matches!(value, Value::Nil));
    let there: Vec<_> = there.map(|(field, value)| (field.as_bytes(), bytes(Some(value)))).collect();
    if there.len() as i64 != fields {
        return Err(Unread::Malformed("there is another field"));
    }
    let snapshot = decode(there.into_iter()).map_err(|malformed| Unread::Malformed(malformed.rule))?;
    if &*snapshot.id != id {
        return Err(Unread::Malformed("it is another session's"));
    }
    Ok(Some(snapshot))
}
