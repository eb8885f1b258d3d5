//! Copies and what is kept beside them: states, bulk loads, pending, notes; over rollbacks, reopenings and kills.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;

use tidegate_mirror::{ApplyError, Loaded, Mirror, MirrorError, Options, Refusal, SourceOp, State, Writer};
use tidegate_model::{Catalog, EntityBuilder, EntityId, Position, ScanError, Tenant, Type, Value};

use super::{ENTITY, apply, catalog, entity, open, put};

const COLUMNS: [(&str, Type); 3] = [("id", Type::Int), ("org", Type::Text), ("text", Type::Text)];

fn sourced() -> EntityBuilder {
    EntityBuilder { sourced: true, tenant: Some("org".into()), ..entity(&COLUMNS, &["id"], &[&["text"]]) }
}

fn row(id: i64, org: Option<&str>, text: &str) -> Box<[Value]> {
    Box::new([Value::Int(id), org.map_or(Value::Null, Value::text), Value::text(text)])
}

fn load(writer: &mut Writer, rows: Vec<Box<[Value]>>) -> Result<Loaded, ApplyError> {
    writer.load(ENTITY, &mut rows.into_iter(), Position(1))
}

fn upsert(row: Box<[Value]>) -> SourceOp {
    SourceOp::Upsert { old_key: None, cells: row.into_iter().map(Some).collect() }
}

fn pending(writer: &Writer) -> Vec<(u64, Vec<u8>)> {
    writer.pending(ENTITY, 100).unwrap().into_iter().map(|pending| (pending.xid, pending.bytes)).collect()
}

#[test]
fn a_copy_is_seen_when_it_is_ready() {
    let dir = tempfile::tempdir().unwrap();
    let (mirror, mut writer) = open(dir.path(), &catalog(&sourced()));
    let get = |id: i64| mirror.get(ENTITY, &Tenant::new("a"), vec![Value::Int(id)]).map(|(row, _)| row.is_some());
    assert_eq!(get(1), Err(ScanError::NotReady));
    writer.begin().unwrap();
    let loaded = load(&mut writer, vec![row(1, Some("a"), "x"), row(2, Some("b"), "y"), row(3, None, "z")]).unwrap();
    assert_eq!(loaded.rows, 3);
    writer.commit().unwrap();
    assert_eq!(mirror.row_count(ENTITY), Err(ScanError::NotReady));
    writer.begin().unwrap();
    writer.set_ready(ENTITY).unwrap();
    writer.advance(Position(7)).unwrap();
    assert!(matches!(load(&mut writer, vec![]), Err(ApplyError::Store(MirrorError::Misuse(_)))));
    assert_eq!(get(1), Err(ScanError::NotReady));
    writer.commit().unwrap();
    assert_eq!((get(1), get(2), get(3)), (Ok(true), Ok(false), Ok(false)));
    // The row of no tenant is nobody's.
    assert_eq!(mirror.row_count(ENTITY), Ok(2));
    writer.unavailable(ENTITY, Some("the table was dropped".into()));
    assert_eq!(get(1), Err(ScanError::Unavailable("the table was dropped".into())));
    writer.unavailable(ENTITY, None);
    assert_eq!(get(1), Ok(true));
    writer.begin().unwrap();
    writer.clear(ENTITY).unwrap();
    assert_eq!(get(1), Ok(true));
    writer.commit().unwrap();
    assert_eq!((get(1), writer.state(ENTITY)), (Err(ScanError::NotReady), State::Filling));
}

