//! Tokens, sessions and revocation over HTTP.

use serde_json::{Value, json};
use tidegate_testkit::clients::{get, request, within};

use crate::fixture::{ask, authenticated, closed, connected, gateway, order, refusal, token};

const NOTES: &str = "/v1/entities/note";

#[tokio::test]
async fn a_token_reads_and_writes_in_its_own_tenant() {
    let gateway = gateway("");
    let at = gateway.address();
    let (mara, other) = (token("mara", json!({})), token("ole", json!({ "tenant": "umbrella" })));
    let changes = json!({ "changes": [{ "upsert": { "id": 1, "org": "umbrella", "text": "hello" } }] });
    assert_eq!(ask(at, "POST", "/v1/entities/note/changes", &mara, &changes).await.status, 200);
    let read = ask(at, "GET", NOTES, &mara, &json!({})).await.ok();
    assert_eq!(read["rows"][0]["row"], json!({ "id": 1, "org": "acme", "text": "hello" }));
    assert_eq!(ask(at, "GET", NOTES, &other, &json!({})).await.ok()["rows"], json!([]));
}

#[tokio::test]
async fn who_shows_nothing_or_something_else_is_refused() {
    let gateway = gateway("");
    let at = gateway.address();
    let nobody = within("a page", request(at, "GET", NOTES, &[], b"")).await.unwrap();
    assert_eq!(refusal(&nobody), (401, "unauthenticated".into()));
    let forged = format!("{}x", token("mara", json!({})));
    for wrong in [forged, token("mara", json!({ "exp": 1 })), token("mara", json!({ "aud": "other" })), "x".into()] {
        assert_eq!(refusal(&ask(at, "GET", NOTES, &wrong, &json!({})).await), (401, "unauthenticated".into()));
    }
    let metrics = String::from_utf8(get(at, "/metrics").await.body).unwrap();
    assert!(metrics.contains("tidegate_identity_tokens_refused_total{reason=\"time\"} 1\n"), "{metrics}");
    assert!(metrics.contains("tidegate_identity_tokens_refused_total{reason=\"addressee\"} 1\n"), "{metrics}");
    assert!(!gateway.said().contains("eyJ"), "a token was logged");
}

#[tokio::test]
async fn a_session_that_is_revoked_loses_its_connections_and_never_comes_back() {
    let mut gateway = gateway("");
    let at = gateway.address();
    let (first, second) = (token("mara", json!({ "sid": "s/1" })), token("mara", json!({ "sid": "s2" })));
    let (gone, mut stays) = (connected(at, &first).await, connected(at, &second).await);
    assert_eq!(order(at, "POST", "/v1/sessions/s%2F1/revoke", &json!({})).await.ok(), json!({ "revoked": true }));
    closed(gone).await;
    // Whatever is answered: it is still there.
    let _ = authenticated(&mut stays, &second).await;
    assert_eq!(refusal(&ask(at, "GET", NOTES, &first, &json!({})).await), (401, "revoked".into()));
    assert_eq!(ask(at, "GET", NOTES, &second, &json!({})).await.status, 200);

    // Not after a crash, and not by being stored again.
    gateway.restart();
    let at = gateway.address();
    assert_eq!(refusal(&ask(at, "GET", NOTES, &first, &json!({})).await), (401, "revoked".into()));
    let again = json!({ "user_id": "mara", "client_public_key": "k" });
    assert_eq!(refusal(&order(at, "PUT", "/v1/sessions/s%2F1", &again).await), (409, "revoked".into()));
}

#[tokio::test]
async fn users_and_tenants_are_revoked_with_all_that_was_issued_by_then() {
    let gateway = gateway("");
    let at = gateway.address();
    let (mara, ole) = (token("mara", json!({})), token("ole", json!({})));
    let elsewhere = token("mara", json!({ "tenant": "umbrella" }));
    let (gone, late) = (connected(at, &mara).await, connected(at, &ole).await);
    assert_eq!(order(at, "POST", "/v1/users/mara/revoke?tenant=acme", &json!({})).await.status, 200);
    closed(gone).await;
    assert_eq!(refusal(&ask(at, "GET", NOTES, &mara, &json!({})).await), (401, "revoked".into()));
    assert_eq!(ask(at, "GET", NOTES, &elsewhere, &json!({})).await.status, 200);
    assert_eq!(ask(at, "GET", NOTES, &ole, &json!({})).await.status, 200);
    assert_eq!(order(at, "POST", "/v1/tenants/acme/revoke", &json!({})).await.status, 200);
    closed(late).await;
    assert_eq!(refusal(&ask(at, "GET", NOTES, &ole, &json!({})).await), (401, "revoked".into()));
    assert_eq!(order(at, "POST", "/v1/users/mara/revoke", &json!({})).await.status, 200);
    assert_eq!(refusal(&ask(at, "GET", NOTES, &elsewhere, &json!({})).await), (401, "revoked".into()));
}

