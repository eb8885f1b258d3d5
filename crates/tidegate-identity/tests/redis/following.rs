//! All is well: sessions come, are looked up, and end.

use tidegate_identity::{Principal, PrincipalKind, Revocation};
use tidegate_testkit::redis::Redis;

use crate::fixture::{Fixture, PROMPT, ann, session};

#[tokio::test]
async fn a_session_is_looked_up_once_and_ends_when_the_stream_says_so() {
    let Some(server) = Redis::start() else { return };
    let mut fixture = Fixture::start(&server).await;
    fixture.write("s1", "active").await;
    fixture.enter("s1").await;
    fixture.enter("s1").await;
    assert!(fixture.count(|metrics| &metrics.lookups) <= 1);
    fixture.write("s1", "revoked").await;
    assert_eq!(fixture.hears(PROMPT).await, session("s1"));
    assert_eq!(fixture.check("s1").await.unwrap_err().code, "revoked");
}

#[tokio::test]
async fn it_must_be_there_and_the_users_own() {
    let Some(server) = Redis::start() else { return };
    let mut fixture = Fixture::start(&server).await;
    fixture.write("s1", "active").await;
    assert_eq!(fixture.check("s2").await.unwrap_err().status, 401);
    let bob = Principal { user: "bob".into(), ..ann("s1") };
    assert_eq!(fixture.sessions.check(&bob).wait().await.unwrap_err().status, 401);
    let nobody = Principal { session: None, ..ann("s1") };
    assert_eq!(fixture.sessions.check(&nobody).wait().await.unwrap_err().status, 401);
    let server = Principal::new(PrincipalKind::ApiKey);
    assert_eq!(fixture.sessions.check(&server).wait().await.unwrap(), None);
}

#[tokio::test]
async fn what_is_revoked_here_is_revoked_for_all() {
    let Some(server) = Redis::start() else { return };
    let mut fixture = Fixture::start(&server).await;
    fixture.write("s1", "active").await;
    fixture.enter("s1").await;
    assert!(fixture.sessions.revoke(session("s1")).await.unwrap());
    assert_eq!(fixture.hears(PROMPT).await, session("s1"));
    assert_eq!(fixture.check("s1").await.unwrap_err().code, "revoked");
    let status: String = fixture.ask("HGET session:s1 status").await;
    assert_eq!(status, "revoked");
    assert!(!fixture.sessions.revoke(session("never")).await.unwrap());
    let there: bool = fixture.ask("EXISTS session:never").await;
    assert!(!there);
    // Whoever is here by what was held of it is looked at.
    assert_eq!(fixture.hears(PROMPT).await, Revocation::Recheck("never".into()));
    // A hash that lacks something cannot make a whole entry: whoever holds the session drops it.
    fixture.write("s2", "active").await;
    fixture.enter("s2").await;
    let () = fixture.ask("HDEL session:s2 client_public_key").await;
    assert!(fixture.sessions.revoke(session("s2")).await.unwrap());
    assert_eq!(fixture.hears(PROMPT).await, Revocation::Recheck("s2".into()));
    assert_eq!(fixture.check("s2").await.unwrap_err().status, 401);
}