#[test]
fn a_row_that_cannot_be_held_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { row_bytes_max: 1_000, ..Options::default() };
    let (_mirror, mut writer) = Mirror::open(dir.path(), &catalog(&sourced()), &options).unwrap();
    writer.begin().unwrap();
    load(&mut writer, vec![row(1, Some("a"), "")]).unwrap();
    let large = "x".repeat(2_000);
    let refused = |result: Result<Loaded, ApplyError>| match result {
        Err(ApplyError::Refused { index: 1, refusal: Refusal::Row { key, refusal } }) => (key, *refusal),
        other => panic!("{other:?}"),
    };
    // The same key for another tenant and for none: a source has it once.
    for (id, org) in [(1, Some("a")), (1, Some("b")), (1, None)] {
        let result = load(&mut writer, vec![row(id + 10, None, ""), row(id, org, "")]);
        assert_eq!(refused(result), ("id = 1".to_owned(), Refusal::Duplicate));
        let upto = [SourceOp::Delete { key: vec![Value::Int(11)] }];
        writer.open(Position(writer.position().0 + 1)).unwrap();
        upto.into_iter().for_each(|op| writer.write(ENTITY, op).unwrap());
        writer.close().unwrap();
    }
    let result = load(&mut writer, vec![row(2, None, ""), row(3, Some("a"), &large)]);
    assert!(matches!(refused(result), (key, Refusal::RowSize { max: 1_000, .. }) if key == "id = 3"));
    let mut null = row(5, None, "");
    null[0] = Value::Null;
    let result = load(&mut writer, vec![row(4, None, ""), null]);
    assert_eq!(refused(result), ("id = null".to_owned(), Refusal::Null { column: 0 }));
    // Of a transaction: it goes on without the row.
    writer.set_ready(ENTITY).unwrap();
    writer.open(Position(writer.position().0 + 1)).unwrap();
    match writer.write(ENTITY, upsert(row(1, Some("a"), &large))) {
        Err(ApplyError::Refused { index: 0, refusal }) => {
            assert!(refusal.to_string().starts_with("row id = 1: the row has"));
        }
        other => panic!("{other:?}"),
    }
    writer.write(ENTITY, upsert(row(1, Some("a"), "small"))).unwrap();
    let told = writer.close().unwrap();
    assert_eq!((told.changes.len(), told.reloads.len()), (1, 0));
}

#[test]
fn a_key_cell_that_is_unchanged_is_that_of_the_old_key() {
    let dir = tempfile::tempdir().unwrap();
    let mut builder = sourced();
    builder.key = vec!["id".into(), "text".into()];
    let (mirror, mut writer) = open(dir.path(), &catalog(&builder));
    writer.begin().unwrap();
    load(&mut writer, vec![row(1, Some("a"), "key")]).unwrap();
    writer.set_ready(ENTITY).unwrap();
    writer.open(Position(2)).unwrap();
    let old_key = Some(vec![Value::Int(1), Value::text("key")]);
    writer.write(ENTITY, SourceOp::Upsert { old_key, cells: vec![Some(Value::Int(2)), None, None] }).unwrap();
    let unknown = SourceOp::Upsert { old_key: None, cells: vec![Some(Value::Int(2)), None, None] };
    assert!(matches!(
        writer.write(ENTITY, unknown),
        Err(ApplyError::Refused { refusal: Refusal::Unknown { column: 2 }, .. })
    ));
    assert_eq!(writer.close().unwrap().changes.len(), 2);
    writer.commit().unwrap();
    let key = vec![Value::Int(2), Value::text("key")];
    assert!(mirror.get(ENTITY, &Tenant::new("a"), key).unwrap().0.is_some());
}

#[test]
fn a_transaction_past_the_fold_is_written_as_it_comes() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { fold_rows_max: 100, ..Options::default() };
    let (mirror, mut writer) = Mirror::open(dir.path(), &catalog(&sourced()), &options).unwrap();
    writer.begin().unwrap();
    writer.set_ready(ENTITY).unwrap();
    writer.open(Position(1)).unwrap();
    for id in 0..10_000 {
        writer.write(ENTITY, upsert(row(id % 9_000, Some("a"), &id.to_string()))).unwrap();
        // What is not written is in memory.
        let written = writer.metrics().rows_written.load(Ordering::Relaxed) as i64;
        assert!(id + 1 - written <= 100, "{written} of {id}");
    }
    let told = writer.close().unwrap();
    assert_eq!((told.changes.len(), &*told.reloads), (0, &[ENTITY][..]));
    writer.commit().unwrap();
    assert_eq!(mirror.row_count(ENTITY), Ok(9_000));
}

