//! Random histories, against a list of entries that is searched from end to end.

use std::sync::atomic::Ordering;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use super::tests::{House, MINUTE, owner, topic};
use super::*;

const TENANTS: [&str; 2] = ["", "acme"];
/// Nobody listens to the third; the last has no ephemeral state.
const TOPICS: [&str; 4] = ["doc:1", "doc:2", "silent", "plain"];
const KEYS: [&str; 6] = ["a", "b", "ab", "\"", "é", ""];
const CLIENTS: [&str; 3] = ["c_0", "c_1", "c_2"];
const LIMITS: fn() -> Limits = || Limits { owned_keys: 3, entries: 7, ephemeral_bytes: 4, ..Limits::default() };

type Place = (&'static str, &'static str);

#[derive(Debug, Clone)]
enum Step {
    Set { place: Place, key: &'static str, who: Place, payload: Vec<u8>, ttl_ms: i64 },
    Clear { place: Place, key: &'static str, who: Place },
    Disown { who: Place },
    Pass { ms: u64 },
    Expire { at_once: usize },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let place = || (select(&TENANTS), select(&TOPICS));
    // Mostly of the tenant that the topic is of.
    let placed = || {
        let foreign = prop::bool::weighted(0.1);
        (place(), select(&CLIENTS), foreign).prop_map(|(place, client, is_foreign)| {
            let tenant = if is_foreign == place.0.is_empty() { TENANTS[1] } else { TENANTS[0] };
            (place, (tenant, client))
        })
    };
    let ttl = select(&[0, -1, i64::MIN, 1, 10, 49, 50, 1_000, 59_999, 1_800_000, 1_800_001, i64::MAX]);
    let set = (placed(), select(&KEYS), vec(any::<u8>(), 0..6), ttl)
        .prop_map(|((place, who), key, payload, ttl_ms)| Step::Set { place, key, who, payload, ttl_ms });
    let clear = (placed(), select(&KEYS)).prop_map(|((place, who), key)| Step::Clear { place, key, who });
    let disown = (select(&TENANTS), select(&CLIENTS)).prop_map(|who| Step::Disown { who });
    let pass = select(&[0, 1, 9, 10, 49, 50, 1_000, 59_999, MINUTE, 30 * MINUTE]).prop_map(|ms| Step::Pass { ms });
    let expire = (1..4usize).prop_map(|at_once| Step::Expire { at_once });
    vec(prop_oneof![12 => set, 3 => clear, 1 => disown, 4 => pass, 3 => expire], 1..80)
}

#[derive(Debug, Clone)]
struct Kept {
    place: Place,
    key: &'static str,
    client: &'static str,
    payload: Vec<u8>,
    deadline_ms: u64,
}

#[derive(Default)]
struct Model {
    kept: Vec<Kept>,
    events: Vec<Value>,
}

impl Model {
    fn step(&mut self, step: &Step, now_ms: u64) -> Result<(), TopicError> {
        match step {
            Step::Set { place, key, who, payload, ttl_ms } => self.set(*place, key, *who, payload, *ttl_ms, now_ms)?,
            Step::Clear { place, key, who } => {
                check(*place, key)?;
                let is = |kept: &Kept| {
                    (kept.place, kept.key, kept.place.0, kept.client) == (*place, *key, who.0, who.1)
                        && kept.deadline_ms > now_ms
                };
                self.remove(is, |_| "explicit");
            }
            Step::Disown { who } => {
                let reason = |kept: &Kept| if kept.deadline_ms <= now_ms { "expired" } else { "disconnect" };
                self.remove(|kept| (kept.place.0, kept.client) == *who, reason);
            }
            Step::Pass { .. } => {}
            Step::Expire { .. } => self.remove(|kept| kept.deadline_ms <= now_ms, |_| "expired"),
        }
        Ok(())
    }

    fn set(
        &mut self,
        place: Place,
        key: &'static str,
        who: Place,
        payload: &[u8],
        ttl_ms: i64,
        now_ms: u64,
    ) -> Result<(), TopicError> {
        check(place, key)?;
        if who.0 != place.0 {
            return Err(TopicError::UnknownClient);
        }
        if payload.len() > 4 {
            return Err(TopicError::TooLarge(4));
        }
        let before = self.kept.iter().position(|kept| (kept.place, kept.key) == (place, key));
        if before.is_none_or(|at| self.kept[at].client != who.1) && self.owned(who) >= 3 {
            return Err(TopicError::TooManyKeys(3));
        }
        if before.is_none() && self.kept.len() >= 7 {
            return Err(TopicError::Full(7));
        }
        if let Some(at) = before {
            self.kept.remove(at);
        }
        let ttl_ms = if ttl_ms <= 0 { 60_000 } else { ttl_ms.min(1_800_000) };
        let deadline_ms = now_ms + u64::try_from(ttl_ms).unwrap();
        self.kept.push(Kept { place, key, client: who.1, payload: payload.to_vec(), deadline_ms });
        let payload = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, payload);
        self.tell(
            place,
            json!({"_orama": "ephemeral.set", "topic": place.1, "key": key, "client_id": who.1, "payload": payload}),
        );
        Ok(())
    }

    fn remove(&mut self, is: impl Fn(&Kept) -> bool, reason: impl Fn(&Kept) -> &'static str) {
        let (gone, kept) = std::mem::take(&mut self.kept).into_iter().partition(is);
        self.kept = kept;
        for gone in Vec::from_iter::<Vec<Kept>>(gone) {
            let (name, key, client, reason) = (gone.place.1, gone.key, gone.client, reason(&gone));
            self.tell(
                gone.place,
                json!({"_orama": "ephemeral.clear", "topic": name, "key": key, "client_id": client, "reason": reason}),
            );
        }
    }

    fn tell(&mut self, place: Place, event: Value) {
        if place.1 != "silent" {
            self.events.push(event);
        }
    }

    fn owned(&self, who: Place) -> usize {
        self.kept.iter().filter(|kept| (kept.place.0, kept.client) == who).count()
    }

    fn list(&self, place: Place, now_ms: u64) -> Result<Vec<Entry>, TopicError> {
        check(place, "k")?;
        let live = self.kept.iter().filter(|kept| kept.place == place && kept.deadline_ms > now_ms);
        let mut entries: Vec<_> = live
            .map(|kept| Entry {
                key: kept.key.into(),
                payload: kept.payload.clone().into(),
                client: kept.client.into(),
                expires_in_ms: kept.deadline_ms - now_ms,
            })
            .collect();
        entries.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(entries)
    }
}

fn check(place: Place, key: &str) -> Result<(), TopicError> {
    match (place.1, key) {
        ("plain", _) => Err(TopicError::NotAvailable("ephemeral state")),
        (_, "") => Err(TopicError::Key("must not be empty")),
        _ => Ok(()),
    }
}

fn step(house: &House, step: &Step) -> Result<(), TopicError> {
    match step.clone() {
        Step::Set { place, key, who, payload, ttl_ms } => {
            let (topic, owner) = (topic(place.0, place.1), owner(who.0, who.1));
            house.shared.set(&Set { topic, key: key.into(), payload: payload.into(), ttl_ms, owner })
        }
        Step::Clear { place, key, who } => house.shared.clear(&topic(place.0, place.1), key, &owner(who.0, who.1)),
        Step::Disown { who } => {
            house.shared.disown(&owner(who.0, who.1), Cleared::Disconnect);
            Ok(())
        }
        Step::Pass { ms } => {
            house.pass_time(ms);
            Ok(())
        }
        Step::Expire { at_once } => {
            let (mut state, now_ms) = (house.shared.lock(), house.now.load(Ordering::Relaxed));
            while state.entries.next_deadline().is_some_and(|deadline_ms| deadline_ms <= now_ms) {
                let gone = state.entries.expire(now_ms, at_once);
                assert!(gone.len() <= at_once);
                house.shared.tell(&state, gone, Cleared::Expired, now_ms);
            }
            Ok(())
        }
    }
}

/// What one step told, whatever its order: one step says at most one thing of a key.
fn sorted(mut events: Vec<Value>) -> Vec<String> {
    let mut events: Vec<_> = events.drain(..).map(|event| event.to_string()).collect();
    events.sort();
    events
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn does_what_the_model_does(steps in steps()) {
        let (house, mut model) = (House::new(LIMITS()), Model::default());
        for one in &steps {
            let before_ms = house.now.load(Ordering::Relaxed);
            prop_assert_eq!(step(&house, one), model.step(one, before_ms), "{:?}", one);
            let now_ms = house.now.load(Ordering::Relaxed);
            let told = house.told().iter().map(|json| serde_json::from_str(json).unwrap()).collect();
            prop_assert_eq!(sorted(told), sorted(std::mem::take(&mut model.events)), "{:?}", one);
            let state = house.shared.lock();
            for tenant in TENANTS {
                for name in TOPICS {
                    let listed = state.entries.list(&topic(tenant, name), now_ms, usize::MAX);
                    prop_assert_eq!(listed, model.list((tenant, name), now_ms), "{:?}", one);
                }
                for client in CLIENTS {
                    prop_assert_eq!(state.entries.owned(&owner(tenant, client)), model.owned((tenant, client)));
                }
            }
            prop_assert_eq!(state.entries.len(), model.kept.len());
            prop_assert_eq!(house.metrics.entries.load(Ordering::Relaxed), model.kept.len() as u64);
            state.entries.check_invariants();
        }
    }
}
