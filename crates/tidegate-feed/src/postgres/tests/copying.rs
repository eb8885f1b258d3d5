use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tidegate_model::Value;
use tidegate_testkit::postgres::{Postgres, Session};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_postgres::Client;

use super::{eventually, mapping, settings, soon};
use crate::postgres::connect::{Via, connect};
use crate::postgres::copy::{Batch, CopyLimits, Seen, SnapshotSource, begin, copy_table, wait_for_older};
use crate::postgres::error::{SourceError, SourceErrorKind};
use crate::postgres::lsn::Lsn;
use crate::postgres::pgoutput::{Cell, Message, decode};
use crate::postgres::settings::Settings;
use crate::postgres::stream::{Gate, ReplicationStream, StreamEvent};

/// What is in a table `(id, body)`.
pub(super) type Rows = BTreeMap<i64, String>;

fn row(values: &[Value]) -> (i64, String) {
    let [Value::Int(id), Value::Text(body)] = values else { panic!("{values:?}") };
    (*id, body.to_string())
}

/// Copies `table` in the transaction that is open on `client`.
pub(super) async fn copy(
    client: &Client,
    settings: &Settings,
    table: &str,
    limits: &CopyLimits,
) -> Result<Rows, SourceError> {
    let mapping = mapping(client, table).await;
    let (sink, mut batches) = mpsc::channel::<Batch>(1);
    let taken = async {
        let mut rows = Rows::new();
        while let Some(batch) = batches.recv().await {
            assert!(batch.len() <= limits.batch_rows && !batch.is_empty());
            for values in &batch {
                let (id, body) = row(values);
                assert!(rows.insert(id, body).is_none());
            }
        }
        rows
    };
    let copied = async {
        let copied = copy_table(client, &mapping, limits, &sink).await;
        drop(sink);
        copied
    };
    let (copied, rows) = soon(async { tokio::join!(copied, taken) }).await;
    assert_eq!(copied?, rows.len() as u64, "{settings:?}");
    Ok(rows)
}

/// Copies `table` by a connection and transaction of its own.
pub(super) async fn copied(settings: &Settings, table: &str, snapshot: Option<String>) -> (Rows, Seen) {
    let client = soon(connect(settings, Via::Copy)).await.unwrap();
    let source = snapshot.map_or(SnapshotSource::Fresh, SnapshotSource::Exported);
    let seen = soon(begin(&client, &source)).await.unwrap();
    let rows = copy(&client, settings, table, &CopyLimits::of(settings)).await.unwrap();
    client.batch_execute("COMMIT").await.unwrap();
    (rows, seen)
}

async fn table(session: &Session) -> Rows {
    let rows = session.rows("select id, body from t").await;
    rows.into_iter().map(|mut row| (row[0].take().unwrap().parse().unwrap(), row[1].take().unwrap())).collect()
}

/// Sessions that change the table `t` until told to stop, some transactions short and some long, some rolled back.
fn writers(server: &Postgres, stop: &Arc<AtomicBool>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for writer in 0..4u32 {
        let (parameters, stop) = (server.parameters(), stop.clone());
        tasks.spawn(async move {
            let session = Session::connect(&parameters).await.unwrap();
            for round in 0u32.. {
                if stop.load(Ordering::SeqCst) {
                    break;
                }
                let (id, end) = ((round * 7 + writer) % 50, if round % 5 == 4 { "rollback" } else { "commit" });
                let pause = if round % 9 == 0 { "select pg_sleep(0.05);" } else { "" };
                let delete = if round % 3 == 0 { format!("delete from t where id = {};", (round * 11) % 50) } else { String::new() };
                // A deadlock or two is part of it.
                let _ = session
                    .batch_execute(&format!(
                        "begin; insert into t values ({id}, 'w{writer} r{round}') on conflict (id) do update set body = excluded.body; \
                         {pause} {delete} {end}"
                    ))
                    .await;
                let _ = session.batch_execute("rollback").await;
            }
        });
    }
    tasks
}

