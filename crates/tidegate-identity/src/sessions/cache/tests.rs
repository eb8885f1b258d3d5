//! The races of a look-up, and the cap.

use super::*;

pub(super) fn session(id: &str, user: &str, is_revoked: bool) -> Snapshot {
    Snapshot { id: id.into(), user: user.into(), public_key: "key".into(), is_revoked, revoked_at_ms: None }
}

pub(super) fn malformed(names: Option<&str>) -> Malformed {
    Malformed { names: names.map(Arc::from), rule: "there is another field" }
}

fn started(cache: &mut Cache, id: &str) -> Flight {
    match cache.begin(id) {
        Begin::Started(flight) => flight,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_look_up_is_shared_and_then_held() {
    let mut cache = Cache::new(10, 10);
    let flight = started(&mut cache, "a");
    assert_eq!(cache.begin("a"), Begin::Joined(flight));
    assert_eq!(cache.finish("a", flight, Some(&session("a", "ann", false))), Finished::Stored);
    assert_eq!(cache.begin("a"), Begin::Known);
    assert_eq!(cache.get("a"), Some(Known { user: "ann", public_key: "key", is_revoked: false }));
    assert_eq!(cache.get("b"), None);
}

#[test]
fn what_is_not_there_or_says_to_be_another_is_unknown_and_asked_for_again() {
    let mut cache = Cache::new(10, 10);
    for found in [None, Some(&session("b", "ann", false))] {
        let flight = started(&mut cache, "a");
        assert_eq!(cache.finish("a", flight, found), Finished::Unknown);
    }
    assert_eq!(cache.len(), 0);
}

#[test]
fn an_entry_overtakes_the_look_up_of_its_session_alone() {
    type Overtakes = fn(&mut Cache);
    let overtaking: [(&str, Overtakes); 5] = [
        ("active", |cache| drop(cache.apply(Ok(session("a", "ann", false))))),
        ("revoked", |cache| drop(cache.apply(Ok(session("a", "ann", true))))),
        ("malformed", |cache| drop(cache.apply(Err(malformed(Some("a")))))),
        ("dropped", |cache| assert!(!cache.drop_session("a"))),
        ("emptied", |cache| drop(cache.empty())),
    ];
    for (name, overtake) in overtaking {
        let mut cache = Cache::new(10, 10);
        let flight = started(&mut cache, "a");
        overtake(&mut cache);
        let held = cache.get("a").map(|known| known.is_revoked);
        assert_eq!(cache.finish("a", flight, Some(&session("a", "late", false))), Finished::Overtaken, "{name}");
        assert_eq!(cache.get("a").map(|known| known.is_revoked), held, "{name}");
    }
    let mut cache = Cache::new(10, 10);
    let flight = started(&mut cache, "a");
    assert_eq!(cache.apply(Ok(session("b", "bob", true))), Applied::Revoked("b".into()));
    assert_eq!(cache.apply(Err(malformed(None))), Applied::Nameless);
    assert_eq!(cache.finish("a", flight, Some(&session("a", "ann", false))), Finished::Stored);
}

#[test]
fn a_look_up_that_was_overtaken_does_not_end_the_next() {
    let mut cache = Cache::new(10, 10);
    let first = started(&mut cache, "a");
    cache.drop_session("a");
    let second = started(&mut cache, "a");
    assert_eq!(cache.finish("a", first, Some(&session("a", "late", false))), Finished::Overtaken);
    assert_eq!(cache.begin("a"), Begin::Joined(second));
    assert_eq!(cache.finish("a", second, Some(&session("a", "ann", true))), Finished::Stored);
    assert!(cache.get("a").is_some_and(|known| known.is_revoked));
}

#[test]
fn look_ups_are_bounded_overtaken_ones_too() {
    let mut cache = Cache::new(10, 2);
    let first = started(&mut cache, "a");
    started(&mut cache, "b");
    drop(cache.empty());
    assert_eq!(cache.begin("c"), Begin::Busy);
    assert_eq!(cache.finish("a", first, None), Finished::Overtaken);
    started(&mut cache, "c");
    assert_eq!(cache.begin("d"), Begin::Busy);
}

#[test]
fn the_newest_entry_counts() {
    let mut cache = Cache::new(10, 10);
    for is_revoked in [false, true, true, false] {
        cache.apply(Ok(session("a", "ann", is_revoked)));
        assert_eq!(cache.get("a").map(|known| known.is_revoked), Some(is_revoked));
        assert_eq!(cache.len(), 1);
    }
    assert_eq!(cache.apply(Err(malformed(Some("a")))), Applied::Dropped("a".into()));
    assert_eq!((cache.get("a"), cache.len()), (None, 0));
}

#[test]
fn active_sessions_go_first_at_the_cap() {
    let mut cache = Cache::new(100, 10);
    for n in 0..50 {
        cache.apply(Ok(session(&format!("revoked-{n}"), "ann", true)));
    }
    for n in 0..1_000 {
        cache.apply(Ok(session(&format!("active-{n}"), "ann", false)));
        assert!(cache.get(&format!("active-{n}")).is_some(), "the newest is held");
    }
    assert!((0..50).all(|n| cache.get(&format!("revoked-{n}")).is_some_and(|known| known.is_revoked)));
    assert_eq!((cache.len(), cache.evicted()), (100, 950));
    for n in 50..500 {
        cache.apply(Ok(session(&format!("revoked-{n}"), "ann", true)));
    }
    assert_eq!((cache.len(), cache.active.len(), cache.revoked.len()), (100, 0, 100));
    cache.apply(Ok(session("active", "ann", false)));
    assert!(cache.get("active").is_some_and(|known| !known.is_revoked));
    assert_eq!(cache.len(), 100);
}

#[test]
fn replacing_at_the_cap_evicts_nobody() {
    let mut cache = Cache::new(2, 10);
    for id in ["a", "b", "a", "b"] {
        cache.apply(Ok(session(id, "ann", false)));
    }
    assert_eq!((cache.len(), cache.evicted()), (2, 0));
}

#[test]
fn what_cannot_be_stored_is_not_held_as_it_was() {
    let mut cache = Cache::new(10, 10);
    cache.apply(Ok(session("a", "ann", false)));
    let too_long = session("a", &"u".repeat(70_000), true);
    assert_eq!(cache.apply(Ok(too_long)), Applied::Unstored("a".into()));
    assert_eq!(cache.get("a"), None);
}

#[test]
fn emptying_leaves_nothing() {
    let mut cache = Cache::new(1_000, 10);
    for n in 0..1_000 {
        cache.apply(Ok(session(&n.to_string(), "ann", n % 2 == 0)));
    }
    drop(cache.empty());
    assert_eq!(cache.len(), 0);
    assert!((0..1_000).all(|n| cache.get(&n.to_string()).is_none()));
    cache.apply(Ok(session("a", "ann", false)));
    assert_eq!(cache.len(), 1);
}
