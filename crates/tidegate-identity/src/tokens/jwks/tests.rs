use std::collections::HashMap;
use std::sync::atomic::Ordering::SeqCst;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::endpoint::{Endpoint, Reply, answer, clock};

/// Made with another implementation (Python's `cryptography`), of whose keys only the public parts were kept: one key for
/// each algorithm, one that is too small and one that is for encryption; and a token of each key, `{"sub":"u-1"}`.
const SET: &str = include_str!("../../../tests/jwks/set.json");
const TOKENS: &str = include_str!("../../../tests/jwks/tokens.json");

const START: u64 = 1_700_000_000_000;
const FLOOR: Duration = Duration::from_secs(30);
const MAX_AGE: Duration = Duration::from_secs(600);
const TIMEOUT: Duration = Duration::from_secs(10);

fn set() -> Vec<Value> {
    serde_json::from_str::<Value>(SET).unwrap()["keys"].as_array().unwrap().clone()
}

fn named(kid: &str) -> Value {
    set().into_iter().find(|key| key["kid"] == kid).unwrap()
}

/// A key of the fixture with other members; null takes one away.
#[expect(clippy::needless_pass_by_value, reason = "it reads best with `json!` in place")]
fn with(kid: &str, members: Value) -> Value {
    let mut key = named(kid);
    for (name, value) in members.as_object().unwrap() {
        match value {
            Value::Null => key.as_object_mut().unwrap().remove(name),
            value => key.as_object_mut().unwrap().insert(name.clone(), value.clone()),
        };
    }
    key
}

fn written(keys: &[Value]) -> String {
    json!({ "keys": keys }).to_string()
}

fn keys(url: Uri, timeout: Duration, clock: Clock) -> Arc<Jwks> {
    let runtime = Handle::current();
    let fetch = Fetch::new(runtime.clone()).unwrap();
    Jwks::new(url, Algorithm::EdDsa, fetch, FLOOR, MAX_AGE, timeout, runtime, clock, Arc::default())
}

/// A server of sets of one key whose name is `k<number of the request>`.
async fn rotating() -> Endpoint {
    Endpoint::new(|number, _| {
        Reply::Bytes(answer("200 OK", written(&[with("ed", json!({ "kid": format!("k{number}") }))])))
    })
    .await
}

fn fits(key: &Value, algorithm: Algorithm) -> bool {
    let set = key::read(written(std::slice::from_ref(key)).as_bytes(), algorithm).unwrap();
    assert_eq!(set.keys.len() as u64 + set.passed_over, 1);
    set.keys.len() == 1
}

#[test]
fn keys_of_another_implementation_verify_its_tokens_and_fit_their_own_algorithm_alone() {
    let tokens: HashMap<String, String> = serde_json::from_str(TOKENS).unwrap();
    let kids = [("RS256", "rs"), ("PS256", "ps"), ("ES256", "es256"), ("ES384", "es384"), ("EdDSA", "ed")];
    assert_eq!(tokens.len(), kids.len());
    for (name, kid) in kids {
        let algorithm: Algorithm = name.parse().unwrap();
        let set = key::read(SET.as_bytes(), algorithm).unwrap();
        let found: Vec<_> = set.keys.iter().map(|key| key.kid.as_deref().unwrap()).collect();
        assert_eq!(found, [kid], "{name}");
        assert_eq!(set.passed_over, 6);
        let (message, signature) = tokens[name].rsplit_once('.').unwrap();
        let verify = |message: &[u8]| {
            jsonwebtoken::crypto::verify(signature, message, &set.keys[0].key, algorithm.into()).unwrap()
        };
        assert!(verify(message.as_bytes()) && !verify(&message.as_bytes()[1..]), "{name}");
    }
    for name in ["HS256", "HS384", "HS512", "RS384", "RS512", "PS384", "PS512"] {
        assert!(key::read(SET.as_bytes(), name.parse().unwrap()).unwrap().keys.is_empty(), "{name}");
    }
}

