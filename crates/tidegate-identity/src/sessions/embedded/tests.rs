//! Durable before it is answered; refused if it is not ours.

use std::fs;
use std::path::PathBuf;

use rusqlite::Connection;
use tempfile::TempDir;
use tidegate_model::Tenant;

use super::*;
use crate::PrincipalKind;

fn place() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data").join("sessions.db");
    (dir, path)
}

fn block_on<T>(asked: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(asked)
}

fn session(id: &str, is_revoked: bool) -> Snapshot {
    let revoked_at_ms = is_revoked.then_some(-5);
    Snapshot { id: id.into(), user: "ann".into(), public_key: "a2V5".into(), is_revoked, revoked_at_ms }
}

fn token(user: &str, issued_at_ms: u64) -> Principal {
    let (user, tenant) = (user.into(), Some(Tenant::new("x")));
    Principal { user, tenant, issued_at_ms: Some(issued_at_ms), ..Principal::new(PrincipalKind::User) }
}

fn user(user: &str) -> Mark {
    Mark::User { user: user.into(), tenant: None }
}

/// What a crash at this moment would leave, opened.
fn after_a_crash(path: &Path) -> (TempDir, Embedded) {
    let (dir, copy) = place();
    fs::create_dir_all(copy.parent().unwrap()).unwrap();
    for end in ["", "-wal"] {
        fs::copy(format!("{}{end}", path.display()), format!("{}{end}", copy.display())).unwrap();
    }
    let store = Embedded::open(&copy).unwrap();
    (dir, store)
}

#[test]
fn what_was_answered_survives_a_crash() {
    let (_dir, path) = place();
    let store = Embedded::open(&path).unwrap();
    block_on(async {
        for n in 0..20 {
            let id = n.to_string();
            store.put(session(&id, false)).await.unwrap();
            assert_eq!(after_a_crash(&path).1.get(&id).await.unwrap(), Some(session(&id, false)));
            store.revoke(&id, 7).await.unwrap();
            let revoked = Snapshot { is_revoked: true, revoked_at_ms: Some(7), ..session(&id, false) };
            assert_eq!(after_a_crash(&path).1.get(&id).await.unwrap(), Some(revoked));
            store.mark(user(&id), 1_000).await.unwrap();
            assert!(store.is_marked(&token(&id, 1_000)));
            let (_copy, crashed) = after_a_crash(&path);
            assert!(crashed.is_marked(&token(&id, 1_000)) && !crashed.is_marked(&token(&id, 1_001)));
        }
    });
}

#[test]
fn all_is_there_again_after_a_restart() {
    let (_dir, path) = place();
    let store = Embedded::open(&path).unwrap();
    block_on(async {
        store.put(session("a", false)).await.unwrap();
        store.put(session("b", true)).await.unwrap();
        store.mark(Mark::Tenant(Tenant::new("x")), 10).await.unwrap();
        store.mark(Mark::User { user: "ann".into(), tenant: Some(Tenant::new("x")) }, 20).await.unwrap();
        store.mark(user("bob"), 30).await.unwrap();
        store.mark(user("bob"), 25).await.unwrap();
    });
    for _ in 0..2 {
        let store = Embedded::open(&path);
        assert!(matches!(store, Err(OpenError::Locked(_))), "one process at a time");
    }
    drop(store);
    let store = Embedded::open(&path).unwrap();
    assert_eq!(block_on(store.get("a")).unwrap(), Some(session("a", false)));
    assert_eq!(block_on(store.get("b")).unwrap(), Some(session("b", true)));
    assert_eq!(block_on(store.get("c")).unwrap(), None);
    for (who, at_ms) in [("somebody", 10), ("ann", 20), ("bob", 30)] {
        assert!(store.is_marked(&token(who, at_ms)), "{who}");
        assert!(!store.is_marked(&token(who, at_ms + 1)), "{who}");
    }
}

#[test]
fn a_revoked_session_stays_so() {
    let (_dir, path) = place();
    let store = Embedded::open(&path).unwrap();
    block_on(async {
        store.revoke("never seen", 5).await.unwrap();
        let nobodys = store.get("never seen").await.unwrap().unwrap();
        assert_eq!((&*nobodys.user, nobodys.is_revoked, nobodys.revoked_at_ms), ("", true, Some(5)));
        let put = store.put(session("never seen", false)).await;
        assert!(matches!(put, Err(EmbeddedError::IsRevoked)), "{put:?}");
        assert_eq!(store.get("never seen").await.unwrap(), Some(nobodys));
        store.put(session("never seen", true)).await.unwrap();
        assert_eq!(store.get("never seen").await.unwrap(), Some(session("never seen", true)));
        store.revoke("never seen", 9).await.unwrap();
        assert_eq!(store.get("never seen").await.unwrap(), Some(session("never seen", true)), "the first time counts");
    });
}

