//! Device sessions in the gateway's own file, as whoever asks sees them.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tidegate_identity::{
    Principal, PrincipalKind, Revocation, SessionStore, Sessions, SessionsError, SessionsSettings,
};
use tidegate_model::Tenant;
use tokio::runtime::Handle;

async fn start(directory: &Path, required: bool, now_ms: &Arc<AtomicU64>) -> Sessions {
    let store = SessionStore::Embedded(directory.join("sessions.db"));
    let now_ms = Arc::clone(now_ms);
    let settings = SessionsSettings { store, required, ..SessionsSettings::default() };
    Sessions::start(&settings, Handle::current(), Arc::new(move || now_ms.load(Relaxed))).await.unwrap()
}

fn ann(session: Option<&str>, issued_at_ms: Option<u64>) -> Principal {
    let (user, tenant) = ("ann".into(), Some(Tenant::new("acme")));
    let session = session.map(Into::into);
    Principal { user, tenant, session, issued_at_ms, ..Principal::new(PrincipalKind::User) }
}

/// The key, or the status of the refusal.
async fn check(sessions: &Sessions, principal: &Principal) -> Result<Option<String>, (u16, &'static str)> {
    let answer = sessions.check(principal).wait().await;
    answer.map(|key| key.map(|key| key.to_string())).map_err(|refusal| (refusal.status, refusal.code))
}

const UNKNOWN: Result<Option<String>, (u16, &str)> = Err((401, "unauthenticated"));
const REVOKED: Result<Option<String>, (u16, &str)> = Err((401, "revoked"));

#[tokio::test]
async fn a_session_is_what_was_put_until_it_is_revoked_for_good() {
    let (directory, now_ms) = (tempfile::tempdir().unwrap(), Arc::new(AtomicU64::new(1_000)));
    let sessions = start(directory.path(), true, &now_ms).await;
    let mut told = sessions.revocations();
    assert_eq!(check(&sessions, &ann(None, None)).await, UNKNOWN);
    assert_eq!(check(&sessions, &ann(Some("s1"), None)).await, UNKNOWN);
    sessions.put("s1", "ann", "key").await.unwrap();
    assert_eq!(told.recv().await.unwrap(), Revocation::Recheck("s1".into()));
    assert_eq!(check(&sessions, &ann(Some("s1"), None)).await, Ok(Some("key".to_owned())));
    sessions.put("s2", "bob", "key").await.unwrap();
    assert_eq!(told.recv().await.unwrap(), Revocation::Recheck("s2".into()));
    assert_eq!(check(&sessions, &ann(Some("s2"), None)).await, UNKNOWN);
    for unknown in ["s1", "never seen"] {
        let target = Revocation::Session(unknown.into());
        assert!(sessions.revoke(target.clone()).await.unwrap());
        assert_eq!(told.recv().await.unwrap(), target);
        assert_eq!(check(&sessions, &ann(Some(unknown), None)).await, REVOKED);
        assert!(matches!(sessions.put(unknown, "ann", "key").await, Err(SessionsError::Refused(_))));
    }
    assert!(matches!(sessions.put("s3", " ", "key").await, Err(SessionsError::Malformed(_))));
    drop(sessions);
    let sessions = start(directory.path(), false, &now_ms).await;
    assert_eq!(check(&sessions, &ann(Some("never seen"), None)).await, REVOKED);
    // Where none is required, one that is not known says nothing.
    assert_eq!(check(&sessions, &ann(Some("s3"), None)).await, Ok(None));
    assert_eq!(check(&sessions, &ann(None, None)).await, Ok(None));
}

#[tokio::test]
async fn a_mark_ends_the_tokens_of_before() {
    let (directory, now_ms) = (tempfile::tempdir().unwrap(), Arc::new(AtomicU64::new(1_000)));
    let sessions = start(directory.path(), false, &now_ms).await;
    let mut told = sessions.revocations();
    let user = Revocation::User { user: "ann".into(), tenant: None };
    for (target, now) in [(user, 1_000), (Revocation::Tenant(Tenant::new("acme")), 2_000)] {
        now_ms.store(now, Relaxed);
        assert!(sessions.revoke(target.clone()).await.unwrap());
        assert_eq!(told.recv().await.unwrap(), target);
        assert_eq!(check(&sessions, &ann(None, None)).await, REVOKED);
        assert_eq!(check(&sessions, &ann(None, Some(now))).await, REVOKED);
        assert_eq!(check(&sessions, &ann(None, Some(now + 1))).await, Ok(None));
    }
    let server = Principal { kind: PrincipalKind::ApiKey, ..ann(None, None) };
    assert_eq!(check(&sessions, &server).await, Ok(None));
    drop(sessions);
    let sessions = start(directory.path(), false, &now_ms).await;
    assert_eq!(check(&sessions, &ann(None, Some(2_000))).await, REVOKED);
}
