//! Each rule of ephemeral state, by name; and what the shell adds to them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tidegate_model::Tenant;

use super::*;
use crate::{Kind, Options, Publication};

pub(super) const MINUTE: u64 = 60_000;

/// Everything but the thread, at a time that tests choose.
pub(super) struct House {
    pub(super) shared: Shared,
    pub(super) metrics: Arc<Metrics>,
    pub(super) now: Arc<AtomicU64>,
    told: Arc<Told>,
}

/// An outlet that remembers.
#[derive(Default)]
struct Told {
    publications: Mutex<Vec<Arc<Publication>>>,
    changed: Condvar,
    is_deaf: AtomicBool,
}

impl Outlet for Told {
    fn pass(&self, publication: &Arc<Publication>) {
        self.publications.lock().unwrap().push(publication.clone());
        self.changed.notify_all();
    }

    fn has_subscribers(&self, topic: &Topic) -> bool {
        !self.is_deaf.load(Ordering::Relaxed) && !topic.name.starts_with("silent")
    }

    fn is_full(&self) -> bool {
        false
    }
}

impl House {
    pub(super) fn new(limits: Limits) -> Self {
        let (now, told, metrics): (Arc<AtomicU64>, Arc<Told>, Arc<Metrics>) = Default::default();
        now.store(1_000_000, Ordering::Relaxed);
        let shared = Shared::new(limits, "_orama", clock(&now), told.clone(), metrics.clone());
        Self { shared, metrics, now, told }
    }

    pub(super) fn pass_time(&self, ms: u64) {
        self.now.fetch_add(ms, Ordering::Relaxed);
    }

    fn set(&self, topic: &str, key: &str, client: &str) -> Result<(), TopicError> {
        self.shared.set(&set(topic, key, client))
    }

    fn set_for(&self, key: &str, ttl_ms: i64) {
        self.shared.set(&Set { ttl_ms, ..set("doc:7", key, "c_a") }).unwrap();
    }

    fn clear(&self, key: &str, client: &str) -> Result<(), TopicError> {
        self.shared.clear(&topic("", "doc:7"), key, &owner("", client))
    }

    fn disown(&self, client: &str) {
        self.shared.disown(&owner("", client), Cleared::Disconnect);
    }

    fn list(&self, name: &str) -> Vec<Entry> {
        self.shared.list(&topic("", name), usize::MAX).unwrap()
    }

    fn keys(&self, name: &str) -> Vec<String> {
        self.list(name).into_iter().map(|entry| entry.key.into()).collect()
    }

    fn owner_of(&self, key: &str) -> Option<String> {
        let entry = self.list("doc:7").into_iter().find(|entry| &*entry.key == key);
        entry.map(|entry| entry.client.to_string())
    }

    fn expires_in(&self, key: &str) -> Option<u64> {
        let entry = self.list("doc:7").into_iter().find(|entry| &*entry.key == key);
        entry.map(|entry| entry.expires_in_ms)
    }

    /// What was passed on since the last call.
    pub(super) fn told(&self) -> Vec<String> {
        let publications = std::mem::take(&mut *self.told.publications.lock().unwrap());
        publications.iter().map(|publication| text(publication)).collect()
    }
}

fn clock(now: &Arc<AtomicU64>) -> Clock {
    let now = now.clone();
    Arc::new(move || now.load(Ordering::Relaxed))
}

fn text(publication: &Publication) -> String {
    String::from_utf8(publication.record.data.bytes().to_vec()).unwrap()
}

pub(super) fn topic(tenant: &str, name: &str) -> Arc<Topic> {
    let options = Arc::new(Options { ephemeral: !name.starts_with("plain"), ..Options::default() });
    Arc::new(Topic { tenant: Tenant::new(tenant), name: name.into(), options })
}

pub(super) fn owner(tenant: &str, client: &str) -> Owner {
    Owner { tenant: Tenant::new(tenant), client: client.into() }
}

fn set(name: &str, key: &str, client: &str) -> Set {
    let (topic, owner) = (topic("", name), owner("", client));
    Set { topic, key: key.into(), payload: Bytes::from_static(b"{\"x\":1}"), ttl_ms: 0, owner }
}

fn cleared(key: &str, client: &str, reason: &str) -> String {
    format!(
        r#"{{"_orama":"ephemeral.clear","topic":"doc:7","key":"{key}","client_id":"{client}","reason":"{reason}"}}"#
    )
}

