//! Entries that were missed, and what only looks like it.

use redis::Cmd;
use tidegate_identity::Revocation;
use tidegate_testkit::redis::Redis;

use crate::fixture::{BLOCK, Fixture, PROMPT, entry, session, words};

/// A session that is held, an entry that was read.
async fn prepared(server: &Redis) -> Fixture {
    let mut fixture = Fixture::start(server).await;
    fixture.write("s1", "active").await;
    fixture.enter("s1").await;
    fixture.barrier("before").await;
    // Gone behind our back: from now on only what is held knows of it.
    let () = fixture.ask("DEL session:s1").await;
    fixture.enter("s1").await;
    fixture
}

/// Does all that in one step, and expects that the place is lost and taken anew.
async fn is_a_gap(commands: Vec<Cmd>) {
    let Some(server) = Redis::start() else { return };
    let mut fixture = prepared(&server).await;
    let mut step = redis::pipe();
    step.atomic();
    for command in commands {
        step.add_command(command).ignore();
    }
    let () = step.query_async(&mut fixture.writer).await.unwrap();
    fixture.hears_of_a_gap(BLOCK + PROMPT).await;
    assert_eq!(fixture.check("s1").await.unwrap_err().status, 401, "nothing is held any more");
    fixture.barrier("after").await;
    assert_eq!(fixture.count(|metrics| &metrics.gaps), 1);
}

#[tokio::test]
async fn all_is_flushed() {
    is_a_gap(vec![words("FLUSHALL")]).await;
}

#[tokio::test]
async fn the_stream_is_deleted() {
    is_a_gap(vec![words("DEL session_events")]).await;
}

#[tokio::test]
async fn the_stream_is_made_anew_with_lower_ids() {
    let mut lower = words("XADD session_events 1-1");
    lower.arg("device_session_id").arg("s1");
    is_a_gap(vec![words("DEL session_events"), lower]).await;
}

#[tokio::test]
async fn the_stream_is_made_anew_with_higher_ids() {
    is_a_gap(vec![words("DEL session_events"), entry("s2", "active"), entry("s3", "active")]).await;
}

#[tokio::test]
async fn entries_are_trimmed_before_they_are_read() {
    is_a_gap(vec![entry("s2", "revoked"), words("XTRIM session_events MAXLEN 0")]).await;
}

#[tokio::test]
async fn an_entry_is_deleted_before_it_is_read() {
    let mut revoked = words("XADD session_events 99999999999999-1");
    revoked.arg("device_session_id").arg("s2");
    is_a_gap(vec![revoked, words("XDEL session_events 99999999999999-1")]).await;
}

#[tokio::test]
async fn what_was_read_may_be_trimmed_and_deleted() {
    let Some(server) = Redis::start() else { return };
    let mut fixture = prepared(&server).await;
    for (n, remove) in ["XTRIM session_events MAXLEN 1", "XTRIM session_events MAXLEN 0"].iter().enumerate() {
        let () = fixture.run(&words(remove)).await;
        // Each is read after a look that followed the last step.
        fixture.barrier(&format!("first-{n}")).await;
        fixture.barrier(&format!("second-{n}")).await;
    }
    let id: String = fixture.run(&entry("s3", "active")).await;
    fixture.barrier("read").await;
    let deleted: u64 = fixture.ask(&format!("XDEL session_events {id}")).await;
    assert_eq!(deleted, 1);
    fixture.barrier("first").await;
    fixture.barrier("second").await;
    assert_eq!(fixture.count(|metrics| &metrics.gaps), 0);
    fixture.enter("s1").await;
}

/// While a hundred thousand entries come, none is missed, and the last is heard of in time.
#[tokio::test]
async fn a_storm_is_read_to_its_end() {
    const STORM: usize = 100_000;
    let Some(server) = Redis::start() else { return };
    let mut fixture = prepared(&server).await;
    for hundred in 0..STORM / 100 {
        let mut storm = redis::pipe();
        for n in 0..100 {
            storm.add_command(entry(&format!("storm-{hundred}-{n}"), "active")).ignore();
        }
        let () = storm.query_async(&mut fixture.writer).await.unwrap();
    }
    let _: String = fixture.run(&entry("s1", "revoked")).await;
    assert_eq!(fixture.hears(PROMPT).await, session("s1"));
    assert_eq!(fixture.count(|metrics| &metrics.entries), STORM as u64 + 3);
    assert_eq!(fixture.count(|metrics| &metrics.gaps), 0);
    fixture.enter("storm-0-0").await;
    assert_eq!(fixture.count(|metrics| &metrics.lookups), 0);
}

/// The stream is no stream: nothing can be followed, and what is held is believed only for so long.
#[tokio::test]
async fn the_stream_is_something_else() {
    let Some(server) = Redis::start() else { return };
    let mut fixture = prepared(&server).await;
    let mut replace = redis::pipe();
    replace.atomic().add_command(words("DEL session_events")).add_command(words("SET session_events x"));
    let () = replace.ignore().query_async(&mut fixture.writer).await.unwrap();
    crate::fixture::until("step is lost", || fixture.count(|metrics| &metrics.disconnects) > 1).await;
    assert_eq!(fixture.count(|metrics| &metrics.in_step), 0);
    let () = fixture.ask("DEL session_events").await;
    assert_eq!(fixture.hears(BLOCK + PROMPT + PROMPT).await, Revocation::RecheckAll);
}
