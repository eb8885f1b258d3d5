//! What configuration may say, and what of it is refused.

use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};
use tidegate_identity::{Algorithm, Issuer, Keys, Principal, Secret, Settings, Tokens};
use tokio::runtime::Handle;

use super::vectors::vectors;

const SECRET: &str = "a secret that is made for this test alone";

fn issuer(name: &str, audience: Option<&str>) -> Issuer {
    Issuer {
        issuer: name.into(),
        audience: audience.map(str::to_owned),
        algorithm: Algorithm::Hs256,
        keys: Keys::Secret(Secret::new(SECRET)),
    }
}

fn with(issuers: Vec<Issuer>) -> Settings {
    Settings { issuers, required_claims: Vec::new(), ..Settings::default() }
}

/// What becomes of a token that says this, where permissions name these.
fn verify(settings: &Settings, claims: &Value, named: &[&str]) -> Result<Arc<Principal>, String> {
    let token = encode(&Header::default(), claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let tokens = Tokens::alone(settings, runtime.handle(), Arc::new(|| 1_000_000)).unwrap();
    let named = named.iter().map(|name| Box::from(*name)).collect();
    runtime.block_on(tokens.verify(&token, &named).wait()).map_err(|refusal| refusal.message)
}

#[test]
fn a_claim_has_its_own_name_or_is_at_a_path() {
    let mut settings = with(vec![issuer("i", None)]);
    settings.claims.user = "https://app.example/user".into();
    settings.claims.tenant = "org.id".into();
    settings.claims.session = "device.session.id".into();
    settings.claims.roles = "realm.access".into();
    let claims = json!({
        "iss": "i", "https://app.example/user": "alice", "org.id": "own name", "org": {"id": "path"},
        "device": {"session": {"id": "s"}}, "realm": {"access": ["a"]}, "null": null, "deep": {"list": [1]},
    });
    let named = ["deep.list", "org.id", "org", "device.session", "null", "deep.list.0", "iss.x", "", "."];
    let principal = verify(&settings, &claims, &named).unwrap();
    assert_eq!(&*principal.user, "alice");
    assert_eq!(principal.tenant.as_ref().unwrap().name(), "own name");
    assert_eq!(principal.session.as_deref(), Some("s"));
    assert_eq!(principal.roles.iter().map(|role| &**role).collect::<Vec<_>>(), ["a"]);
    assert_eq!(
        Value::Object((*principal.claims).clone()),
        json!({"deep.list": [1], "org.id": "own name", "org": {"id": "path"}, "device.session": {"id": "s"}}),
    );
    assert_eq!((principal.issued_at_ms, principal.expires_at_ms), (None, None));
}

#[test]
fn required_claims_are_required() {
    let settings = Settings { required_claims: vec!["exp".into(), "app.plan".into()], ..with(vec![issuer("i", None)]) };
    let good = json!({"iss": "i", "sub": "a", "exp": 2_000, "app": {"plan": "pro"}});
    assert!(verify(&settings, &good, &[]).is_ok());
    for (path, name) in [("/exp", "exp"), ("/app", "app.plan"), ("/app/plan", "app.plan")] {
        let mut without = good.clone();
        *without.pointer_mut(path).unwrap() = Value::Null;
        assert_eq!(verify(&settings, &without, &[]).unwrap_err(), format!("the token has no {name:?}"));
    }
}

#[test]
fn an_audience_that_is_not_expected_is_refused() {
    let nobody = with(vec![issuer("i", None)]);
    assert!(verify(&nobody, &json!({"iss": "i", "sub": "a"}), &[]).is_ok());
    for audience in [json!("other"), json!(["other"]), json!([]), json!("")] {
        let refused = verify(&nobody, &json!({"iss": "i", "sub": "a", "aud": audience}), &[]).unwrap_err();
        assert_eq!(refused, "the token is for another audience", "{audience}");
    }
}

#[test]
fn issuers_may_share_a_key_and_a_name() {
    let settings = with(vec![issuer("i", Some("one")), issuer("i", Some("two")), issuer("j", Some("three"))]);
    let verify = |issuer: &str, audience: &str| {
        verify(&settings, &json!({"iss": issuer, "sub": "a", "aud": audience}), &[]).map(|_| ())
    };
    for (issuer, audience) in [("i", "one"), ("i", "two"), ("j", "three")] {
        assert_eq!(verify(issuer, audience), Ok(()));
    }
    assert_eq!(verify("i", "three"), Err("the token is for another audience".into()));
    assert_eq!(verify("k", "one"), Err("the token is another issuer's than its key".into()));
}

#[test]
fn at_most_sixteen_signatures_are_computed() {
    let other = Issuer { keys: Keys::Secret(Secret::new("another secret")), ..issuer("j", None) };
    let claims = json!({"iss": "i", "sub": "a"});
    let mut issuers = vec![other; 15];
    issuers.push(issuer("i", None));
    assert!(verify(&with(issuers.clone()), &claims, &[]).is_ok());
    issuers.insert(0, issuers[0].clone());
    assert_eq!(verify(&with(issuers), &claims, &[]).unwrap_err(), "the token's signature is not valid");
}

#[test]
fn a_leeway_may_be_as_long_as_it_likes() {
    let settings = Settings { leeway: Duration::MAX, ..with(vec![issuer("i", None)]) };
    assert!(verify(&settings, &json!({"iss": "i", "sub": "a", "exp": 1, "nbf": 1e18, "iat": 1e18}), &[]).is_ok());
}

#[tokio::test]
async fn an_issuer_that_can_not_be_used_is_named() {
    let vectors = vectors();
    let pem = |algorithm: &str| {
        let signer = vectors.issuers.iter().find(|signer| signer.algorithm == algorithm).unwrap();
        Keys::Pem(signer.public_key.clone().unwrap())
    };
    let secret = || Keys::Secret(Secret::new("hunter2"));
    let url = |text: &'static str| Keys::Jwks(http::Uri::from_static(text));
    let text = |text: &str| Keys::Pem(text.into());
    let Keys::Pem(spki) = pem("RS256") else { unreachable!() };
    let cut = spki.replacen("MII", "MIJ", 1);
    let private = spki.replace("PUBLIC KEY", "PRIVATE KEY");
    let wrong = [
        (Algorithm::Rs256, secret(), "secret"),
        (Algorithm::EdDsa, secret(), "secret"),
        (Algorithm::Hs256, Keys::Secret(Secret::new("")), "secret"),
        (Algorithm::Hs256, pem("RS256"), "public_key_file"),
        (Algorithm::Hs512, url("https://id.example/keys"), "jwks_url"),
        (Algorithm::Rs256, url("/keys"), "jwks_url"),
        (Algorithm::Rs256, url("ftp://id.example/keys"), "jwks_url"),
        (Algorithm::Rs256, text(""), "public_key_file"),
        (Algorithm::Rs256, text("-----BEGIN PUBLIC KEY-----"), "public_key_file"),
        (Algorithm::Rs256, text(&cut), "public_key_file"),
        (Algorithm::Rs256, text(&private), "public_key_file"),
        (Algorithm::Rs256, text(&vectors.small_public_key), "public_key_file"),
        (Algorithm::Rs256, pem("ES256"), "public_key_file"),
        (Algorithm::Ps384, pem("EdDSA"), "public_key_file"),
        (Algorithm::Es256, pem("ES384"), "public_key_file"),
        (Algorithm::Es384, pem("ES256"), "public_key_file"),
        (Algorithm::Es256, pem("RS256"), "public_key_file"),
        (Algorithm::EdDsa, pem("ES256"), "public_key_file"),
    ];
    for (algorithm, keys, key) in wrong {
        let bad = Issuer { algorithm, keys: keys.clone(), ..issuer("i", None) };
        let settings = Settings { issuers: vec![issuer("good", None), bad], ..Settings::default() };
        let error = Tokens::alone(&settings, &Handle::current(), Arc::new(|| 0))
            .expect_err(&format!("{algorithm} {keys:?}"))
            .to_string();
        assert!(error.starts_with(&format!("identity.issuer[1].{key} is ")), "{algorithm} {keys:?}: {error}");
        assert!(!error.contains("hunter2"));
    }
    let nameless = Settings { issuers: vec![issuer("", None)], ..Settings::default() };
    let error = Tokens::alone(&nameless, &Handle::current(), Arc::new(|| 0)).unwrap_err();
    assert_eq!(error.to_string(), "identity.issuer[0].issuer is empty");
}