#[test]
fn a_client_owns_at_most_so_many_keys() {
    let house = House::new(Limits::default());
    for n in 0..256 {
        // Over all topics of the client, not of each.
        house.set(&format!("doc:{}", n % 3), &n.to_string(), "c_a").unwrap();
    }
    assert_eq!(house.set("doc:7", "more", "c_a"), Err(TopicError::TooManyKeys(256)));
    assert_eq!(house.list("doc:7"), []);
    assert_eq!(house.metrics.sets_refused.load(Ordering::Relaxed), 1);
    // Another client has places of its own.
    house.set("doc:7", "more", "c_b").unwrap();
}

#[test]
fn overwriting_ones_own_key_is_always_allowed() {
    let house = House::new(Limits { owned_keys: 1, entries: 1, ..Limits::default() });
    house.set("doc:7", "cursor", "c_a").unwrap();
    let payload = Bytes::from_static(b"new");
    house.shared.set(&Set { payload: payload.clone(), ..set("doc:7", "cursor", "c_a") }).unwrap();
    assert_eq!(house.list("doc:7")[0].payload, payload);
    assert_eq!(house.metrics.entries.load(Ordering::Relaxed), 1);
    assert_eq!(house.metrics.sets.load(Ordering::Relaxed), 2);
}

#[test]
fn a_key_that_is_cleared_gives_its_place_back() {
    let house = House::new(Limits { owned_keys: 1, ..Limits::default() });
    house.set("doc:7", "a", "c_a").unwrap();
    house.clear("a", "c_a").unwrap();
    house.set("doc:7", "b", "c_a").unwrap();
    house.pass_time(MINUTE);
    house.shared.expire_due();
    house.set("doc:7", "c", "c_a").unwrap();
    assert_eq!(house.keys("doc:7"), ["c"]);
}

#[test]
fn taking_over_a_key_counts_against_the_cap_of_who_takes_and_frees_the_former_owners_place() {
    let house = House::new(Limits { owned_keys: 1, ..Limits::default() });
    house.set("doc:7", "a", "c_a").unwrap();
    house.set("doc:7", "b", "c_b").unwrap();
    assert_eq!(house.set("doc:7", "a", "c_b"), Err(TopicError::TooManyKeys(1)));
    assert_eq!(house.owner_of("a").as_deref(), Some("c_a"));
    house.set("doc:7", "a", "c_c").unwrap();
    assert_eq!(house.owner_of("a").as_deref(), Some("c_c"));
    house.set("doc:7", "c", "c_a").unwrap();
}

#[test]
fn a_payload_is_opaque_and_has_at_most_16_kib() {
    let house = House::new(Limits::default());
    let of = |len| Set { payload: vec![0xff; len].into(), ..set("doc:7", "k", "c_a") };
    house.shared.set(&of(16 << 10)).unwrap();
    assert_eq!(house.list("doc:7")[0].payload.len(), 16 << 10);
    let bounded = |bytes_max| house.shared.list(&topic("", "doc:7"), bytes_max).map(|entries| entries.len());
    let bytes = house.list("doc:7").iter().map(|entry| entry.key.len() + entry.payload.len()).sum::<usize>();
    assert_eq!((bounded(bytes).is_ok(), bounded(bytes - 1)), (true, Err(TopicError::TooMuch(bytes - 1))));
    assert_eq!(house.shared.set(&of((16 << 10) + 1)), Err(TopicError::TooLarge(16 << 10)));
    house.shared.set(&of(0)).unwrap();
    assert_eq!(house.list("doc:7")[0].payload, b""[..]);
}

#[test]
fn a_ttl_of_nothing_or_less_is_a_minute_and_none_is_longer_than_half_an_hour() {
    let house = House::new(Limits::default());
    let cases = [
        (0, MINUTE),
        (-1, MINUTE),
        (i64::MIN, MINUTE),
        (1, 1),
        (30 * 60_000, 30 * MINUTE),
        (30 * 60_000 + 1, 30 * MINUTE),
        (i64::MAX, 30 * MINUTE),
    ];
    for (asked, given) in cases {
        house.set_for("k", asked);
        assert_eq!(house.expires_in("k"), Some(given), "{asked}");
    }
}