#[test]
fn a_key_has_to_be_meant_for_it() {
    let cases = [
        (json!({}), true),
        (json!({"use": null, "alg": null, "kid": null}), true),
        (json!({"alg": "Ed25519"}), true),
        (
            json!({"key_ops": ["sign", "verify"], "x5c": ["AAAA"], "x5u": "http://elsewhere", "more": {"of": ["it"]}}),
            true,
        ),
        (json!({"kid": "k".repeat(256)}), true),
        (json!({"use": "enc"}), false),
        (json!({"use": 7}), false),
        (json!({"key_ops": ["sign"]}), false),
        (json!({"key_ops": []}), false),
        (json!({"alg": "ES256"}), false),
        (json!({"alg": "none"}), false),
        (json!({"kty": "EC"}), false),
        (json!({"kty": "oct", "k": "AAAA"}), false),
        (json!({"kty": null}), false),
        (json!({"crv": "Ed448"}), false),
        (json!({"crv": "X25519"}), false),
        (json!({"x": null}), false),
        (json!({"x": "AAAA"}), false),
        (json!({"x": "****"}), false),
        (json!({"d": "AAAA"}), false),
        (json!({"kid": 7}), false),
        (json!({"kid": "k".repeat(257)}), false),
    ];
    for (members, is_good) in cases {
        assert_eq!(fits(&with("ed", members.clone()), Algorithm::EdDsa), is_good, "{members}");
    }
    let secret = json!({"kty": "oct", "kid": "s", "alg": "HS256", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"});
    for name in ["HS256", "RS256", "EdDSA"] {
        assert!(!fits(&secret, name.parse().unwrap()), "{name}");
    }
}

#[test]
fn a_key_has_to_be_strong_enough_and_of_its_curve() {
    use base64::Engine;
    use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
    let modulus = |bytes: usize| B64.encode([&[0x80][..], &vec![1; bytes - 1]].concat());
    let cases = [
        (json!({"n": modulus(256)}), true),
        (json!({"n": modulus(1024)}), true),
        (json!({"n": B64.encode([&[0, 0, 0x80][..], &[1; 255]].concat())}), true),
        (json!({"n": modulus(64)}), false),
        (json!({"n": modulus(255)}), false),
        // One bit less than what is enough, however many bytes it is written in.
        (json!({"n": B64.encode([&[0x7f][..], &[1; 255]].concat())}), false),
        (json!({"n": B64.encode([&[0; 64][..], &[0x80], &[1; 127]].concat())}), false),
        (json!({"n": modulus(1025)}), false),
        (json!({"n": ""}), false),
        (json!({"n": "AAAA"}), false),
        (json!({"n": null}), false),
        (json!({"e": "Aw"}), true),
        (json!({"e": "AQ"}), false),
        (json!({"e": "AAAB"}), false),
        (json!({"e": "BA"}), false),
        (json!({"e": "AA"}), false),
        (json!({"e": ""}), false),
        (json!({"e": B64.encode([1; 9])}), false),
        (json!({"e": null}), false),
        (json!({"kty": "EC"}), false),
    ];
    for (members, is_good) in cases {
        assert_eq!(fits(&with("rs", members.clone()), Algorithm::Rs256), is_good, "{members}");
    }
    assert!(!fits(&named("small"), Algorithm::Rs256));
    for (members, is_good) in [
        (json!({}), true),
        (json!({"crv": "P-384"}), false),
        (json!({"crv": "P-521"}), false),
        (json!({"x": B64.encode([1; 31])}), false),
        (json!({"y": B64.encode([1; 33])}), false),
        (json!({"y": null}), false),
        (json!({"kty": "OKP"}), false),
    ] {
        assert_eq!(fits(&with("es256", members.clone()), Algorithm::Es256), is_good, "{members}");
    }
}

#[test]
fn one_broken_key_does_not_take_the_rest_with_it() {
    let keys = [json!(7), json!(null), json!({}), json!([]), with("ed", json!({"n": 7})), named("ed"), json!("ed")];
    let set = key::read(written(&keys).as_bytes(), Algorithm::EdDsa).unwrap();
    assert_eq!((set.keys.len(), set.passed_over), (1, 6));
    // A member twice is as good as any other nonsense.
    let twice = named("ed").to_string().replacen('{', r#"{"kid":"other","#, 1);
    let set = key::read(format!(r#"{{"keys":[{twice},{}]}}"#, named("ed")).as_bytes(), Algorithm::EdDsa).unwrap();
    assert_eq!((set.keys.len(), set.passed_over), (1, 1));
}

#[test]
fn of_very_many_keys_the_first_count() {
    let keys: Vec<_> = (0..10_000).map(|n| with("ed", json!({"kid": n.to_string()}))).collect();
    let set = key::read(written(&keys).as_bytes(), Algorithm::EdDsa).unwrap();
    assert_eq!((set.keys.len(), set.passed_over), (256, 9744));
    assert_eq!(set.keys[255].kid.as_deref(), Some("255"));
}

#[test]
fn what_is_no_set_is_told_without_its_words() {
    let deep = format!("{}{}", r#"{"keys":["#, "[".repeat(100_000));
    let cases = ["", "{}", "[]", "null", "<html>hunter2</html>", r#"{"keys":{"hunter2":1}}"#, r#"{"keys":"hunter2"}"#];
    for case in cases.into_iter().chain([r#"{"keys":[]} hunter2"#, r#"{"keys":[],"keys":["hunter2"]}"#, &deep]) {
        let reason = key::read(case.as_bytes(), Algorithm::EdDsa).err().unwrap();
        assert!(reason.starts_with("the answer is no JWK set: line ") && reason.len() < 80, "{reason}");
    }
    assert!(key::read(b"{\"keys\":[\"\xff\"]}", Algorithm::EdDsa).is_err());
}

fn json_value() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        Just("RSA".to_owned()),
        Just("EC".to_owned()),
        Just("OKP".to_owned()),
        Just("Ed25519".to_owned()),
        Just("P-256".to_owned()),
        Just("EdDSA".to_owned()),
        Just("sig".to_owned()),
        "[A-Za-z0-9_-]{0,600}",
        any::<String>()
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text.prop_map(Value::from)
    ];
    let name = "kty|use|key_ops|alg|kid|crv|n|e|x|y|d|k|keys|[a-z]{1,3}";
    leaf.prop_recursive(4, 64, 12, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((name, inner), 0..12)
                .prop_map(|members| Value::Object(members.into_iter().collect()))
        ]
    })
}

fn algorithm() -> impl Strategy<Value = Algorithm> {
    prop::sample::select(vec!["HS256", "RS256", "PS512", "ES256", "ES384", "EdDSA"]).prop_map(|n| n.parse().unwrap())
}

proptest! {
    #[test]
    fn no_set_of_whatever_json_makes_it_panic(
        keys in prop::collection::vec(json_value(), 0..6),
        whole in json_value(),
        algorithm in algorithm(),
    ) {
        let set = key::read(written(&keys).as_bytes(), algorithm).unwrap();
        prop_assert_eq!(set.keys.len() as u64 + set.passed_over, keys.len() as u64);
        let _ = key::read(whole.to_string().as_bytes(), algorithm);
    }

    /// What is let in is used: neither a key nor a signature of whatever bytes makes the verifier panic.
    #[test]
    fn a_good_set_with_other_bytes_or_members_never_makes_it_panic(
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        kid in prop::sample::select(vec!["rs", "ps", "es256", "es384", "ed"]),
        member in prop::sample::select(vec!["kty", "crv", "n", "e", "x", "y", "alg", "kid"]),
        value in json_value(),
        algorithm in algorithm(),
    ) {
        let mut bytes = SET.as_bytes().to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let mut sets = vec![bytes];
        sets.push(written(&[with(kid, json!({ member: value }))]).into_bytes());
        for set in sets.iter().filter_map(|set| key::read(set, algorithm).ok()) {
            for key in set.keys {
                let _ = jsonwebtoken::crypto::verify("AAAA", b"message", &key.key, algorithm.into());
            }
        }
    }
}

#[tokio::test]
async fn keys_are_fetched_when_they_are_asked_for_and_found_by_name() {
    let (time, _) = clock(START);
    let server = Endpoint::always(answer("200 OK", SET)).await;
    let jwks = keys(server.url(), TIMEOUT, time);
    tokio::task::yield_now().await;
    assert!(server.asked().is_empty());
    assert!(jwks.cached(Some("ed")).is_empty());
    jwks.refresh().unwrap().await.unwrap();
    assert_eq!((jwks.cached(Some("ed")).len(), jwks.cached(None).len()), (1, 1));
    assert!(jwks.cached(Some("rs")).is_empty() && jwks.cached(Some("")).is_empty());
    assert_eq!(server.asked().len(), 1);
    let metrics = &jwks.metrics;
    let counts = [&metrics.fetches, &metrics.failures, &metrics.passed_over].map(|count| count.load(SeqCst));
    assert_eq!(counts, [1, 0, 6]);
}

#[tokio::test]
async fn a_thousand_that_wait_share_one_fetch() {
    let (time, now) = clock(START);
    let set = |kid: &str| answer("200 OK", written(&[with("ed", json!({ "kid": kid }))]));
    let (old, new) = (set("old"), set("new"));
    let server =
        Endpoint::new(move |number, _| if number == 0 { Reply::Bytes(old.clone()) } else { Reply::Gated(new.clone()) });
    let server = server.await;
    let jwks = keys(server.url(), TIMEOUT, time);
    jwks.refresh().unwrap().await.unwrap();
    now.fetch_add(30_000, SeqCst);
    let waiting: Vec<_> = (0..1000)
        .map(|_| {
            assert!(jwks.cached(Some("new")).is_empty());
            jwks.refresh().unwrap()
        })
        .collect();
    // Whoever began it may leave.
    let mut waiting = waiting.into_iter();
    drop(waiting.next());
    server.open();
    for wait in waiting {
        wait.await.unwrap();
        assert_eq!(jwks.cached(Some("new")).len(), 1);
    }
    assert!(jwks.cached(Some("old")).is_empty());
    assert_eq!(server.asked().len(), 2);
}

#[tokio::test]
async fn names_that_are_invented_cause_one_fetch_each_floor() {
    let (time, now) = clock(START);
    let server = rotating().await;
    let jwks = keys(server.url(), TIMEOUT, time);
    jwks.refresh().unwrap().await.unwrap();
    for fetches in 1..4 {
        for _ in 0..100 {
            assert!(jwks.cached(Some("invented")).is_empty());
            assert!(jwks.refresh().is_none());
        }
        now.fetch_add(29_999, SeqCst);
        assert!(jwks.refresh().is_none());
        assert_eq!(server.asked().len(), fetches);
        now.fetch_add(1, SeqCst);
        jwks.refresh().unwrap().await.unwrap();
    }
    // A clock that is put back is no reason to wait for it.
    now.store(START - 86_400_000, SeqCst);
    jwks.refresh().unwrap().await.unwrap();
    assert!(jwks.refresh().is_none());
}

#[tokio::test]
async fn old_keys_are_used_while_new_ones_are_fetched() {
    let (time, now) = clock(START);
    let server = rotating().await;
    let jwks = keys(server.url(), TIMEOUT, time);
    jwks.refresh().unwrap().await.unwrap();
    now.fetch_add(599_999, SeqCst);
    assert_eq!(jwks.cached(Some("k0")).len(), 1);
    assert!(jwks.state().flight.is_none());
    now.fetch_add(1, SeqCst);
    for _ in 0..100 {
        assert_eq!(jwks.cached(Some("k0")).len(), 1);
    }
    jwks.refresh().unwrap().await.unwrap();
    assert_eq!((jwks.cached(Some("k0")).len(), jwks.cached(Some("k1")).len()), (0, 1));
    assert_eq!(server.asked().len(), 2);
}

#[tokio::test]
async fn a_fetch_that_fails_keeps_the_keys_and_says_that_it_may_be_tried_again() {
    let redirected = Endpoint::always(answer("200 OK", SET)).await;
    let to = format!("HTTP/1.1 302 Found\r\nlocation: {}\r\ncontent-length: 0\r\n\r\n", redirected.url());
    let zipped =
        [&b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 6\r\n\r\n"[..], b"\x1f\x8b\x08\0\0\0"];
    let huge = written(&[with("ed", json!({"kid": "k".repeat(1 << 20)}))]);
    let bad: [Vec<u8>; 9] = [
        answer("500 Internal Server Error", SET),
        answer("404 Not Found", SET),
        answer("204 No Content", ""),
        answer("200 OK", "<html>not JSON</html>"),
        answer("200 OK", r#"{"error":"none"}"#),
        answer("200 OK", huge),
        b"HTTP/1.1 200 OK\r\ncontent-length: 999999999999\r\n\r\n".to_vec(),
        to.into_bytes(),
        zipped.concat(),
    ];
    let bad_count = bad.len();
    // Before there was a good one, and after.
    let server = Endpoint::new(move |number, _| {
        Reply::Bytes(bad.get(number % (bad.len() + 1)).cloned().unwrap_or_else(|| answer("200 OK", SET)))
    })
    .await;
    let (time, now) = clock(START);
    let jwks = keys(server.url(), TIMEOUT, time);
    for number in 0..2 * bad_count + 1 {
        let answered = jwks.refresh().unwrap().await;
        assert_eq!(answered.is_ok(), number == bad_count, "{number}");
        assert_eq!(jwks.cached(Some("ed")).len(), usize::from(number >= bad_count), "{number}");
        if number != bad_count {
            assert_eq!(answered.unwrap_err(), unavailable());
            // Before it may be tried again that is what is said, and nobody is asked.
            assert_eq!(jwks.refresh().unwrap().await.unwrap_err(), unavailable());
        }
        now.fetch_add(30_000, SeqCst);
    }
    assert_eq!(server.asked().len(), 2 * bad_count + 1);
    assert_eq!(jwks.metrics.failures.load(SeqCst), 2 * bad_count as u64);
    assert!(redirected.asked().is_empty());
}

#[tokio::test]
async fn a_server_that_is_down_or_slow_is_not_waited_for() {
    let silent = Endpoint::new(|_, _| Reply::Silence).await;
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 9000\r\n\r\n";
    let drip =
        Endpoint::new(|_, _| Reply::Endless(head.to_vec(), b" ".to_vec(), Some(Duration::from_millis(20)))).await;
    for url in [Endpoint::nowhere().await, silent.url(), drip.url()] {
        let jwks = keys(url, Duration::from_millis(150), clock(START).0);
        assert_eq!(jwks.refresh().unwrap().await.unwrap_err(), unavailable());
        assert!(jwks.cached(None).is_empty());
    }
}

#[tokio::test]
async fn a_set_that_says_less_takes_keys_away() {
    let (time, now) = clock(START);
    let server =
        Endpoint::new(|number, _| Reply::Bytes(answer("200 OK", if number == 0 { SET } else { r#"{"keys":[]}"# })));
    let server = server.await;
    let jwks = keys(server.url(), TIMEOUT, time);
    jwks.refresh().unwrap().await.unwrap();
    assert_eq!(jwks.cached(None).len(), 1);
    now.fetch_add(30_000, SeqCst);
    jwks.refresh().unwrap().await.unwrap();
    assert!(jwks.cached(None).is_empty());
}

#[tokio::test]
async fn at_most_sixteen_keys_are_tried() {
    let set: Vec<_> = (0..100).map(|n| with("ed", json!({"kid": if n < 50 { "same" } else { "other" }}))).collect();
    let server = Endpoint::always(answer("200 OK", written(&set))).await;
    let jwks = keys(server.url(), TIMEOUT, clock(START).0);
    jwks.refresh().unwrap().await.unwrap();
    for kid in [None, Some("same"), Some("other")] {
        assert_eq!(jwks.cached(kid).len(), 16);
    }
}

#[tokio::test]
async fn nothing_is_held_by_a_fetch_and_one_that_is_cut_off_stands_in_nobodys_way() {
    let server = Endpoint::new(|_, _| Reply::Silence).await;
    let (time, now) = clock(START);
    let jwks = keys(server.url(), TIMEOUT, time);
    assert!(jwks.cached(None).is_empty());
    let cut = jwks.refresh().unwrap();
    jwks.state().flight.as_ref().unwrap().task.abort();
    assert_eq!(cut.await.unwrap_err(), unavailable());
    now.fetch_add(30_000, SeqCst);
    let again = jwks.refresh().unwrap();
    drop(again);
    let gone = Arc::downgrade(&jwks);
    drop(jwks);
    assert!(gone.upgrade().is_none());
}