#[test]
#[cfg(target_os = "linux")]
#[ignore = "takes a minute: a million rows in one transaction, twice"]
fn a_million_rows_in_one_transaction_take_little_memory() {
    let resident = || -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    let dir = tempfile::tempdir().unwrap();
    let (mirror, mut writer) = open(dir.path(), &catalog(&sourced()));
    writer.begin().unwrap();
    writer.set_ready(ENTITY).unwrap();
    let before = resident();
    for round in 1..3 {
        let began = std::time::Instant::now();
        writer.open(Position(round)).unwrap();
        for id in 0..1_000_000 {
            writer.write(ENTITY, upsert(row(id, Some("a"), &format!("{round}/{id}")))).unwrap();
        }
        assert_eq!(writer.close().unwrap().reloads, [ENTITY]);
        writer.commit().unwrap();
        eprintln!("round {round}: {:?}, {} KiB more at most", began.elapsed(), resident() - before);
        assert!(resident() - before < 192 << 10, "{} KiB", resident() - before);
        writer.begin().unwrap();
    }
    assert_eq!(mirror.row_count(ENTITY), Ok(1_000_000));
}

#[test]
fn notes_and_pending_are_part_of_the_commit() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = catalog(&sourced());
    let (mirror, mut writer) = open(dir.path(), &catalog);
    writer.begin().unwrap();
    writer.note("place", b"one").unwrap();
    (1..=3u64).for_each(|xid| writer.pend(ENTITY, xid << 40, &[xid as u8]).unwrap());
    writer.commit().unwrap();
    assert!(matches!(writer.note("large", &vec![0; (1 << 20) + 1]), Err(MirrorError::NoteSize { .. })));
    writer.begin().unwrap();
    writer.note("place", b"two").unwrap();
    writer.unpend(ENTITY, writer.pending(ENTITY, 2).unwrap()[1].number).unwrap();
    assert_eq!(
        (writer.noted("place").unwrap().unwrap(), pending(&writer)),
        (b"two".to_vec(), vec![(3 << 40, vec![3])])
    );
    writer.rollback();
    let all = vec![(1 << 40, vec![1]), (2 << 40, vec![2]), (3 << 40, vec![3])];
    let is_as_committed = |writer: &Writer| {
        assert_eq!((writer.noted("place").unwrap().unwrap(), pending(writer)), (b"one".to_vec(), all.clone()));
        let metrics = writer.metrics();
        let load = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        assert_eq!((load(&metrics.pending_rows), load(&metrics.pending_bytes)), (3, 3));
    };
    is_as_committed(&writer);
    drop((mirror, writer));
    let (_mirror, writer) = open(dir.path(), &catalog);
    is_as_committed(&writer);
    assert_eq!(writer.noted("other").unwrap(), None);
}

#[test]
fn pending_is_read_in_bounded_parts() {
    let dir = tempfile::tempdir().unwrap();
    let (_mirror, mut writer) = open(dir.path(), &catalog(&sourced()));
    writer.begin().unwrap();
    let large = vec![7; 3 << 20];
    (0..10).for_each(|xid| writer.pend(ENTITY, xid, &large).unwrap());
    let (mut seen, mut parts) = (0, 0);
    while let Some(last) = writer.pending(ENTITY, 1_000).unwrap().last().map(|last| last.number) {
        let part = writer.pending(ENTITY, 1_000).unwrap();
        assert!(part.len() <= 3 && part.iter().zip(seen..).all(|(pending, xid)| pending.xid == xid));
        (seen, parts) = (seen + part.len() as u64, parts + 1);
        writer.unpend(ENTITY, last).unwrap();
    }
    writer.commit().unwrap();
    assert_eq!((seen, parts, writer.metrics().pending_rows.load(Ordering::Relaxed)), (10, 4, 0));
}