#[test]
fn names_are_bounded() {
    let (_dir, path) = place();
    let store = Embedded::open(&path).unwrap();
    let long = "x".repeat(NAME_BYTES_MAX + 1);
    block_on(async {
        for name in ["", &long] {
            assert!(matches!(store.revoke(name, 1).await, Err(EmbeddedError::Name)));
            assert!(matches!(store.mark(user(name), 1).await, Err(EmbeddedError::Name)));
            assert!(matches!(store.mark(Mark::Tenant(Tenant::new(name)), 1).await, Err(EmbeddedError::Name)));
        }
        store.revoke(&long[1..], 1).await.unwrap();
    });
}

#[test]
fn many_at_once_share_commits_and_are_each_answered() {
    let (_dir, path) = place();
    let store = Embedded::open(&path).unwrap();
    block_on(async {
        let mut asked = tokio::task::JoinSet::new();
        for n in 0..1_000 {
            let store = store.clone();
            asked.spawn(async move {
                let id = (n / 2).to_string();
                if n % 2 == 0 { store.put(session(&id, false)).await } else { store.revoke(&id, 1).await }
            });
        }
        for answer in asked.join_all().await {
            assert!(matches!(answer, Ok(()) | Err(EmbeddedError::IsRevoked)), "{answer:?}");
        }
        for n in 0..500 {
            assert!(store.get(&n.to_string()).await.unwrap().unwrap().is_revoked);
        }
    });
}

#[test]
fn folded_marks_stay_folded() {
    let (_dir, path) = place();
    let refuses = |store: &Embedded| {
        assert!((0..50).all(|n| store.is_marked(&token(&n.to_string(), n))));
        assert!(!store.is_marked(&token("49", 50)));
        assert!(store.is_marked(&token("nobody", 30)) && !store.is_marked(&token("nobody", 45)));
    };
    let store = Embedded::open_with(&path, 10).unwrap();
    for n in 0..50 {
        block_on(store.mark(user(&n.to_string()), n)).unwrap();
    }
    refuses(&store);
    drop(store);
    refuses(&Embedded::open_with(&path, 10).unwrap());
    let rows = Connection::open(&path).unwrap().query_row("SELECT count(*) FROM mark", [], |row| row.get::<_, i64>(0));
    assert!(rows.unwrap() <= 10);
}

#[test]
fn a_file_that_is_not_ours_is_refused_and_left_alone() {
    let garbage = "not a database, but long enough to be read as the head of one: ".repeat(9);
    type Spoil<'a> = &'a dyn Fn(&Path);
    let spoilt: [(Spoil<'_>, &str); 5] = [
        (&|path| fs::write(path, &garbage).unwrap(), "damaged"),
        (&|path| executed(path, "CREATE TABLE notes (text)"), "something else"),
        (&|path| made(path, "PRAGMA user_version = 2"), "this version reads formats up to 1; use a newer Tidegate"),
        (&|path| made(path, "PRAGMA user_version = 0"), "damaged: its format is 0"),
        (&|path| made(path, "PRAGMA application_id = 7"), "something else"),
    ];
    for (spoil, words) in spoilt {
        let (_dir, path) = place();
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        spoil(&path);
        let before = fs::read(&path).unwrap();
        let refused = Embedded::open(&path).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(refused.contains(words) && refused.contains("sessions.db"), "{words}: {refused:?}");
        assert!(fs::read(&path).unwrap() == before, "{words}");
    }
}

/// A store that something was done to.
fn made(path: &Path, sql: &str) {
    drop(Embedded::open(path).unwrap());
    executed(path, sql);
}

fn executed(path: &Path, sql: &str) {
    Connection::open(path).unwrap().execute_batch(sql).unwrap();
}

#[test]
fn a_page_that_was_overwritten_is_found_when_it_is_opened() {
    let (_dir, path) = place();
    let store = Embedded::open(&path).unwrap();
    block_on(async {
        for n in 0..200 {
            store.put(session(&format!("session-{n}"), false)).await.unwrap();
        }
    });
    drop(store);
    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.len() - 4_096;
    bytes[last..].fill(0xa5);
    fs::write(&path, bytes).unwrap();
    let refused = Embedded::open(&path).err().map(|error| error.to_string()).unwrap_or_default();
    assert!(refused.contains("damaged") && refused.contains("restore a backup"), "{refused:?}");
}
