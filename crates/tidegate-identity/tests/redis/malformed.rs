//! Redis says what is not a session.

use redis::Cmd;
use tidegate_identity::Revocation;
use tidegate_testkit::redis::Redis;

use crate::fixture::{Fixture, PROMPT, hash, words};

const ID: (&str, &str) = ("device_session_id", "s1");
const USER: (&str, &str) = ("user_id", "ann");
const KEY: (&str, &str) = ("client_public_key", "key");
const ACTIVE: (&str, &str) = ("status", "active");

type Fields<'a> = Vec<(&'a str, &'a str)>;

/// What no entry and no hash may be, and whether it still names its session.
fn table(long: &str) -> Vec<(&'static str, Fields<'_>, bool)> {
    let at = |text| ("revoked_at_ms", text);
    vec![
        ("no id", vec![USER, KEY, ACTIVE], false),
        ("an empty id", vec![("device_session_id", ""), USER, KEY, ACTIVE], false),
        ("an id of white space", vec![("device_session_id", " \t"), USER, KEY, ACTIVE], false),
        ("an id that is too long", vec![("device_session_id", long), USER, KEY, ACTIVE], false),
        ("no user", vec![ID, KEY, ACTIVE], true),
        ("an empty user", vec![ID, ("user_id", ""), KEY, ACTIVE], true),
        ("a user of white space", vec![ID, ("user_id", " "), KEY, ACTIVE], true),
        ("a user that is too long", vec![ID, ("user_id", long), KEY, ACTIVE], true),
        ("no key", vec![ID, USER, ACTIVE], true),
        ("an empty key", vec![ID, USER, ("client_public_key", ""), ACTIVE], true),
        ("a key that is too long", vec![ID, USER, ("client_public_key", long), ACTIVE], true),
        ("no status", vec![ID, USER, KEY], true),
        ("an empty status", vec![ID, USER, KEY, ("status", "")], true),
        ("another status", vec![ID, USER, KEY, ("status", "Active")], true),
        ("an empty time", vec![ID, USER, KEY, ACTIVE, at("")], true),
        ("a time that is no number", vec![ID, USER, KEY, ACTIVE, at("soon")], true),
        ("a time that is no integer", vec![ID, USER, KEY, ACTIVE, at("1.5")], true),
        ("a time that is too large", vec![ID, USER, KEY, ACTIVE, at("9223372036854775808")], true),
        ("another field", vec![ID, USER, KEY, ACTIVE, ("device", "phone")], true),
        ("another field that is empty", vec![ID, USER, KEY, ACTIVE, ("", "")], true),
    ]
}

fn add(fields: &Fields<'_>) -> Cmd {
    let mut add = words("XADD session_events *");
    add.arg(fields);
    add
}

#[tokio::test]
async fn an_entry_drops_the_session_that_it_names() {
    let Some(server) = Redis::start() else { return };
    let mut fixture = Fixture::start(&server).await;
    let long = "x".repeat(2_000);
    let twice = vec![ID, USER, KEY, ACTIVE, ACTIVE];
    let many: Vec<_> = (0..1_000).map(|_| ("device", "phone")).chain([ID, USER, KEY, ACTIVE]).collect();
    let only_entries = [("a field twice", twice, true), ("a thousand fields", many, true)];
    for (counted, (what, fields, names)) in table(&long).into_iter().chain(only_entries).enumerate() {
        fixture.write("s1", "active").await;
        fixture.barrier("before").await;
        // Only what is held knows of it.
        let () = fixture.ask("DEL session:s1").await;
        fixture.enter("s1").await;
        let _: String = fixture.run(&add(&fields)).await;
        if names {
            assert_eq!(fixture.hears(PROMPT).await, Revocation::Recheck("s1".into()), "{what}");
            assert_eq!(fixture.check("s1").await.unwrap_err().status, 401, "{what}");
        } else {
            fixture.barrier("after").await;
            fixture.enter("s1").await;
        }
        assert_eq!(fixture.count(|metrics| &metrics.malformed), counted as u64 + 1, "{what}");
    }
    assert_eq!(fixture.count(|metrics| &metrics.gaps), 0);
}

#[tokio::test]
async fn numbers_are_trimmed_and_other_values_are_kept() {
    let Some(server) = Redis::start() else { return };
    let mut fixture = Fixture::start(&server).await;
    let fields = vec![ID, USER, ("client_public_key", " key "), ACTIVE, ("revoked_at_ms", " 17\n")];
    let _: String = fixture.run(&add(&fields)).await;
    fixture.barrier("after").await;
    assert_eq!(fixture.check("s1").await.unwrap().as_deref(), Some(" key "));
}

#[tokio::test]
async fn a_hash_lets_nobody_in() {
    let Some(server) = Redis::start() else { return };
    let mut fixture = Fixture::start(&server).await;
    let long = "x".repeat(2_000);
    let another = vec![("device_session_id", "s2"), USER, KEY, ACTIVE];
    let other = [("another session's", another, true)];
    for (counted, (what, fields, _)) in table(&long).into_iter().chain(other).enumerate() {
        let () = fixture.ask("DEL session:s1").await;
        let () = fixture.run(words("HSET session:s1").arg(fields)).await;
        let refusal = fixture.check("s1").await.unwrap_err();
        assert_eq!((refusal.status, refusal.code), (401, "unauthenticated"), "{what}");
        assert_eq!(fixture.count(|metrics| &metrics.malformed_hashes), counted as u64 + 1, "{what}");
    }
    // What is put right lets in.
    let () = fixture.ask("DEL session:s1").await;
    let () = fixture.run(&hash("s1", "active")).await;
    fixture.enter("s1").await;
    let () = fixture.run(&hash("s2", "revoked")).await;
    assert_eq!(fixture.check("s2").await.unwrap_err().code, "revoked");
}

#[tokio::test]
async fn what_is_no_hash_or_a_huge_one_lets_nobody_in() {
    let Some(server) = Redis::start() else { return };
    let mut fixture = Fixture::start(&server).await;
    let () = fixture.ask("SET session:s1 active").await;
    let () = fixture.run(&hash("s2", "active")).await;
    let () = fixture.run(words("HSET session:s2 client_public_key").arg(vec![b'x'; 64 << 20])).await;
    let () = fixture.run(&hash("s3", "active")).await;
    let many: Vec<_> = (0..100_000).map(|n| (format!("field-{n}"), "x")).collect();
    let () = fixture.run(words("HSET session:s3").arg(many)).await;
    // None of it is fetched: what Redis sent since is small.
    let sent = async |fixture: &mut Fixture| -> u64 {
        let stats: String = fixture.ask("INFO stats").await;
        let line = stats.lines().find_map(|line| line.strip_prefix("total_net_output_bytes:")).unwrap();
        line.parse().unwrap()
    };
    let before = sent(&mut fixture).await;
    for id in ["s1", "s2", "s3"] {
        assert_eq!(fixture.check(id).await.unwrap_err().status, 401, "{id}");
    }
    assert_eq!(fixture.count(|metrics| &metrics.malformed_hashes), 3);
    assert!(sent(&mut fixture).await - before < 100_000);
}

#[tokio::test]
async fn an_id_is_never_a_pattern_or_a_second_word() {
    let Some(server) = Redis::start() else { return };
    let mut fixture = Fixture::start(&server).await;
    fixture.write("s1", "active").await;
    for id in ["*", "s?", "s1 ", "s1\r\nFLUSHALL\r\n", "", &"x".repeat(100_000)] {
        assert_eq!(fixture.check(id).await.unwrap_err().status, 401, "{id:?}");
    }
    fixture.enter("s1").await;
}