/// Applies every streamed transaction up to `until` that was not seen.
async fn follow(stream: &mut impl ReplicationStream, rows: &mut Rows, seen: impl Fn(u32) -> bool, until: Lsn) -> usize {
    let text = |cell: &Cell<'_>| match cell {
        Cell::Text(bytes) => std::str::from_utf8(bytes).unwrap().to_owned(),
        other => panic!("{other:?}"),
    };
    let (mut skip, mut skipped) = (false, 0);
    loop {
        match soon(stream.next()).await.unwrap() {
            StreamEvent::Begin { xid, .. } => {
                skip = seen(xid);
                skipped += usize::from(skip);
            }
            StreamEvent::Data(raw) if !skip => match decode(&raw.bytes).unwrap() {
                Message::Insert { new, .. } | Message::Update { new, .. } => {
                    rows.insert(text(&new[0]).parse().unwrap(), text(&new[1]));
                }
                Message::Delete { old, .. } => {
                    let key = match &old {
                        crate::postgres::pgoutput::Old::Key(tuple) | crate::postgres::pgoutput::Old::Full(tuple) => {
                            &tuple[0]
                        }
                    };
                    rows.remove(&text(key).parse().unwrap());
                }
                _ => {}
            },
            StreamEvent::Commit { end_lsn, .. } if end_lsn >= until => return skipped,
            StreamEvent::KeepAlive { wal_end } if wal_end >= until => return skipped,
            _ => {}
        }
    }
}

const TABLE: &str = "create table t (id int primary key, body text not null); alter table t replica identity full; \
                     create publication tidegate for table t";

/// A last change, so that the stream has an end to be found.
async fn last_change(session: &Session) -> Lsn {
    session.run("insert into t values (1000, 'end') on conflict (id) do update set body = 'end of ' || t.body").await;
    Lsn(session.lsn("select pg_current_wal_flush_lsn()").await)
}