#[test]
fn an_entry_at_its_deadline_is_not_listed_and_the_timer_clears_it() {
    let house = House::new(Limits::default());
    house.set_for("k", 50);
    house.told();
    house.pass_time(49);
    house.shared.expire_due();
    assert_eq!((house.expires_in("k"), house.told().len()), (Some(1), 0));
    house.pass_time(1);
    assert_eq!(house.list("doc:7"), []);
    house.shared.expire_due();
    assert_eq!(house.told(), [cleared("k", "c_a", "expired")]);
    assert_eq!(house.metrics.cleared[Cleared::Expired as usize].load(Ordering::Relaxed), 1);
    assert_eq!(house.metrics.entries.load(Ordering::Relaxed), 0);
}

#[test]
fn setting_again_prolongs_or_shortens_a_life() {
    let house = House::new(Limits::default());
    house.set_for("longer", 100);
    house.set_for("shorter", 100);
    house.pass_time(50);
    house.set_for("longer", 100);
    house.set_for("shorter", 10);
    house.told();
    house.pass_time(10);
    house.shared.expire_due();
    assert_eq!(house.told(), [cleared("shorter", "c_a", "expired")]);
    house.pass_time(89);
    house.shared.expire_due();
    assert_eq!(house.expires_in("longer"), Some(1));
    house.pass_time(1);
    house.shared.expire_due();
    assert_eq!(house.told(), [cleared("longer", "c_a", "expired")]);
}

#[test]
fn refreshing_piles_up_no_timers() {
    let house = House::new(Limits::default());
    for n in 0..10_000 {
        house.set_for("k", if n % 3 == 0 { 1_000 } else { 60_000 });
        house.pass_time(1);
    }
    let state = house.shared.lock();
    assert_eq!(state.entries.timers(), 1);
}

#[test]
fn an_expired_entry_that_the_timer_has_not_come_to_counts_as_gone() {
    let house = House::new(Limits { owned_keys: 1, ..Limits::default() });
    house.set_for("k", 10);
    house.pass_time(10);
    house.told();
    house.clear("k", "c_a").unwrap();
    assert_eq!(house.told().len(), 0);
    house.set("doc:7", "k", "c_b").unwrap();
    house.disown("c_a");
    house.shared.expire_due();
    assert_eq!((house.owner_of("k").as_deref(), house.told().len()), (Some("c_b"), 1));
    // It took the former owner's place with it.
    house.set_for("other", 10);
    house.pass_time(10);
    house.told();
    house.disown("c_a");
    assert_eq!(house.told(), [cleared("other", "c_a", "expired")]);
}

#[test]
fn set_by_another_client_moves_ownership() {
    let house = House::new(Limits::default());
    house.set("doc:7", "k", "c_a").unwrap();
    house.set("doc:7", "k", "c_b").unwrap();
    house.told();
    house.disown("c_a");
    house.clear("k", "c_a").unwrap();
    assert_eq!((house.owner_of("k").as_deref(), house.told().len()), (Some("c_b"), 0));
    house.disown("c_b");
    assert_eq!(house.told(), [cleared("k", "c_b", "disconnect")]);
}

#[test]
fn clear_of_a_key_that_is_missing_or_anothers_is_a_success_and_nothing_happens() {
    let house = House::new(Limits::default());
    house.set("doc:7", "k", "c_a").unwrap();
    house.told();
    assert_eq!(house.clear("missing", "c_a"), Ok(()));
    assert_eq!(house.clear("k", "c_b"), Ok(()));
    assert_eq!((house.owner_of("k").as_deref(), house.told().len()), (Some("c_a"), 0));
    for _ in 0..2 {
        assert_eq!(house.clear("k", "c_a"), Ok(()));
    }
    assert_eq!(house.told(), [cleared("k", "c_a", "explicit")]);
}

#[test]
fn a_list_is_of_one_topic_and_sorted_by_key() {
    let house = House::new(Limits::default());
    for key in ["b", "é", "a", "B", "aa", "10", "9"] {
        house.set("doc:7", key, key).unwrap();
    }
    house.set("doc:8", "elsewhere", "c_a").unwrap();
    assert_eq!(house.keys("doc:7"), ["10", "9", "B", "a", "aa", "b", "é"]);
    assert_eq!(house.keys("doc:9"), [""; 0]);
}