#[test]
fn calls_out_of_place_are_errors() {
    let dir = tempfile::tempdir().unwrap();
    let local = entity(&COLUMNS, &["id"], &[]);
    let catalog = Catalog::build(&[sourced(), EntityBuilder { name: "local".into(), ..local }]).unwrap();
    let (_mirror, mut writer) = open(dir.path(), &catalog);
    let misuse = |result: Result<(), ApplyError>| matches!(result, Err(ApplyError::Store(MirrorError::Misuse(_))));
    writer.begin().unwrap();
    assert!(misuse(writer.write(ENTITY, SourceOp::Clear)));
    assert!(misuse(writer.close().map(drop).map_err(ApplyError::from)));
    writer.open(Position(5)).unwrap();
    assert!(misuse(writer.write(tidegate_model::EntityId(1), SourceOp::Clear)));
    assert!(misuse(writer.open(Position(6)).map_err(ApplyError::from)));
    assert!(misuse(writer.advance(Position(6)).map_err(ApplyError::from)));
    assert!(misuse(writer.commit().map_err(ApplyError::from)));
    // Failing, the commit took everything back.
    writer.begin().unwrap();
    assert_eq!(writer.position(), Position(0));
    writer.advance(Position(6)).unwrap();
    assert!(matches!(writer.open(Position(6)), Err(MirrorError::PositionOrder { last: 6, next: 6 })));
}

#[test]
fn another_definition_is_copied_again_and_own_rows_are_never_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let (mirror, mut writer) = open(dir.path(), &catalog(&sourced()));
    writer.begin().unwrap();
    load(&mut writer, vec![row(1, Some("a"), "")]).unwrap();
    writer.pend(ENTITY, 1, b"x").unwrap();
    writer.set_ready(ENTITY).unwrap();
    writer.commit().unwrap();
    drop((mirror, writer));
    let (mirror, writer) = open(dir.path(), &catalog(&sourced()));
    assert_eq!((writer.state(ENTITY), mirror.row_count(ENTITY)), (State::Ready, Ok(1)));
    drop((mirror, writer));
    let refused = |dir: &Path, builder: &EntityBuilder| {
        matches!(Mirror::open(dir, &catalog(builder), &Options::default()), Err(MirrorError::Migration { .. }))
    };
    assert!(refused(dir.path(), &EntityBuilder { sourced: false, ..sourced() }));
    let filter = r#"[{"column":"text","op":"eq","value":"x"}]"#;
    let filtered = EntityBuilder { row_filter: Some(filter.into()), ..sourced() };
    let (_, mut writer) = open(dir.path(), &catalog(&filtered));
    assert_eq!((writer.state(ENTITY), pending(&writer)), (State::Filling, vec![]));
    writer.begin().unwrap();
    assert_eq!(load(&mut writer, vec![row(1, Some("a"), "")]).unwrap().rows, 1);
    drop(writer);
    let local = tempfile::tempdir().unwrap();
    let (mirror, mut writer) = open(local.path(), &catalog(&EntityBuilder { sourced: false, ..sourced() }));
    apply(&mut writer, &[put(&Tenant::new("a"), row(1, Some("a"), "").into_vec())]).unwrap();
    drop((mirror, writer));
    assert!(refused(local.path(), &sourced()));
}

#[test]
fn a_store_of_format_1_opens() {
    let dir = tempfile::tempdir().unwrap();
    let local = catalog(&entity(&COLUMNS, &["id"], &[]));
    let (mirror, mut writer) = open(dir.path(), &local);
    apply(&mut writer, &[put(&Tenant::common(), row(1, Some("a"), "").into_vec())]).unwrap();
    drop((mirror, writer));
    let db = rusqlite::Connection::open(dir.path().join("tidegate.db")).unwrap();
    db.execute_batch(
        "DROP TABLE note; DROP TABLE pending; ALTER TABLE entity DROP COLUMN state; UPDATE store SET format = 1",
    )
    .unwrap();
    drop(db);
    let (mirror, mut writer) = open(dir.path(), &local);
    assert_eq!((mirror.row_count(ENTITY), writer.state(ENTITY)), (Ok(1), State::Ready));
    writer.begin().unwrap();
    writer.note("a", b"b").unwrap();
    writer.commit().unwrap();
}

const DIR: &str = "TIDEGATE_COPIES_TEST_DIR";

