use std::process::Command;
use std::time::{Duration, Instant};

use tidegate_testkit::postgres::Postgres;
use tidegate_testkit::proxy::{Fault, Proxy};

use super::{eventually, settings, soon};
use crate::postgres::error::{SourceError, SourceErrorKind};
use crate::postgres::lsn::Lsn;
use crate::postgres::settings::Settings;
use crate::postgres::setup;
use crate::postgres::stream::{Gate, PgwireStream, ReplicationStream as _, StreamEvent};

const TABLE: &str = "create table t (id int primary key, body text); create publication tidegate for table t";

async fn started(settings: &Settings, ack: Lsn) -> PgwireStream {
    soon(async { Gate::open(settings, ack).await.unwrap().start().await.unwrap() }).await
}

/// Creates the slot and starts.
async fn first(settings: &Settings) -> PgwireStream {
    soon(async {
        let mut gate = Gate::open(settings, Lsn(0)).await.unwrap();
        gate.create_slot().await.unwrap();
        gate.start().await.unwrap()
    })
    .await
}

/// The next transaction: its xid, its rows' messages, its end.
async fn transaction(stream: &mut PgwireStream) -> (u32, Vec<u8>, Lsn) {
    let (mut xid, mut kinds) = (0, Vec::new());
    loop {
        match soon(stream.next()).await.unwrap() {
            StreamEvent::Begin { xid: begun, .. } => xid = begun,
            StreamEvent::Data(raw) => kinds.push(raw.bytes[0]),
            StreamEvent::Commit { end_lsn, .. } => return (xid, kinds, end_lsn),
            StreamEvent::Message { .. } | StreamEvent::KeepAlive { .. } => {}
        }
    }
}

