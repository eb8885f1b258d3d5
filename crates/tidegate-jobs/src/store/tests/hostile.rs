//! What a file that is not as it was written does: an error that names it, at worst.

use std::fs;

use rusqlite::Connection;

use super::*;

fn filled() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(&dir);
    let session = SessionRecord { id: session_id(1), owner: owner(), token: [1; 32], previous: None, created_ms: 5 };
    let mut writes = vec![Write::Job(record(1)), Write::Job(record(2)), Write::Session(session)];
    writes.push(Write::Segment { session: session_id(1), seq: 1, job: job_id(1), n: 1 });
    writes.push(Write::CredentialIssued { job: job_id(1), id: CredentialId::new(1, 1) });
    writes.push(Write::Keep { job: job_id(1), kept: Arc::default() });
    writes.extend((1..=30).map(|n| Write::Entry(event(1, n, 300))));
    writes.push(Write::Entry(event(1, 31, 9_000)));
    writes.push(Write::Entry(end(1, 32, "[1,2]")));
    store.commit(&writes).unwrap();
    dir
}

fn is_damage(error: &StoreError) -> bool {
    error.to_string().contains("jobs.db") && matches!(error.reason, Reason::Damaged(_))
}

#[test]
fn damage_is_told_when_the_file_is_opened() {
    for damage in [
        "UPDATE job SET record = x'7b7d' WHERE number = 1",
        "UPDATE job SET record = 'text'",
        "UPDATE job SET id = x'00' WHERE number = 1",
        "UPDATE job SET id = zeroblob(16) WHERE number = 1",
        "DELETE FROM state",
        "UPDATE state SET kept = x'ff'",
        "UPDATE state SET trimmed = 3 WHERE job = 2; UPDATE entry SET job = 2 WHERE n = 7",
        "UPDATE state SET trimmed = -1",
        "UPDATE state SET trimmed = 9223372036854775807",
        "DELETE FROM entry WHERE n = 7",
        "UPDATE entry SET n = -7 WHERE n = 7",
        "UPDATE ending SET n = 33",
        "UPDATE ending SET n = -1",
        "UPDATE ending SET what = x'7b'",
        "UPDATE session SET owner = x'6e756c6c'",
        "UPDATE session SET token = x'00'",
        "UPDATE session SET floor = -1",
        "UPDATE session SET created_ms = 'then'",
        "UPDATE segment SET job = x''",
        "UPDATE segment SET seq = -1",
        "UPDATE credential SET id = x'01'",
        "UPDATE store SET format = 0",
        "DELETE FROM store",
        "DROP TABLE entry",
    ] {
        let dir = filled();
        Connection::open(dir.path().join("jobs.db")).unwrap().execute_batch(damage).unwrap();
        let error = Store::open(dir.path()).map(|_| damage).unwrap_err();
        assert!(is_damage(&error), "{damage}: {error}");
    }
}

#[test]
fn damage_is_told_when_a_page_is_read() {
    for damage in [
        "DELETE FROM entry WHERE n = 7",
        "UPDATE entry SET what = 'text' WHERE n = 7",
        "UPDATE entry SET what = x'7b22ff227d' WHERE n = 7",
        "UPDATE entry SET what = x'7b' WHERE n = 7",
        "UPDATE entry SET what = what || x'0a7b7d' WHERE n = 7",
        "UPDATE entry SET n = -7 WHERE n = 7",
        "UPDATE job SET trace = 'none'",
        "UPDATE ending SET what = x'7b'",
        "UPDATE ending SET n = 40",
    ] {
        let dir = filled();
        let (store, _) = open(&dir);
        let mut reader = store.reader().unwrap();
        store.db.execute_batch(damage).unwrap();
        let error = reader.entries(job_id(1), 0, u64::MAX, usize::MAX).map(|_| damage).unwrap_err();
        assert!(is_damage(&error), "{damage}: {error}");
    }
}

#[test]
fn what_is_no_file_of_ours_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("jobs.db");
    fs::write(&path, "These are the minutes of a meeting. ".repeat(100)).unwrap();
    let before = fs::read(&path).unwrap();
    assert!(is_damage(&Store::open(dir.path()).unwrap_err()));
    assert_eq!(fs::read(&path).unwrap(), before);

    fs::remove_file(&path).unwrap();
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE minutes (text)").unwrap();
    assert!(is_damage(&Store::open(dir.path()).unwrap_err()));

    let dir = filled();
    let path = dir.path().join("jobs.db");
    Connection::open(&path).unwrap().execute_batch("UPDATE store SET format = 99").unwrap();
    let error = Store::open(dir.path()).unwrap_err();
    assert!(matches!(error.reason, Reason::NewerFormat { found: 99, .. }), "{error}");
}

#[test]
fn flipped_bytes_panic_nobody() {
    let dir = filled();
    let whole = fs::read(dir.path().join("jobs.db")).unwrap();
    let mut random = 88_172_645_463_325_252_u64;
    let mut next = |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random % below as u64) as usize
    };
    let (mut opened, mut refused) = (0, 0);
    for round in 0..120 {
        let dir = tempfile::tempdir().unwrap();
        let mut bytes = whole.clone();
        for _ in 0..=round % 8 {
            // Half of them where a page begins, and says what it is.
            let at = if next(2) == 0 { next(bytes.len()) } else { next(bytes.len() / 4_096) * 4_096 + next(64) };
            bytes[at] ^= 1 << next(8);
        }
        fs::write(dir.path().join("jobs.db"), bytes).unwrap();
        match Store::open(dir.path()) {
            Err(_) => refused += 1,
            Ok((mut store, _)) => {
                opened += 1;
                let mut reader = store.reader().unwrap();
                for i in 1..=2 {
                    let _ = reader.entries(job_id(i), 0, u64::MAX, usize::MAX);
                }
                let _ = store.commit(&[Write::Entry(event(2, 1, 10)), Write::Forget(job_id(1))]);
                let _ = store.commit(&[Write::SessionEnded(session_id(1)), Write::Job(record(3))]);
            }
        }
    }
    assert!(opened > 10 && refused > 10, "{opened} {refused}");
}
