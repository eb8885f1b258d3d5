//! Any bytes at all in the place of a token.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;
use tidegate_identity::{Answer, Settings, Tokens};
use tokio::runtime::Runtime;

use super::named;
use super::vectors::{Vectors, vectors};

static VECTORS: LazyLock<Vectors> = LazyLock::new(vectors);
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a runtime"));
static TOKENS: LazyLock<Tokens> = LazyLock::new(|| tokens(&VECTORS.settings()));

fn tokens(settings: &Settings) -> Tokens {
    let _runtime = RUNTIME.enter();
    VECTORS.tokens(settings)
}

/// Where keys are at hand the answer is too.
fn is_accepted(token: &str) -> bool {
    match TOKENS.verify(token, &named()) {
        Answer::Now(answer) => answer.is_ok(),
        Answer::Later(_) => panic!("nothing has to be fetched"),
    }
}

#[test]
fn every_other_character_is_another_token() {
    for algorithm in ["HS256", "ES256", "EdDSA"] {
        let good = &VECTORS.good(algorithm).token;
        assert!(is_accepted(good));
        for (place, was) in good.char_indices() {
            assert!(!is_accepted(&good[..place]), "cut at {place}");
            for other in ['A', 'B', 'b', '0', '-', '=', '.', ' ', '\0', 'é'] {
                if other != was {
                    let changed = format!("{}{other}{}", &good[..place], &good[place + was.len_utf8()..]);
                    assert!(!is_accepted(&changed), "{other:?} at {place}");
                }
            }
        }
    }
}

#[test]
fn a_huge_token_is_not_looked_at() {
    let huge = format!("{}{}", VECTORS.good("HS256").token, "A".repeat(100 << 20));
    let Answer::Now(Err(refusal)) = TOKENS.verify(&huge, &named()) else { panic!("it is refused at once") };
    assert_eq!(refusal.message, "the token is longer than is accepted here");
    let longest = Settings { max_token_bytes: VECTORS.good("HS256").token.len(), ..VECTORS.settings() };
    let tokens = tokens(&longest);
    let verify = |token: &str| matches!(tokens.verify(token, &named()), Answer::Now(Ok(_)));
    assert!(verify(&VECTORS.good("HS256").token));
    assert!(!verify(&VECTORS.good("RS256").token));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_text_is_a_token(text in ".{0,300}") {
        prop_assert!(!is_accepted(&text));
    }

    #[test]
    fn no_bytes_are_a_token(header in any::<Vec<u8>>(), payload in any::<Vec<u8>>(), signature in any::<Vec<u8>>()) {
        let parts = [header, payload, signature].map(|part| URL_SAFE_NO_PAD.encode(part));
        prop_assert!(!is_accepted(&parts.join(".")));
    }

    #[test]
    fn no_header_opens_anything(
        algorithm in prop::sample::select(vec!["HS256", "RS256", "PS512", "ES256", "ES384", "EdDSA", "none"]),
        more in r#"(,"(kid|typ|crit|x)":("[a-z]{0,3}"|[0-9]{1,3}|\[\]|null)){0,3}"#,
        payload in any::<Vec<u8>>(),
        signature in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let header = format!(r#"{{"alg":"{algorithm}"{more}}}"#).into_bytes();
        let parts = [header, payload, signature].map(|part| URL_SAFE_NO_PAD.encode(part));
        prop_assert!(!is_accepted(&parts.join(".")));
    }
}
