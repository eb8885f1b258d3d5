//! Tokens verified a second on one core, for each algorithm, and refused ones.
//!
//! ```text
//! cargo bench -p tidegate-identity --bench tokens
//! ```

#![allow(clippy::expect_used)]

use std::sync::{Arc, LazyLock};

use divan::Bencher;
use divan::counter::ItemsCount;
use serde_json::Value;
use tidegate_identity::{Answer, Issuer, Keys, Secret, Settings, Tokens};
use tokio::runtime::Runtime;

const ALGORITHMS: [&str; 12] =
    ["HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"];

/// What another implementation made (`tests/tokens/make.py`).
static VECTORS: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("../tests/tokens/vectors.json")).expect("vectors"));
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a runtime"));

fn main() {
    divan::main();
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

fn tokens() -> Tokens {
    let issuers = VECTORS["issuers"].as_array().expect("issuers").iter().map(|signer| Issuer {
        issuer: text(&signer["issuer"]).into(),
        audience: Some(text(&VECTORS["audience"]).into()),
        algorithm: text(&signer["algorithm"]).parse().expect("an algorithm"),
        keys: match &signer["secret"] {
            Value::String(secret) => Keys::Secret(Secret::new(secret.as_str())),
            _ => Keys::Pem(text(&signer["public_key"]).into()),
        },
    });
    let settings = Settings { issuers: issuers.collect(), ..Settings::default() };
    let now_ms = VECTORS["now"].as_u64().expect("a time") * 1000;
    Tokens::alone(&settings, RUNTIME.handle(), Arc::new(move || now_ms)).expect("settings that can be used")
}

fn token(case: &str) -> &'static str {
    let cases = VECTORS["cases"].as_array().expect("cases");
    text(&cases.iter().find(|made| made["name"] == case).expect("the case")["token"])
}

fn verify(bencher: Bencher<'_, '_>, case: &str, is_valid: bool) {
    let (tokens, token, named) = (tokens(), token(case), ["plan"].map(Box::from).into());
    bencher.counter(ItemsCount::new(1_u32)).bench_local(|| match tokens.verify(token, &named) {
        Answer::Now(answer) => assert_eq!(answer.is_ok(), is_valid),
        Answer::Later(_) => panic!("nothing has to be fetched"),
    });
}

#[divan::bench(args = ALGORITHMS)]
fn valid(bencher: Bencher<'_, '_>, algorithm: &str) {
    verify(bencher, &format!("signed with {algorithm}"), true);
}

#[divan::bench(args = ["no signature", "a deep payload", "alg 'none', unsigned", "a large token"])]
fn refused(bencher: Bencher<'_, '_>, case: &str) {
    verify(bencher, case, false);
}