#[tokio::test]
async fn sessions_that_have_to_be_known_are_stored_first() {
    let gateway = gateway("[identity.sessions]\nrequired = true\n");
    let at = gateway.address();
    let mara = token("mara", json!({ "sid": "s1" }));
    assert_eq!(refusal(&ask(at, "GET", NOTES, &mara, &json!({})).await), (401, "unauthenticated".into()));
    let session = json!({ "user_id": "mara", "client_public_key": "k" });
    assert_eq!(order(at, "PUT", "/v1/sessions/s1", &session).await.ok(), json!({ "stored": true }));
    assert_eq!(ask(at, "GET", NOTES, &mara, &json!({})).await.status, 200);
    let stolen = token("eve", json!({ "sid": "s1" }));
    assert_eq!(refusal(&ask(at, "GET", NOTES, &stolen, &json!({})).await), (401, "unauthenticated".into()));
    assert_eq!(refusal(&ask(at, "GET", NOTES, &token("mara", json!({})), &json!({})).await).0, 401);

    let wrong: [(Value, _); 4] = [
        (json!({ "user_id": "mara" }), (400, "invalid_body")),
        (json!({ "user_id": "mara", "client_public_key": "k", "role": "r" }), (400, "invalid_body")),
        (json!({ "user_id": " ", "client_public_key": "k" }), (422, "invalid_session")),
        (json!({ "user_id": "mara", "client_public_key": "k".repeat(2_000) }), (422, "invalid_session")),
    ];
    for (body, (status, code)) in wrong {
        assert_eq!(refusal(&order(at, "PUT", "/v1/sessions/s1", &body).await), (status, code.into()), "{body}");
    }
}

#[tokio::test]
async fn only_servers_end_and_store_sessions() {
    let gateway = gateway("");
    let at = gateway.address();
    let mara = token("mara", json!({ "sid": "s1" }));
    let orders = [
        ("POST", "/v1/sessions/s1/revoke"),
        ("PUT", "/v1/sessions/s1"),
        ("POST", "/v1/users/mara/revoke"),
        ("POST", "/v1/tenants/acme/revoke"),
    ];
    for (method, path) in orders {
        assert_eq!(refusal(&ask(at, method, path, &mara, &json!({})).await), (403, "forbidden".into()), "{path}");
        let nobody = within(path, request(at, method, path, &[], b"")).await.unwrap();
        assert_eq!(refusal(&nobody), (401, "unauthenticated".into()), "{path}");
    }
    let long = format!("/v1/sessions/{}/revoke", "s".repeat(257));
    assert_eq!(refusal(&order(at, "POST", &long, &json!({})).await), (400, "malformed".into()));
    let query = "/v1/users/mara/revoke?tennant=acme";
    assert_eq!(refusal(&order(at, "POST", query, &json!({})).await), (400, "malformed".into()));
    assert_eq!(ask(at, "GET", NOTES, &mara, &json!({})).await.status, 200, "nobody was revoked");
}

#[tokio::test]
async fn a_proof_is_asked_for_where_it_has_to_be_given() {
    let gateway = gateway("[identity.proof]\nrequired = true\n");
    let at = gateway.address();
    let refused = ask(at, "GET", NOTES, &token("mara", json!({ "sid": "s1" })), &json!({})).await;
    assert_eq!(refusal(&refused), (401, "proof_needed".into()));
    let challenge = within("a challenge", request(at, "POST", "/v1/challenge", &[], b"")).await.unwrap().ok();
    assert_eq!(challenge["expires_in_ms"], 30_000);
    assert_eq!(challenge["challenge"].as_str().unwrap().len(), 75);
}