#[test]
fn a_disconnect_clears_all_that_the_client_owns_and_nothing_else() {
    let house = House::new(Limits::default());
    for (name, key, client) in [("doc:7", "a", "c_a"), ("doc:8", "b", "c_a"), ("doc:7", "c", "c_b")] {
        house.set(name, key, client).unwrap();
    }
    house.told();
    house.shared.disown(&owner("", "c_a"), Cleared::Revoked);
    assert_eq!(house.told(), [cleared("a", "c_a", "revoked"), cleared("b", "c_a", "revoked").replace(":7", ":8")]);
    assert_eq!((house.keys("doc:7"), house.keys("doc:8")), (vec!["c".to_owned()], vec![]));
    assert_eq!(house.metrics.cleared[Cleared::Revoked as usize].load(Ordering::Relaxed), 2);
}

#[test]
fn a_key_has_1_to_255_bytes_without_control_characters() {
    let house = House::new(Limits::default());
    for bad in ["", "a\nb", "\u{0}", "\u{7f}", &"x".repeat(256), &"é".repeat(128)] {
        assert!(matches!(house.set("doc:7", bad, "c_a"), Err(TopicError::Key(_))), "{bad:?}");
        assert!(matches!(house.clear(bad, "c_a"), Err(TopicError::Key(_))), "{bad:?}");
    }
    house.set("doc:7", &"x".repeat(255), "c_a").unwrap();
    assert_eq!(house.list("doc:7").len(), 1);
}

#[test]
fn tenants_do_not_exist_for_one_another() {
    let house = House::new(Limits::default());
    let (acme, other) = (topic("acme", "doc:7"), owner("other", "c_a"));
    let foreign = Set { topic: acme.clone(), owner: other.clone(), ..set("doc:7", "k", "c_a") };
    assert_eq!(house.shared.set(&foreign), Err(TopicError::UnknownClient));
    house.shared.set(&Set { owner: owner("acme", "c_a"), ..foreign }).unwrap();
    house.set("doc:7", "common", "c_a").unwrap();
    house.shared.clear(&acme, "k", &other).unwrap();
    house.shared.disown(&other, Cleared::Disconnect);
    house.shared.disown(&owner("", "c_a"), Cleared::Disconnect);
    assert_eq!(house.shared.list(&acme, usize::MAX).unwrap().len(), 1);
    assert_eq!(house.keys("doc:7"), [""; 0]);
}

#[test]
fn a_namespace_without_ephemeral_state_says_so() {
    let house = House::new(Limits::default());
    let no = TopicError::NotAvailable("ephemeral state");
    let plain = topic("", "plain:1");
    assert_eq!(house.set("plain:1", "k", "c_a"), Err(no.clone()));
    assert_eq!(house.shared.clear(&plain, "k", &owner("", "c_a")), Err(no.clone()));
    assert_eq!(house.shared.list(&plain, 0), Err(no));
}

#[test]
fn past_the_cap_of_all_entries_a_new_one_is_refused() {
    let house = House::new(Limits { entries: 2, ..Limits::default() });
    house.set("doc:7", "a", "c_a").unwrap();
    house.set("doc:8", "a", "c_b").unwrap();
    assert_eq!(house.set("doc:9", "a", "c_c"), Err(TopicError::Full(2)));
    house.set("doc:8", "a", "c_c").unwrap();
    house.clear("a", "c_a").unwrap();
    house.set("doc:9", "a", "c_d").unwrap();
}

#[test]
fn past_the_cap_of_all_bytes_nothing_is_added_to_them() {
    let house = House::new(Limits { entries_bytes: 10, ..Limits::default() });
    let of = |topic: &str, client: &str, bytes: usize| {
        house.shared.set(&Set { payload: vec![b'x'; bytes].into(), ..set(topic, "a", client) })
    };
    of("doc:7", "c_a", 6).unwrap();
    of("doc:8", "c_b", 4).unwrap();
    assert_eq!(of("doc:9", "c_c", 1), Err(TopicError::Full(10)));
    assert_eq!(of("doc:8", "c_b", 5), Err(TopicError::Full(10)));
    of("doc:9", "c_c", 0).unwrap();
    of("doc:8", "c_b", 4).unwrap();
    of("doc:8", "c_c", 3).unwrap();
    of("doc:9", "c_c", 1).unwrap();
    house.clear("a", "c_a").unwrap();
    of("doc:9", "c_c", 7).unwrap();
}

