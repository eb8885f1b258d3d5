//! Opening, locking, backing up.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tidegate_mirror::{Mirror, MirrorError, Options};
use tidegate_model::{Catalog, Filter, Order, Predicate, RowSource as _, ScanError, ScanRequest, Tenant, Type, Value};

use super::{ENTITY, apply, catalog, entity, open, put};

fn simple() -> Catalog {
    catalog(&entity(&[("id", Type::Int), ("text", Type::Text)], &["id"], &[]))
}

fn row(id: i64, text: &str) -> tidegate_mirror::RowWrite {
    put(&Tenant::common(), vec![Value::Int(id), Value::text(text)])
}

#[test]
fn a_second_opening_is_refused_while_either_end_is_held() {
    let dir = tempfile::tempdir().unwrap();
    let (mirror, writer) = open(dir.path(), &simple());
    let id = mirror.store_id();
    let refused = |dir| matches!(Mirror::open(dir, &simple(), &Options::default()), Err(MirrorError::Locked(_)));
    assert!(refused(dir.path()));
    drop(mirror);
    assert!(refused(dir.path()));
    drop(writer);
    let (mirror, _writer) = open(dir.path(), &simple());
    assert_eq!(mirror.store_id(), id);
}

#[test]
fn a_newer_format_is_refused_with_its_number() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path(), &simple()));
    let db = rusqlite::Connection::open(dir.path().join("tidegate.db")).unwrap();
    db.execute("UPDATE store SET format = 99", []).unwrap();
    drop(db);
    match Mirror::open(dir.path(), &simple(), &Options::default()) {
        Err(MirrorError::NewerFormat { found: 99, known }) => assert!(known < 99),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_backup_is_a_store_of_one_position() {
    let (dir, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (mirror, mut writer) = open(dir.path(), &simple());
    apply(&mut writer, &[row(1, "a"), row(2, "b")]).unwrap();
    let target = copy.path().join("tidegate.db");
    // A write goes on meanwhile; it is not part of the copy.
    writer.begin().unwrap();
    writer.apply(tidegate_model::Position(2), &[row(3, "c")], None).unwrap();
    assert_eq!(mirror.backup(&target).unwrap().0, 1);
    writer.commit().unwrap();
    assert!(matches!(mirror.backup(&target), Err(MirrorError::BackupExists(_))));
    let (copied, writer) = open(copy.path(), &simple());
    assert_eq!((copied.row_count(ENTITY).unwrap(), writer.position().0), (2, 1));
}

#[test]
fn the_log_stays_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { wal_bytes_max: 256 << 10, ..Options::default() };
    let (mirror, mut writer) = Mirror::open(dir.path(), &simple(), &options).unwrap();
    let text = "x".repeat(60_000);
    let mut largest = 0;
    for id in 0..40 {
        apply(&mut writer, &[row(id, &text)]).unwrap();
        let wal = std::fs::metadata(dir.path().join("tidegate.db-wal")).unwrap().len();
        largest = largest.max(wal);
    }
    assert!(largest < 512 << 10, "{largest}");
    assert!(mirror.metrics().wal_bytes.load(Ordering::Relaxed) > 0);
}

#[test]
fn more_reads_than_may_wait_are_busy() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { readers: 1, queue: 1, ..Options::default() };
    let catalog = simple();
    let (mirror, _writer) = Mirror::open(dir.path(), &catalog, &options).unwrap();
    let request = ScanRequest {
        entity: ENTITY,
        tenant: Tenant::common(),
        order: Arc::new(Order::new(catalog.entity(ENTITY), &[])),
        predicate: Arc::new(Predicate::new(Filter::everything())),
        after: None,
        want: 1,
    };
    // The only reader is held inside a reply; one more may wait.
    let (started, is_started) = crossbeam_channel::bounded::<()>(0);
    let (release, released) = crossbeam_channel::bounded::<()>(0);
    mirror.scan(
        request.clone(),
        Box::new(move |_| {
            started.send(()).unwrap();
            released.recv().unwrap();
        }),
    );
    is_started.recv().unwrap();
    let (answers, answered) = crossbeam_channel::bounded(2);
    for _ in 0..2 {
        let answers = answers.clone();
        mirror.scan(request.clone(), Box::new(move |page| answers.send(page.map(|page| page.rows.len())).unwrap()));
    }
    assert_eq!(answered.recv().unwrap(), Err(ScanError::Busy));
    assert_eq!(mirror.metrics().busy.load(Ordering::Relaxed), 1);
    release.send(()).unwrap();
    assert_eq!(answered.recv().unwrap(), Ok(0));
}

#[test]
fn a_page_ends_early_at_its_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { page_bytes_max: 10_000, ..Options::default() };
    let catalog = simple();
    let (mirror, mut writer) = Mirror::open(dir.path(), &catalog, &options).unwrap();
    apply(&mut writer, &(0..20).map(|id| row(id, &"x".repeat(4_000))).collect::<Vec<_>>()).unwrap();
    for column in [0, 1] {
        let sort = [tidegate_model::SortKey { column, desc: true }];
        let mut request = ScanRequest {
            entity: ENTITY,
            tenant: Tenant::common(),
            order: Arc::new(Order::new(catalog.entity(ENTITY), &sort)),
            predicate: Arc::new(Predicate::new(Filter::everything())),
            after: None,
            want: 100,
        };
        let mut seen = 0;
        loop {
            let page = super::scan(&mirror, request.clone()).unwrap();
            assert!(page.rows.len() <= 3);
            seen += page.rows.len();
            let Some(upto) = page.upto else { break };
            request.after = Some(upto);
        }
        assert_eq!(seen, 20);
    }
}