#[test]
#[ignore = "the process that the next test kills"]
fn child() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let (_mirror, mut writer) = open(Path::new(&dir), &catalog(&sourced()));
    loop {
        let next = writer.position().0 + 1;
        writer.begin().unwrap();
        if next % 7 == 0 {
            writer.clear(ENTITY).unwrap();
            writer.set_ready(ENTITY).unwrap();
        }
        writer.note("place", next.to_string().as_bytes()).unwrap();
        writer.open(Position(next)).unwrap();
        writer.write(ENTITY, upsert(row((next % 7) as i64, Some("a"), &"x".repeat(5_000)))).unwrap();
        writer.close().unwrap();
        writer.pend(ENTITY, next, &[1; 5_000]).unwrap();
        if next % 7 == 6 {
            writer.clear(ENTITY).unwrap();
        }
        writer.commit().unwrap();
        std::io::stdout().write_all(format!("\ncommitted {next}\n").as_bytes()).unwrap();
    }
}

#[test]
fn a_kill_leaves_one_commit_whole() {
    let dir = tempfile::tempdir().unwrap();
    let mut last = 0;
    for round in 0..4u64 {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["copies::child", "--exact", "--ignored", "--nocapture"]).env(DIR, dir.path());
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            // The kill may have cut the last line short: a shorter number is no later one.
            if let Some(next) = line.unwrap().strip_prefix("committed ").and_then(|next| next.parse::<u64>().ok()) {
                last = last.max(next);
                if next % 40 == 20 + round {
                    child.kill().unwrap();
                }
            }
        }
        child.wait().unwrap();
        let (mirror, writer) = open(dir.path(), &catalog(&sourced()));
        let position = writer.position().0;
        assert!(position >= last && last > 0, "{position} {last}");
        assert_eq!(writer.noted("place").unwrap().unwrap(), position.to_string().as_bytes());
        let ready = position >= 7 && position % 7 != 6;
        assert_eq!(writer.state(ENTITY), if ready { State::Ready } else { State::Filling });
        let rows = if ready { Ok(position % 7 + 1) } else { Err(ScanError::NotReady) };
        assert_eq!(mirror.row_count(ENTITY), rows);
        let pending: Vec<u64> = pending(&writer).into_iter().map(|(xid, _)| xid).collect();
        let first = position - position % 7;
        let expected: Vec<u64> = if position % 7 == 6 { vec![] } else { (first.max(1)..=position).collect() };
        assert_eq!(pending, expected);
    }
}

/// Whether the first index of an entity is in the file.
fn has_index(dir: &Path, number: u32) -> bool {
    let db = rusqlite::Connection::open(dir.join("tidegate.db")).unwrap();
    let sql = "SELECT count(*) FROM sqlite_schema WHERE name = ?1";
    db.query_row(sql, [format!("e_{number}_i0")], |row| row.get::<_, u32>(0)).unwrap() == 1
}

#[test]
fn indexes_wait_for_the_rows_while_nobody_is_served() {
    let dir = tempfile::tempdir().unwrap();
    let other = EntityBuilder { name: "other".into(), ..sourced() };
    let catalog = Catalog::build(&[sourced(), other]).unwrap();
    let (_mirror, mut writer) = open(dir.path(), &catalog);
    let other = catalog.by_name("other").unwrap().id();
    let commit = |writer: &mut Writer, ready: Option<EntityId>, loaded: Option<EntityId>| {
        writer.begin().unwrap();
        if let Some(entity) = ready {
            writer.set_ready(entity).unwrap();
        }
        if let Some(entity) = loaded {
            writer.clear(entity).unwrap();
            writer.load(entity, &mut [row(1, Some("a"), "x")].into_iter(), Position(1)).unwrap();
        }
        writer.commit().unwrap();
        (has_index(dir.path(), 1), has_index(dir.path(), 2))
    };
    assert_eq!(commit(&mut writer, None, Some(ENTITY)), (false, true));
    assert_eq!(commit(&mut writer, None, Some(other)), (false, false));
    assert_eq!(commit(&mut writer, Some(ENTITY), None), (true, false));
    // Now somebody is: what begins from nothing is indexed as it grows.
    assert_eq!(commit(&mut writer, None, Some(other)), (true, true));
    assert_eq!(commit(&mut writer, Some(other), None), (true, true));
}