#[test]
fn subscribers_are_told_in_so_many_words() {
    let house = House::new(Limits::default());
    house.set("doc:7", "cursor", "c_01J").unwrap();
    house.clear("cursor", "c_01J").unwrap();
    let publications = house.told.publications.lock().unwrap().clone();
    for publication in &publications {
        let record = &publication.record;
        assert_eq!((record.kind, record.offset, record.time_ms), (Kind::Ephemeral, 0, 1_000_000));
        assert!(matches!(record.data, crate::Data::Json(_)));
        assert_eq!(record.client.as_ref().unwrap().client, "c_01J".into());
    }
    assert_eq!(
        house.told(),
        [
            r#"{"_orama":"ephemeral.set","topic":"doc:7","key":"cursor","client_id":"c_01J","payload":"eyJ4IjoxfQ=="}"#,
            r#"{"_orama":"ephemeral.clear","topic":"doc:7","key":"cursor","client_id":"c_01J","reason":"explicit"}"#,
        ]
    );
}

#[test]
fn names_are_escaped_and_the_discriminator_can_be_chosen() {
    let events = Events::new("a\"b");
    let hostile = Set { payload: vec![0xfb, 0xff].into(), ..set("\"},\\", "k\"\u{2028}<", "c_\"") };
    let json = text(&events.set(&hostile, 0));
    let said: serde_json::Value = serde_json::from_str(&json).unwrap();
    let expected = serde_json::json!({
        "a\"b": "ephemeral.set", "topic": "\"},\\", "key": "k\"\u{2028}<", "client_id": "c_\"", "payload": "+/8=",
    });
    assert_eq!(said, expected);
}

#[test]
fn nothing_is_written_where_nobody_listens() {
    let house = House::new(Limits::default());
    house.told.is_deaf.store(true, Ordering::Relaxed);
    house.set("doc:7", "k", "c_a").unwrap();
    house.disown("c_a");
    assert_eq!(house.told(), [""; 0]);
    assert_eq!(house.metrics.cleared[Cleared::Disconnect as usize].load(Ordering::Relaxed), 1);
}

#[test]
fn many_that_expire_at_once_do_so_a_part_at_a_time() {
    let house = House::new(Limits { owned_keys: 1_000, ..Limits::default() });
    for n in 0..600 {
        house.set_for(&n.to_string(), 10);
    }
    house.pass_time(10);
    house.told();
    let parts: Vec<_> =
        (0..3).map(|_| (house.shared.expire_some(&mut house.shared.lock()), house.told().len())).collect();
    assert_eq!(parts, [(true, 256), (true, 256), (false, 88)]);
}

/// With the real thread, on the real clock.
#[test]
fn the_timer_is_exact_and_ends_with_its_owner() {
    let started = Instant::now();
    let clock: Clock = Arc::new(move || u64::try_from(started.elapsed().as_millis()).unwrap());
    let told = Arc::new(Told::default());
    let ephemera = Ephemera::new(Limits::default(), "_orama", clock, told.clone(), Arc::default()).unwrap();
    let set_for = |key, ttl_ms| ephemera.set(&Set { ttl_ms, ..set("doc:7", key, "c_a") }).unwrap();
    // It has to be woken for each of the others.
    set_for("long", 60_000);
    while !(60_000..u64::MAX).contains(&ephemera.shared.lock().sleeps_until_ms) {
        assert!(started.elapsed() < Duration::from_secs(20), "the timer does not sleep until the deadline");
        std::thread::yield_now();
    }
    set_for("later", 240);
    set_for("soon", 120);
    let set_by_ms = u64::try_from(started.elapsed().as_millis()).unwrap();
    let mut heard = Vec::new();
    let mut publications = told.publications.lock().unwrap();
    while heard.len() < 2 {
        heard.extend(publications.drain(..).map(|p| (text(&p), p.record.time_ms)).filter(|(t, _)| t.contains("clear")));
        if heard.len() < 2 {
            let (guard, timeout) = told.changed.wait_timeout(publications, Duration::from_secs(20)).unwrap();
            assert!(!timeout.timed_out(), "the timer did not come");
            publications = guard;
        }
    }
    drop(publications);
    heard.sort();
    for ((said, at_ms), (key, ttl_ms)) in heard.iter().zip([("later", 240), ("soon", 120)]) {
        assert_eq!(*said, cleared(key, "c_a", "expired"));
        // Exact to 50 ms where the machine has a core to spare; here many tests share it.
        assert!((ttl_ms..set_by_ms + ttl_ms + 1_000).contains(at_ms), "{at_ms} instead of {ttl_ms}");
    }
    let shared = Arc::downgrade(&ephemera.shared);
    drop(ephemera);
    assert!(shared.upgrade().is_none(), "the thread still holds the state");
}