/// What the stream ends with.
async fn ended(mut stream: PgwireStream) -> SourceError {
    soon(async {
        loop {
            if let Err(error) = stream.next().await {
                break error;
            }
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_confirmed_comes_again_and_what_is_does_not() {
    let Some(server) = Postgres::logical() else { return };
    let session = server.session().await;
    session.run(TABLE).await;
    let settings = settings(&server.url());
    let mut gate = soon(Gate::open(&settings, Lsn(0))).await.unwrap();
    let identity = soon(gate.identify()).await.unwrap();
    assert_eq!(identity.system_id.to_string(), session.text("select system_identifier from pg_control_system()").await);
    assert_eq!(identity.timeline, 1);
    let created = soon(gate.create_slot()).await.unwrap();
    assert!(created.consistent_point > Lsn(0));
    let mut stream = soon(gate.start()).await.unwrap();
    session.run("insert into t values (1, 'a'), (2, 'b')").await;
    session.run("update t set body = 'c' where id = 1; delete from t where id = 2").await;
    let (xid, kinds, end) = transaction(&mut stream).await;
    assert_eq!(kinds, b"RII");
    assert!(xid > 0);
    let second = transaction(&mut stream).await;
    assert_eq!(second.1, b"UD");
    stream.confirm(end);
    let confirmed = || async {
        let sql = "select confirmed_flush_lsn from pg_replication_slots where slot_name like 'tidegate%'";
        session.lsn(sql).await >= end.0
    };
    // A raised position reaches the server within a second.
    let asked = Instant::now();
    eventually("the server knows what was confirmed", confirmed).await;
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    drop(stream);
    // From the slot's position, whatever is acknowledged of late: the second comes again, the first does not.
    let mut stream = started(&settings, end).await;
    let again = transaction(&mut stream).await;
    assert_eq!((again.0, again.2), (second.0, second.2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_stream_frees_its_slot_whatever_it_is_doing() {
    let Some(server) = Postgres::logical() else { return };
    let session = server.session().await;
    session.run(TABLE).await;
    let settings = settings(&server.url());
    let mut stream = first(&settings).await;
    // Idle; then with far more waiting than is buffered, in the middle of a transaction.
    for busy in [false, true] {
        if busy {
            session.run("insert into t select i, repeat('x', 2000) from generate_series(1, 50000) i").await;
            while !matches!(soon(stream.next()).await.unwrap(), StreamEvent::Data(_)) {}
        }
        drop(stream);
        let asked = Instant::now();
        stream = loop {
            let mut gate = Gate::open(&settings, Lsn(0)).await.unwrap();
            gate.identify().await.unwrap();
            match gate.start().await {
                Ok(stream) => break stream,
                Err(error) => assert_eq!((error.sqlstate(), error.is_retryable()), (Some("55006"), true), "{error}"),
            }
            assert!(asked.elapsed() < Duration::from_secs(5), "the slot is still held");
        };
    }
    // A gate that never started holds nothing either.
    drop(stream);
    drop(soon(Gate::open(&settings, Lsn(0))).await.unwrap());
    eventually("no sender is left", || async {
        session.text("select count(*) from pg_stat_activity where backend_type = 'walsender'").await == "0"
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_stalls_longer_than_the_servers_patience_keeps_the_session() {
    let Some(server) = Postgres::logical_builder().set("wal_sender_timeout", "2s").start() else { return };
    let session = server.session().await;
    session.run(TABLE).await;
    let mut settings = settings(&server.url());
    // Becomes the session's wal_sender_timeout.
    settings.stall_timeout = Duration::from_secs(2);
    let mut stream = first(&settings).await;
    session.run("insert into t select i, repeat('x', 2000) from generate_series(1, 50000) i").await;
    tokio::time::sleep(Duration::from_secs(6)).await;
    let (_, kinds, _) = transaction(&mut stream).await;
    assert_eq!(kinds.iter().filter(|kind| **kind == b'I').count(), 50_000);
    // It was this session all along.
    session.run("insert into t values (0, '')").await;
    assert_eq!(transaction(&mut stream).await.1, b"I");
    // Nothing happens for a while: the server's word that it is there is enough, also for who doesn't listen.
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert!(matches!(soon(stream.next()).await.unwrap(), StreamEvent::KeepAlive { .. }));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keepalives_tell_how_far_the_log_is_empty_of_us() {
    let Some(server) = Postgres::logical() else { return };
    let session = server.session().await;
    session.run(TABLE).await;
    let mut settings = settings(&server.url());
    settings.stall_timeout = Duration::from_secs(4);
    let mut stream = first(&settings).await;
    session.run("create table other (id int); insert into other select generate_series(1, 1000)").await;
    let written = session.lsn("select pg_current_wal_flush_lsn()").await;
    soon(async {
        loop {
            match stream.next().await.unwrap() {
                StreamEvent::KeepAlive { wal_end } if wal_end.0 >= written => break,
                _ => {}
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_black_hole_is_noticed() {
    let Some(server) = Postgres::logical() else { return };
    let session = server.session().await;
    session.run(TABLE).await;
    let proxy = Proxy::start(server.address()).await.unwrap();
    let mut settings = settings(&server.url().replace(&server.address().to_string(), &proxy.address().to_string()));
    settings.stall_timeout = Duration::from_secs(2);
    settings.connect_timeout = Duration::from_secs(1);
    let mut stream = first(&settings).await;
    // Longer than the timeout, while nothing but the server's keepalives passes.
    let quiet = Instant::now();
    while quiet.elapsed() < Duration::from_secs(5) {
        soon(stream.next()).await.unwrap();
    }
    proxy.set(Fault::BlackHole);
    let asked = Instant::now();
    let error = ended(stream).await;
    // The server gives up at the same time, and a proxy passes that on.
    assert!(error.is_retryable(), "{error}");
    assert!(asked.elapsed() < Duration::from_secs(4), "{:?}", asked.elapsed());
    let error = soon(Gate::open(&settings, Lsn(0))).await.err().unwrap();
    assert_eq!((error.kind(), error.is_retryable()), (SourceErrorKind::TimedOut, true), "{error}");
    // The server loses patience with the dead session by itself, as its timeout is ours.
    proxy.set(Fault::None);
    eventually("the slot is free again", || async {
        session.text("select active from pg_replication_slots").await == "f"
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hangs_is_noticed() {
    let Some(server) = Postgres::logical() else { return };
    let session = server.session().await;
    session.run(TABLE).await;
    let mut settings = settings(&server.url());
    settings.stall_timeout = Duration::from_secs(2);
    let mut stream = first(&settings).await;
    let sender = session.text("select active_pid from pg_replication_slots").await;
    let signal = |name: &str| assert!(Command::new("kill").args([name, &sender]).status().unwrap().success());
    signal("-STOP");
    let asked = Instant::now();
    let error = soon(async {
        loop {
            // However often it is asked and let go of again.
            if let Ok(Err(error)) = tokio::time::timeout(Duration::from_millis(50), stream.next()).await {
                break error;
            }
        }
    })
    .await;
    signal("-CONT");
    assert_eq!((error.kind(), error.is_retryable()), (SourceErrorKind::Stalled, true), "{error}");
    assert!(asked.elapsed() < Duration::from_secs(4), "{:?}", asked.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_barrier_comes_through_an_idle_server_at_once() {
    let Some(server) = Postgres::logical() else { return };
    let session = server.session().await;
    // As an account may have it.
    session.run(&format!("{TABLE}; alter role postgres set synchronous_commit = off")).await;
    let settings = settings(&server.url());
    let mut stream = first(&settings).await;
    let client =
        soon(crate::postgres::connect::connect(&settings, crate::postgres::connect::Via::Direct)).await.unwrap();
    for round in 0..3 {
        // The log writer goes to sleep for long when there is nothing to do.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let content = format!("it's {round}\0");
        let asked = Instant::now();
        let at = soon(setup::emit_barrier(&client, content.as_bytes())).await.unwrap();
        let got = soon(async {
            loop {
                if let StreamEvent::Message { transactional, lsn, prefix, content } = stream.next().await.unwrap() {
                    break (transactional, lsn, prefix, content);
                }
            }
        })
        .await;
        assert_eq!((got.0, got.2.as_str(), &got.3[..]), (false, setup::MESSAGE_PREFIX, content.as_bytes()));
        assert!(got.1 <= at, "{} {at}", got.1);
        assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrators_word_and_a_message_too_large_end_it() {
    let Some(server) = Postgres::logical() else { return };
    let session = server.session().await;
    session.run(TABLE).await;
    let mut settings = settings(&server.url());
    settings.max_message_bytes = 64 * 1024;
    let mut stream = first(&settings).await;
    session.run("select pg_terminate_backend(active_pid) from pg_replication_slots").await;
    let error = ended(stream).await;
    assert!(error.is_retryable(), "{error:?}");
    eventually("the slot is free again", || async {
        session.text("select active from pg_replication_slots").await == "f"
    })
    .await;
    stream = started(&settings, Lsn(0)).await;
    // Compression is the server's matter: the stream carries all of it.
    session.run("insert into t values (1, repeat('x', 100000))").await;
    let error = ended(stream).await;
    assert_eq!((error.kind(), error.is_retryable()), (SourceErrorKind::TooLarge, false), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_must_be_quoted_are() {
    let Some(server) = Postgres::logical() else { return };
    let session = server.session().await;
    session.run("create table t (id int primary key); create publication \"Odd, 'na\"\"me\" for table t").await;
    let mut settings = settings(&server.url());
    settings.slot = "0slot".to_owned();
    settings.publication = "Odd, 'na\"me".to_owned();
    let mut stream = first(&settings).await;
    session.run("insert into t values (1)").await;
    assert_eq!(transaction(&mut stream).await.1, b"RI");
    drop(stream);
    // No slot: said as what it is.
    settings.slot = "none".to_owned();
    let error = soon(soon(Gate::open(&settings, Lsn(0))).await.unwrap().start()).await.err().unwrap();
    assert_eq!((error.sqlstate(), error.is_retryable()), (Some("42704"), false), "{error}");
}
