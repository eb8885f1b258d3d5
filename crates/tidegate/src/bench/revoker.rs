//! Device sessions in Redis, and tokens that are bound to them: what an identity service has and does.
//!
//! Everything there has names of this run, which nobody else uses. It is removed at the end, and expires where there was none.

use std::ops::Range;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{EncodingKey, Header};
use redis::{Cmd, Connection, ConnectionLike as _, Pipeline, cmd};
use serde_json::json;
use toml::Value;

use super::BenchError;
use super::marker::Clock;

/// For Redis to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Commands that are sent as one.
const AT_ONCE: usize = 1_000;
/// Of what a run leaves behind that is killed, and of its tokens.
const LIFETIME: Duration = Duration::from_secs(3_600);
const ISSUER: &str = "tidegate-bench";
/// 32 bytes, which nothing is proven with here.
const PUBLIC_KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

/// When an entry was sent, and when Redis had answered, in nanoseconds of the run's clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Told {
    pub(crate) sent: u64,
    pub(crate) answered: u64,
}

/// Of a run, numbered from 0. Removed when dropped.
pub(crate) struct Sessions {
    connection: Connection,
    url: String,
    /// What the names of all keys begin with.
    name: String,
    secret: String,
    count: usize,
}

impl Sessions {
    /// Finds Redis.
    pub(crate) fn open(url: &str) -> Result<Self, BenchError> {
        if !url.starts_with("redis://") {
            let rule = "--redis: only redis:// is spoken; TLS would be measured with it";
            return Err(BenchError::Usage(rule.to_owned()));
        }
        let connection = redis::Client::open(url)?.get_connection_with_timeout(PATIENCE)?;
        connection.set_read_timeout(Some(PATIENCE))?;
        connection.set_write_timeout(Some(PATIENCE))?;
        let name = format!("tidegate-bench:{:016x}", rand::random::<u64>());
        let secret = format!("{:032x}{:032x}", rand::random::<u128>(), rand::random::<u128>());
        Ok(Self { connection, url: url.to_owned(), name, secret, count: 0 })
    }

    /// What a gateway is to be configured with that follows these sessions.
    pub(crate) fn tables(&self) -> String {
        let [redis, stream, prefix] = [self.url.clone(), self.stream(), self.prefix()].map(Value::String);
        format!(
            "[[identity.issuer]]\nissuer = \"{ISSUER}\"\nalgorithm = \"HS256\"\nsecret = \"{}\"\n\n\
             [identity.sessions]\nredis = {redis}\nstream = {stream}\nkey_prefix = {prefix}\n",
            self.secret
        )
    }

    /// Writes so many, all active, and gives what each one's connection has as its `Authorization`.
    pub(crate) fn store(&mut self, count: usize) -> Result<Vec<String>, BenchError> {
        self.count = count;
        let stored = |number| [self.hash(number, false), self.expiry(&self.key(number))];
        let commands: Vec<Cmd> = (0..count).flat_map(stored).collect();
        self.send(&commands)?;
        // The stream has to be there to expire.
        let first = [self.entry(0, false), self.expiry(&self.stream())];
        self.send(&first)?;
        let key = EncodingKey::from_secret(self.secret.as_bytes());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let expires = (now + LIFETIME).as_secs();
        let token = |number| {
            let claims = json!({
                "iss": ISSUER, "sub": user(number), "sid": id(number), "iat": now.as_secs(), "exp": expires,
            });
            Ok(format!("Bearer {}", jsonwebtoken::encode(&Header::default(), &claims, &key)?))
        };
        (0..count).map(token).collect()
    }

    /// Revokes one: its hash first, then its entry, which is what is timed.
    pub(crate) fn revoke(&mut self, number: usize, clock: Clock) -> Result<Told, BenchError> {
        self.hash(number, true).exec(&mut self.connection)?;
        let entry = self.entry(number, true).get_packed_command();
        let sent = clock.nanos();
        self.connection.req_packed_command(&entry)?;
        Ok(Told { sent, answered: clock.nanos() })
    }

    /// The same for many: all their hashes, then all entries at once.
    pub(crate) fn revoke_all(&mut self, numbers: Range<usize>, clock: Clock) -> Result<Told, BenchError> {
        let hashes: Vec<Cmd> = numbers.clone().map(|number| self.hash(number, true)).collect();
        self.send(&hashes)?;
        let mut entries = Pipeline::new();
        for number in numbers.clone() {
            entries.add_command(self.entry(number, true));
        }
        let entries = entries.get_packed_pipeline();
        let sent = clock.nanos();
        for answer in self.connection.req_packed_commands(&entries, 0, numbers.len())? {
            answer.extract_error()?;
        }
        Ok(Told { sent, answered: clock.nanos() })
    }

    fn send(&mut self, commands: &[Cmd]) -> Result<(), BenchError> {
        for commands in commands.chunks(AT_ONCE) {
            let mut all = Pipeline::new();
            for command in commands {
                all.add_command(command.clone());
            }
            all.exec(&mut self.connection)?;
        }
        Ok(())
    }

    fn hash(&self, number: usize, is_revoked: bool) -> Cmd {
        let mut command = cmd("HSET");
        command.arg(self.key(number)).arg(snapshot(number, is_revoked));
        command
    }

    fn entry(&self, number: usize, is_revoked: bool) -> Cmd {
        let mut command = cmd("XADD");
        command.arg(self.stream()).arg("*").arg(snapshot(number, is_revoked));
        command
    }

    fn expiry(&self, key: &str) -> Cmd {
        let mut command = cmd("EXPIRE");
        command.arg(key).arg(LIFETIME.as_secs());
        command
    }

    fn stream(&self) -> String {
        format!("{}:events", self.name)
    }

    fn prefix(&self) -> String {
        format!("{}:session:", self.name)
    }

    fn key(&self, number: usize) -> String {
        format!("{}{}", self.prefix(), id(number))
    }
}

impl Drop for Sessions {
    fn drop(&mut self) {
        let keys: Vec<String> = (0..self.count).map(|number| self.key(number)).chain([self.stream()]).collect();
        for keys in keys.chunks(AT_ONCE) {
            // What cannot be removed expires.
            let _ = cmd("UNLINK").arg(keys).exec(&mut self.connection);
        }
    }
}

fn id(number: usize) -> String {
    format!("{number:08x}-0000-4000-8000-{number:012x}")
}

fn user(number: usize) -> String {
    format!("user-{number}")
}

/// The fields of a session and their values, one behind the other.
fn snapshot(number: usize, is_revoked: bool) -> Vec<String> {
    let (id, user, status) = (id(number), user(number), if is_revoked { "revoked" } else { "active" });
    let fields =
        [("device_session_id", &*id), ("user_id", &user), ("client_public_key", PUBLIC_KEY), ("status", status)];
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis().to_string();
    let revoked_at = is_revoked.then_some(("revoked_at_ms", &*now_ms));
    fields.into_iter().chain(revoked_at).flat_map(|(name, value)| [name.to_owned(), value.to_owned()]).collect()
}
