//! A real Redis, the sessions that follow it, and somebody who writes there.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime};

use redis::aio::MultiplexedConnection;
use redis::{Cmd, FromRedisValue};
use tempfile::TempDir;
use tidegate_identity::{
    Clock, Principal, PrincipalKind, RedisSettings, Refusal, Revocation, Secret, SessionStore, Sessions,
    SessionsSettings,
};
use tidegate_testkit::redis::Redis;
use tokio::runtime::Handle;
use tokio::sync::broadcast;
use tokio::time::timeout;

/// Waits for entries in these tests.
pub(crate) const BLOCK: Duration = Duration::from_millis(200);
/// How long a revocation may take once it can be read, and a lost place once it could be seen, on top of the read block.
pub(crate) const PROMPT: Duration = Duration::from_secs(1);
/// For things that only have to happen at all.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Fixture {
    pub(crate) sessions: Sessions,
    pub(crate) told: broadcast::Receiver<Revocation>,
    pub(crate) writer: MultiplexedConnection,
    _directory: TempDir,
}

/// Settings for a server, with a short read block.
pub(crate) fn settings(url: &str, marks: &Path) -> SessionsSettings {
    SessionsSettings {
        store: SessionStore::Redis(RedisSettings {
            url: Secret::new(url),
            root_certificate: None,
            stream: "session_events".to_owned(),
            key_prefix: "session:".to_owned(),
            read_block: BLOCK,
            marks: marks.into(),
        }),
        // What answers at all answers then, however loaded the machine is.
        lookup_timeout: Duration::from_secs(2),
        ..SessionsSettings::default()
    }
}

pub(crate) fn clock() -> Clock {
    Arc::new(|| SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |now| now.as_millis() as u64))
}

pub(crate) async fn writer(url: &str) -> MultiplexedConnection {
    let config = redis::AsyncConnectionConfig::new().set_response_timeout(Some(PATIENCE));
    redis::Client::open(url).unwrap().get_multiplexed_async_connection_with_config(&config).await.unwrap()
}

impl Fixture {
    /// Sessions that follow a server, in step.
    pub(crate) async fn start(server: &Redis) -> Self {
        Self::with(server, |_| {}).await
    }

    pub(crate) async fn with(server: &Redis, change: impl FnOnce(&mut SessionsSettings)) -> Self {
        let directory = TempDir::new().unwrap();
        let mut settings = settings(&server.url(), &directory.path().join("sessions.db"));
        change(&mut settings);
        let sessions = Sessions::start(&settings, Handle::current(), clock()).await.unwrap();
        let writer = writer(&server.url()).await;
        let fixture = Self { told: sessions.revocations(), sessions, writer, _directory: directory };
        until("it is in step", || fixture.sessions.trouble().is_none()).await;
        fixture
    }

    /// The server is another one now, or was started again.
    pub(crate) async fn reconnect(&mut self, server: &Redis) {
        self.writer = writer(&server.url()).await;
    }

    /// What Redis answers.
    pub(crate) async fn ask<T: FromRedisValue>(&mut self, command: &str) -> T {
        self.run(&words(command)).await
    }

    pub(crate) async fn run<T: FromRedisValue>(&mut self, command: &Cmd) -> T {
        command.query_async(&mut self.writer).await.unwrap()
    }

    /// Writes a session's hash and its entry at once.
    pub(crate) async fn write(&mut self, id: &str, status: &str) {
        let mut write = redis::pipe();
        write.atomic().add_command(hash(id, status)).add_command(entry(id, status));
        let () = write.query_async(&mut self.writer).await.unwrap();
    }

    /// What is said about Ann's session.
    pub(crate) async fn check(&self, id: &str) -> Result<Option<Arc<str>>, Refusal> {
        self.sessions.check(&ann(id)).wait().await
    }

    /// Lets Ann in with it, so that it is held from then on.
    pub(crate) async fn enter(&self, id: &str) {
        assert_eq!(self.check(id).await.unwrap().as_deref(), Some("key"), "{id}");
    }

    /// The next word, in time.
    pub(crate) async fn hears(&mut self, within: Duration) -> Revocation {
        timeout(within, self.told.recv()).await.expect("word comes in time").expect("none is missed")
    }

    /// Writes that a session ended, and waits for word of it: all that was written before has been read then.
    pub(crate) async fn barrier(&mut self, id: &str) {
        let _: String = self.run(&entry(id, "revoked")).await;
        let word = timeout(PATIENCE, async { while self.told.recv().await.unwrap() != session(id) {} });
        word.await.expect("the entry is read");
    }

    /// Word that all sessions have to be checked, in time.
    pub(crate) async fn hears_of_a_gap(&mut self, within: Duration) {
        let word = timeout(within, async { while self.told.recv().await.unwrap() != Revocation::RecheckAll {} });
        word.await.expect("word of the gap comes in time");
    }

    pub(crate) fn count(&self, name: fn(&tidegate_identity::SessionMetrics) -> &std::sync::atomic::AtomicU64) -> u64 {
        name(self.sessions.metrics()).load(Relaxed)
    }
}

/// Ann, who shows a session.
pub(crate) fn ann(id: &str) -> Principal {
    Principal { user: "ann".into(), session: Some(id.into()), ..Principal::new(PrincipalKind::User) }
}

pub(crate) fn session(id: &str) -> Revocation {
    Revocation::Session(id.into())
}

/// A command without spaces inside of its words.
pub(crate) fn words(command: &str) -> Cmd {
    let mut words = command.split(' ');
    let mut cmd = redis::cmd(words.next().unwrap());
    for word in words {
        cmd.arg(word);
    }
    cmd
}

/// Writes the hash of one of Ann's sessions.
pub(crate) fn hash(id: &str, status: &str) -> Cmd {
    let mut hash = words("HSET");
    hash.arg(format!("session:{id}")).arg(&fields(id, status));
    hash
}

/// Adds the entry of one of Ann's sessions.
pub(crate) fn entry(id: &str, status: &str) -> Cmd {
    let mut entry = words("XADD session_events *");
    entry.arg(&fields(id, status));
    entry
}

fn fields(id: &str, status: &str) -> Vec<(String, String)> {
    let fields = [("device_session_id", id), ("user_id", "ann"), ("client_public_key", "key"), ("status", status)];
    fields.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

/// Waits for a condition; fails if it does not come.
pub(crate) async fn until(what: &str, condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("waited for: {what}"));
}
