//! Tokens made by another implementation (`make.py`), good and hostile, and what becomes of them.

#![allow(clippy::expect_used, clippy::unwrap_used)]

mod bytes;
mod keys;
mod settings;
mod vectors;

use std::sync::Arc;

use serde_json::{Value, json};
use tidegate_identity::{Principal, PrincipalKind, Tokens};
use vectors::{Vectors, vectors};

/// The claims that permissions name, in these tests.
fn named() -> Arc<[Box<str>]> {
    ["plan", "absent"].map(Box::from).into()
}

/// What the tokens say that nothing is wrong with.
fn alice(vectors: &Vectors) -> Principal {
    let Value::Object(claims) = json!({ "plan": "pro" }) else { unreachable!() };
    Principal {
        user: "alice".into(),
        tenant: Some(tidegate_model::Tenant::new("acme")),
        roles: ["admin".into(), "staff".into()].into(),
        session: Some("s-1".into()),
        claims: Arc::new(claims),
        issued_at_ms: Some((vectors.now - 60) * 1000),
        expires_at_ms: Some((vectors.now + 600) * 1000),
        ..Principal::new(PrincipalKind::User)
    }
}

async fn verify(tokens: &Tokens, token: &str) -> Result<Arc<Principal>, String> {
    tokens.verify(token, &named()).wait().await.map_err(|refusal| {
        assert_eq!((refusal.status, refusal.code), (401, "unauthenticated"));
        refusal.message
    })
}

#[tokio::test]
async fn each_token_becomes_what_it_has_to() {
    let vectors = vectors();
    let tokens = vectors.tokens(&vectors.settings());
    for case in &vectors.cases {
        let became = verify(&tokens, &case.token).await;
        let name = &case.name;
        if let Some(refused) = &case.refused {
            assert_eq!(became.as_ref().map(|_| "accepted"), Err(refused), "{name}");
            continue;
        }
        let principal = became.unwrap_or_else(|message| panic!("{name}: {message}"));
        let mut expected = alice(&vectors);
        if let Some(roles) = &case.roles {
            expected.roles = roles.iter().map(|role| role.as_str().into()).collect();
        }
        // Who is let in within the leeway has the rest of it.
        let ends = |expires: u64| if expires > vectors.now * 1000 { expires } else { expires + 30_000 };
        expected.expires_at_ms = case.expires_at_ms.or(expected.expires_at_ms).map(ends);
        expected.issued_at_ms = case.issued_at_ms.or(expected.issued_at_ms);
        assert_eq!(*principal, expected, "{name}");
    }
    let accepted = vectors.cases.iter().filter(|case| case.refused.is_none()).count();
    let counted = tokens.metrics().accepted.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(counted, accepted as u64);
}

#[tokio::test]
async fn an_algorithm_that_no_issuer_has_is_not_accepted() {
    let vectors = vectors();
    for alone in &vectors.issuers {
        let mut settings = vectors.settings();
        settings.issuers.retain(|issuer| issuer.issuer == alone.issuer);
        let tokens = vectors.tokens(&settings);
        for other in vectors.cases.iter().filter(|case| case.name.starts_with("signed with ")) {
            let refused = verify(&tokens, &other.token).await.err();
            let expected = (other.name != format!("signed with {}", alone.algorithm))
                .then(|| "the token's algorithm is not accepted here".to_owned());
            assert_eq!(refused, expected, "{} at {}", other.name, alone.issuer);
        }
    }
    let nobody = vectors.tokens(&tidegate_identity::Settings::default());
    assert!(nobody.is_empty());
    let refused = verify(&nobody, &vectors.good("HS256").token).await;
    assert_eq!(refused, Err("the token's algorithm is not accepted here".into()));
}

#[tokio::test]
async fn time_comes_from_the_clock() {
    let vectors = vectors();
    let settings = vectors.settings();
    let token = &vectors.good("EdDSA").token;
    let at = async |seconds: u64| verify(&vectors.tokens_at(&settings, seconds * 1000), token).await.err();
    assert_eq!(at(vectors.now + 629).await, None);
    assert_eq!(at(vectors.now + 630).await.as_deref(), Some("the token has expired"));
    assert_eq!(at(vectors.now - 90).await, None);
    assert_eq!(at(vectors.now - 91).await.as_deref(), Some("the token is not valid yet"));
    assert_eq!(at(0).await.as_deref(), Some("the token is not valid yet"));
    assert_eq!(at(u64::MAX / 1000).await.as_deref(), Some("the token has expired"));
}

#[tokio::test]
async fn a_refusal_repeats_nothing_of_the_token() {
    let vectors = vectors();
    let tokens = vectors.tokens(&vectors.settings());
    for case in &vectors.cases {
        if let Err(message) = verify(&tokens, &case.token).await {
            for part in case.token.split('.').filter(|part| part.len() > 8) {
                assert!(!message.contains(part), "{}", case.name);
            }
            for value in ["alice", "acme", "s-1", "pro", "hs256.example"] {
                assert!(!message.contains(value), "{}: {message}", case.name);
            }
        }
    }
}
