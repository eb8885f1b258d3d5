//! How Redis is reached: user, password, database, TLS; and settings that cannot work.

use std::path::PathBuf;
use std::time::Duration;

use tidegate_identity::{RedisSettings, Secret, SessionStore, Sessions, SessionsSettings};
use tidegate_testkit::clients::Certificate;
use tidegate_testkit::redis::Redis;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::runtime::Handle;

use crate::fixture::{ann, clock, entry, hash, session, settings, until, writer};

struct Started {
    sessions: Sessions,
    _directory: tempfile::TempDir,
}

async fn start(url: &str, root_certificate: Option<PathBuf>) -> Started {
    let directory = tempfile::tempdir().unwrap();
    let mut settings = settings(url, &directory.path().join("sessions.db"));
    let SessionStore::Redis(redis) = &mut settings.store else { unreachable!() };
    redis.root_certificate = root_certificate;
    let sessions = Sessions::start(&settings, Handle::current(), clock()).await.unwrap();
    Started { sessions, _directory: directory }
}

impl Started {
    async fn lets_in(&self, id: &str) {
        until("it is in step", || self.sessions.trouble().is_none()).await;
        assert_eq!(self.sessions.check(&ann(id)).wait().await.unwrap().as_deref(), Some("key"));
    }

    async fn is_kept_out(&self) {
        let metrics = self.sessions.metrics();
        until("it tried", || metrics.disconnects.load(std::sync::atomic::Ordering::Relaxed) > 1).await;
        assert!(self.sessions.trouble().is_some());
        assert_eq!(self.sessions.check(&ann("s1")).wait().await.unwrap_err().status, 503);
    }
}

/// As little as is needed: reading, and what revokes.
const RIGHTS: &[&str] = &[
    "on",
    ">secret",
    "~session_events",
    "~session:*",
    "+multi",
    "+exec",
    "+select",
    "+xread",
    "+xinfo|stream",
    "+hlen",
    "+hstrlen",
    "+hmget",
    "+eval",
    "+evalsha",
    "+script|load",
    "+exists",
    "+hset",
    "+hget",
    "+xadd",
];

#[tokio::test]
async fn a_user_with_few_rights_is_enough() {
    let Some(server) = Redis::builder().set("user", &[&["tidegate"], RIGHTS].concat()).start() else { return };
    let mut writer = writer(&server.url()).await;
    let () = hash("s1", "active").query_async(&mut writer).await.unwrap();
    let url = |login: &str| format!("redis://{login}@{}", server.address());
    let started = start(&url("tidegate:secret"), None).await;
    started.lets_in("s1").await;
    let mut told = started.sessions.revocations();
    assert!(started.sessions.revoke(session("s1")).await.unwrap());
    assert_eq!(told.recv().await.unwrap(), session("s1"));
    start(&url("tidegate:wrong"), None).await.is_kept_out().await;
    start(&url("nobody:secret"), None).await.is_kept_out().await;
}

#[tokio::test]
async fn a_password_alone_and_another_database() {
    let Some(server) = Redis::builder().set("requirepass", &["se/cr:et"]).start() else { return };
    let url = |password: &str| format!("redis://:{password}@{}/3", server.address());
    let mut writer = writer(&url("se%2Fcr%3Aet")).await;
    let () = hash("s1", "active").query_async(&mut writer).await.unwrap();
    let started = start(&url("se%2Fcr%3Aet"), None).await;
    started.lets_in("s1").await;
    let mut told = started.sessions.revocations();
    let _: String = entry("s1", "revoked").query_async(&mut writer).await.unwrap();
    assert_eq!(told.recv().await.unwrap(), session("s1"));
    start(&url("wrong"), None).await.is_kept_out().await;
    start(&server.url(), None).await.is_kept_out().await;
}

#[tokio::test]
async fn tls_with_a_certificate_that_is_trusted_and_for_that_host() {
    let certificate = Certificate::generate();
    let Some(server) = Redis::builder().tls(&certificate).start() else { return };
    let started = start(&server.url(), Some(certificate.file())).await;
    until("it is in step", || started.sessions.trouble().is_none()).await;
    assert_eq!(started.sessions.check(&ann("s1")).wait().await.unwrap_err().status, 401);
    start(&server.url(), Some(Certificate::generate().file())).await.is_kept_out().await;
    start(&server.url(), None).await.is_kept_out().await;
    let other_name = format!("rediss://{}", server.address());
    start(&other_name, Some(certificate.file())).await.is_kept_out().await;
    let plain = format!("redis://{}", server.address());
    start(&plain, None).await.is_kept_out().await;
}

#[tokio::test]
async fn each_setting_that_cannot_work_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let none = directory.path().join("none.pem");
    type Change = Box<dyn Fn(&mut SessionsSettings, &mut RedisSettings)>;
    let url = |url: &'static str| -> Change { Box::new(move |_, redis| redis.url = Secret::new(url)) };
    let table: Vec<(&str, Change)> = vec![
        ("identity.sessions.redis", url("")),
        ("identity.sessions.redis", url("secret.example:6379")),
        ("identity.sessions.redis", url("http://secret.example")),
        ("identity.sessions.redis", url("redis://")),
        ("identity.sessions.redis", url("redis://secret.example:port")),
        ("identity.sessions.redis", url("redis://secret.example/zero")),
        ("identity.sessions.redis", url("unix:///secret")),
        ("identity.sessions.redis", url("rediss://secret.example/#insecure")),
        ("identity.sessions.database", url("redis://secret.example/-1")),
        ("identity.sessions.stream", Box::new(|_, redis| redis.stream = String::new())),
        ("identity.sessions.read_block_ms", Box::new(|_, redis| redis.read_block = Duration::ZERO)),
        ("identity.sessions.lookup_timeout_ms", Box::new(|all, _| all.lookup_timeout = Duration::ZERO)),
        ("identity.sessions.max_stale_ms", Box::new(|all, _| all.max_stale = Duration::ZERO)),
        ("identity.sessions.root_certificate", Box::new(move |_, redis| redis.root_certificate = Some(none.clone()))),
    ];
    for (key, change) in table {
        let mut settings = settings("redis://secret.example", &directory.path().join("sessions.db"));
        let SessionStore::Redis(mut redis) = settings.store.clone() else { unreachable!() };
        change(&mut settings, &mut redis);
        settings.store = SessionStore::Redis(redis);
        let error = Sessions::start(&settings, Handle::current(), clock()).await.err().unwrap().to_string();
        assert!(error.starts_with(key), "{key}: {error}");
        assert!(!error.contains("secret"), "{error}");
    }
}

/// Redis 6 does not say how many entries were ever added: nothing proves then that none was missed.
#[tokio::test]
async fn a_redis_that_does_not_count_is_not_followed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    let mut serve = tokio::task::JoinSet::new();
    serve.spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let mut lines = BufReader::new(socket).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let answer = match line.as_str() {
                    "MULTI" => "+OK\r\n",
                    "XINFO" | "XREAD" => "+QUEUED\r\n",
                    "EXEC" => "*2\r\n*4\r\n$6\r\nlength\r\n:0\r\n$17\r\nlast-generated-id\r\n$3\r\n0-0\r\n*-1\r\n",
                    _ => continue,
                };
                lines.get_mut().write_all(answer.as_bytes()).await.unwrap();
            }
        }
    });
    start(&url, None).await.is_kept_out().await;
    serve.shutdown().await;
}
