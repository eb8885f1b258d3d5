//! Redis ends, freezes, is another one, or is not there yet.

use std::time::Duration;

use tidegate_identity::{Revocation, Sessions};
use tidegate_testkit::redis::Redis;
use tokio::runtime::Handle;

use crate::fixture::{BLOCK, Fixture, PROMPT, clock, settings, until, words, writer};

/// A session that is held, and whose hash is gone: only what is held knows of it.
async fn prepared(server: &Redis) -> Fixture {
    let fixture = Fixture::with(server, |settings| settings.lookup_timeout = Duration::from_millis(300));
    let mut fixture = fixture.await;
    fixture.write("s1", "active").await;
    fixture.barrier("before").await;
    let () = fixture.ask("DEL session:s1").await;
    fixture.enter("s1").await;
    fixture
}

impl Fixture {
    /// It goes on where it was.
    async fn went_on(&mut self) {
        self.barrier("after").await;
        assert_eq!(self.count(|metrics| &metrics.gaps), 0);
        self.enter("s1").await;
        self.write("s2", "active").await;
        self.enter("s2").await;
    }
}

#[tokio::test]
async fn killed_and_started_again_with_its_data() {
    let Some(mut server) = Redis::start() else { return };
    let mut fixture = prepared(&server).await;
    server.kill();
    until("the end is noticed", || fixture.count(|metrics| &metrics.in_step) == 0).await;
    assert_eq!(fixture.check("s2").await.unwrap_err().status, 503);
    fixture.enter("s1").await;
    server.resume();
    fixture.reconnect(&server).await;
    fixture.went_on().await;
}

#[tokio::test]
async fn killed_and_started_again_with_nothing() {
    let Some(mut server) = Redis::start() else { return };
    let mut fixture = prepared(&server).await;
    server.kill();
    server.resume_empty();
    fixture.hears_of_a_gap(BLOCK + PROMPT).await;
    assert_eq!(fixture.check("s1").await.unwrap_err().status, 401);
    fixture.reconnect(&server).await;
    fixture.barrier("after").await;
}

/// As many entries as before, and higher ids.
#[tokio::test]
async fn another_server_has_its_place() {
    let Some(mut server) = Redis::start() else { return };
    let mut fixture = prepared(&server).await;
    server.freeze();
    server.kill();
    server.resume_empty();
    fixture.reconnect(&server).await;
    fixture.write("s8", "active").await;
    fixture.write("s9", "active").await;
    fixture.hears_of_a_gap(BLOCK + PROMPT).await;
    assert_eq!(fixture.check("s1").await.unwrap_err().status, 401);
    fixture.enter("s8").await;
}

#[tokio::test]
async fn frozen_for_longer_than_a_read() {
    let Some(server) = Redis::start() else { return };
    let mut fixture = prepared(&server).await;
    server.freeze();
    assert_eq!(fixture.check("s2").await.unwrap_err().status, 503);
    until("the connection is given up", || fixture.count(|metrics| &metrics.disconnects) > 0).await;
    fixture.enter("s1").await;
    server.thaw();
    fixture.went_on().await;
}

#[tokio::test]
async fn clients_are_paused_for_longer_than_a_read() {
    let Some(server) = Redis::start() else { return };
    let mut fixture = prepared(&server).await;
    let () = fixture.ask("CLIENT PAUSE 1500 ALL").await;
    assert_eq!(fixture.check("s2").await.unwrap_err().status, 503);
    until("the connection is given up", || fixture.count(|metrics| &metrics.disconnects) > 0).await;
    fixture.went_on().await;
}

#[tokio::test]
async fn each_connection_is_cut() {
    let Some(server) = Redis::start() else { return };
    let mut fixture = prepared(&server).await;
    for round in 0..5 {
        // So that both are there: the one that follows, and the one that looks up.
        fixture.write(&format!("r{round}"), "active").await;
        let () = fixture.ask("XTRIM session_events MAXLEN 1000").await;
        assert_eq!(fixture.check("nobody").await.unwrap_err().status, 401);
        let clients: String = fixture.ask("CLIENT LIST TYPE normal").await;
        assert_eq!(clients.lines().count(), 3, "{clients}");
        let killed: u64 = fixture.ask("CLIENT KILL TYPE normal SKIPME yes").await;
        assert_eq!(killed, 2);
        // The look-up's connection is made anew for the question that finds it cut.
        assert_eq!(fixture.check("nobody").await.unwrap_err().status, 401);
        fixture.barrier(&format!("after-{round}")).await;
    }
    fixture.went_on().await;
}

#[tokio::test]
async fn it_is_not_there_at_the_start() {
    let Some(mut server) = Redis::start() else { return };
    server.kill();
    let directory = tempfile::tempdir().unwrap();
    let settings = settings(&server.url(), &directory.path().join("sessions.db"));
    let sessions = Sessions::start(&settings, Handle::current(), clock()).await.unwrap();
    assert!(sessions.trouble().is_some());
    let ann = crate::fixture::ann("s1");
    assert_eq!(sessions.check(&ann).wait().await.unwrap_err().status, 503);
    server.resume();
    let mut writer = writer(&server.url()).await;
    let () = crate::fixture::hash("s1", "active").query_async(&mut writer).await.unwrap();
    until("it is in step", || sessions.trouble().is_none()).await;
    assert_eq!(sessions.check(&ann).wait().await.unwrap().as_deref(), Some("key"));
}

#[tokio::test]
async fn what_is_held_goes_stale() {
    let Some(mut server) = Redis::start() else { return };
    for close in [false, true] {
        let mut fixture = Fixture::with(&server, |settings| {
            settings.lookup_timeout = Duration::from_millis(100);
            settings.max_stale = Duration::from_secs(1);
            settings.close_when_stale = close;
        })
        .await;
        fixture.write("s1", "active").await;
        fixture.write("s2", "revoked").await;
        fixture.barrier("before").await;
        fixture.enter("s1").await;
        server.kill();
        if close {
            assert_eq!(fixture.hears(PROMPT + PROMPT).await, Revocation::RecheckAll);
        }
        until("it is stale", || fixture.sessions.trouble().is_some()).await;
        assert_eq!(fixture.check("s1").await.unwrap_err().status, 503);
        assert_eq!(fixture.check("s2").await.unwrap_err().code, "revoked");
        server.resume();
        until("it is in step again", || fixture.sessions.trouble().is_none()).await;
        fixture.enter("s1").await;
        fixture.reconnect(&server).await;
        fixture.barrier("after").await;
        assert_eq!(fixture.count(|metrics| &metrics.gaps), 0);
        let () = fixture.run(&words("FLUSHALL")).await;
    }
}