/// Waits until writers have begun a number of transactions more.
async fn some_writes(session: &Session) {
    let begun = || async {
        let text = session.text("select pg_snapshot_xmax(pg_current_snapshot())").await;
        text.parse::<u64>().unwrap()
    };
    let before = begun().await;
    super::eventually("some writes", || async { begun().await >= before + 20 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_exported_snapshot_and_the_stream_make_the_table() {
    let Some(server) = Postgres::logical() else { return };
    let session = server.session().await;
    session.run(TABLE).await;
    let mut settings = settings(&server.url());
    for round in 0..4 {
        settings.slot = format!("round_{round}");
        let stop = Arc::new(AtomicBool::new(false));
        let mut writing = writers(&server, &stop);
        some_writes(&session).await;
        let mut gate = soon(Gate::open(&settings, Lsn(0))).await.unwrap();
        let created = soon(gate.create_slot()).await.unwrap();
        some_writes(&session).await;
        // More than one may read it, until the stream starts.
        let (mut rows, seen) = copied(&settings, "t", Some(created.snapshot.clone())).await;
        assert_eq!(seen, Seen::AtSlot);
        assert_eq!(copied(&settings, "t", Some(created.snapshot.clone())).await.0, rows);
        let mut stream = soon(gate.start()).await.unwrap();
        let client = soon(connect(&settings, Via::Copy)).await.unwrap();
        let error = soon(begin(&client, &SnapshotSource::Exported(created.snapshot))).await.unwrap_err();
        assert!(!error.is_retryable(), "{error}");
        some_writes(&session).await;
        stop.store(true, Ordering::SeqCst);
        while writing.join_next().await.is_some() {}
        let end = last_change(&session).await;
        follow(&mut stream, &mut rows, |_| false, end).await;
        assert_eq!(rows, table(&session).await, "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_copy_and_what_it_had_not_seen_make_the_table() {
    let Some(server) = Postgres::logical() else { return };
    let session = server.session().await;
    session.run(TABLE).await;
    let mut settings = settings(&server.url());
    let mut skipped = 0;
    for round in 0..4 {
        settings.slot = format!("round_{round}");
        let stop = Arc::new(AtomicBool::new(false));
        let mut writing = writers(&server, &stop);
        some_writes(&session).await;
        let mut gate = soon(Gate::open(&settings, Lsn(0))).await.unwrap();
        soon(gate.create_slot()).await.unwrap();
        let mut stream = soon(gate.start()).await.unwrap();
        // Recording begins here: from then on everything is in the stream.
        let client = soon(connect(&settings, Via::Copy)).await.unwrap();
        soon(wait_for_older(&client)).await.unwrap();
        some_writes(&session).await;
        let (mut rows, seen) = copied(&settings, "t", None).await;
        let Seen::Snapshot(snapshot) = seen else { panic!("{seen:?}") };
        some_writes(&session).await;
        stop.store(true, Ordering::SeqCst);
        while writing.join_next().await.is_some() {}
        let end = last_change(&session).await;
        skipped += follow(&mut stream, &mut rows, |xid| snapshot.sees(snapshot.extend(xid)), end).await;
        assert_eq!(rows, table(&session).await, "round {round}");
    }
    assert!(skipped > 0, "nothing that was streamed had been seen: the test shows nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn older_transactions_are_waited_for_and_later_ones_are_not() {
    let Some(server) = Postgres::logical() else { return };
    let (session, older, later) = (server.session().await, server.session().await, server.session().await);
    session.run("create table t (id int primary key, body text)").await;
    let settings = settings(&server.url());
    let client = soon(connect(&settings, Via::Copy)).await.unwrap();
    assert_eq!(soon(wait_for_older(&client)).await, Ok(1));
    // Nothing that is younger has ended: no snapshot tells of it yet.
    older.run("begin; insert into t values (1, 'older')").await;
    let waiting = wait_for_older(&client);
    tokio::pin!(waiting);
    assert!(tokio::time::timeout(Duration::from_millis(400), &mut waiting).await.is_err());
    later.run("begin; insert into t values (2, 'later')").await;
    assert!(tokio::time::timeout(Duration::from_millis(200), &mut waiting).await.is_err());
    older.run("commit").await;
    assert!(soon(waiting).await.unwrap() > 1);
    let (rows, _) = copied(&settings, "t", None).await;
    assert_eq!(rows.keys().copied().collect::<BTreeSet<_>>(), BTreeSet::from([1]));
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_are_bounded_and_who_is_slow_slows_the_server_down() {
    let Some(server) = Postgres::logical() else { return };
    let session = server.session().await;
    session.run("create table t (id int primary key, body text not null)").await;
    session.run("insert into t select i, repeat('x', 1000) from generate_series(1, 60000) i").await;
    let settings = settings(&server.url());
    let limits =
        CopyLimits { batch_rows: 500, batch_bytes: 100_000, row_bytes: 1100, stall_timeout: Duration::from_secs(60) };
    let client = soon(connect(&settings, Via::Copy)).await.unwrap();
    soon(begin(&client, &SnapshotSource::Fresh)).await.unwrap();
    let mapping = mapping(&client, "t").await;
    let (sink, mut batches) = mpsc::channel::<Batch>(1);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let copied = copy_table(&client, &mapping, &limits, &sink).await;
        (copied, client)
    });
    let first = soon(batches.recv()).await.unwrap();
    assert!(first.len() < 110, "{}", first.len());
    // Far less than the 60 MB fits into the buffers in between: the server waits until the rest is taken.
    eventually("the server waits for the client", || async {
        session.text("select count(*) from pg_stat_activity where wait_event = 'ClientWrite'").await == "1"
    })
    .await;
    let progress = "select coalesce(sum(tuples_processed), 0) from pg_stat_progress_copy";
    assert!(session.text(progress).await.parse::<u64>().unwrap() < 30_000);
    let mut rows = first.len();
    while let Some(batch) = soon(batches.recv()).await {
        rows += batch.len();
    }
    assert_eq!(rows, 60_000);
    let (copied, client) = soon(tasks.join_next()).await.unwrap().unwrap();
    assert_eq!(copied, Ok(60_000));
    // One that is not taken at all ends; so does one with a row too large.
    let mapping = super::mapping(&client, "t").await;
    let (sink, batches) = mpsc::channel(1);
    drop(batches);
    let error = soon(copy_table(&client, &mapping, &limits, &sink)).await.unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::Stopped);
    drop(client);
    session.run("insert into t values (0, repeat('x', 1100))").await;
    let client = soon(connect(&settings, Via::Copy)).await.unwrap();
    soon(begin(&client, &SnapshotSource::Fresh)).await.unwrap();
    let error = copy(&client, &settings, "t", &limits).await.unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), (SourceErrorKind::TooLarge, false), "{error}");
    // Dropped, it leaves nothing running.
    drop(client);
    eventually("no copy is left", || async { session.text("select count(*) from pg_stat_progress_copy").await == "0" })
        .await;
}
