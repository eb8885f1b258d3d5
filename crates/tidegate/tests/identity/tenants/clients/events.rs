//! Clients of `/ws`: many lists on a connection, and rights that change under them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use serde::Deserialize as _;
use serde_json::{Value, json};
use tidegate_testkit::clients::{Frame, within};

use super::{Kept, STEPS, Socket, question, resumed, stolen};
use crate::tenants::plan::{TENANTS, Who};
use crate::tenants::world::World;

/// Many subscriptions over `/ws`.
struct Events {
    world: Arc<World>,
    socket: Socket,
    who: Who,
    /// Who it was until `auth.refresh` is answered.
    before: Option<Who>,
    kept: HashMap<String, Kept>,
    calls: usize,
}

impl Events {
    /// Receives and applies one message; the replies are what is left.
    async fn next(&mut self) -> Value {
        let mut who = vec![&self.who];
        who.extend(&self.before);
        let text = self.socket.text(&self.world, &who).await.unwrap_or_else(|| panic!("{:?} was turned out", self.who));
        let message: Value = serde_json::from_str(&text).unwrap();
        let data = &message["data"];
        let Some(kept) = data["sub"].as_str().and_then(|sub| self.kept.get_mut(sub)) else { return message };
        match message["event"].as_str().unwrap() {
            "live.delta" => {
                for (seq, frame) in (data["seq"].as_u64().unwrap()..).zip(data["deltas"].as_array().unwrap()) {
                    kept.frame(&Frame::deserialize(frame).unwrap(), Some(seq), &self.world);
                }
            }
            "live.synced" => {
                let frame = Frame { op: "synced".into(), ..Frame::deserialize(data).unwrap() };
                kept.frame(&frame, None, &self.world);
                kept.check(&self.world).await;
            }
            "live.error" => {
                // Only who became somebody else loses a list.
                assert!(kept.is_ending, "{message} {:?}", self.who);
                self.kept.remove(data["sub"].as_str().unwrap());
            }
            _ => {}
        }
        message
    }

    async fn call(&mut self, event: &str, data: Value) -> Value {
        self.calls += 1;
        let id = self.calls;
        self.socket.say(&json!({ "event": event, "data": data, "id": id })).await;
        let reply = async {
            loop {
                let message = self.next().await;
                if message["event"] == "reply" && message["id"] == id {
                    return message;
                }
            }
        };
        // On the heap, as it is called at many places.
        Box::pin(within(event, reply)).await
    }

    async fn subscribe(&mut self, random: &mut StdRng) {
        let query = question(&self.world, random).await;
        let decided = self.world.plan.decide(&self.who, &query);
        let sub = format!("s{}", self.calls);
        let mut data = json!({ "sub": sub, "query": query, "synced": true });
        let place = stolen(&self.world, random);
        if let Some((token, _)) = &place {
            data["resume_from"] = token.clone().into();
        }
        // Frames of a list that is gone on with are not to be applied: that is known with the reply, which comes first.
        let reply = self.call("live.subscribe", data).await;
        let Some(decided) = decided else {
            assert_eq!(
                reply["error"]["code"].as_str().map(|code| ["forbidden", "no_tenant"].contains(&code)),
                Some(true),
                "{:?} {query} {reply}\n{}",
                self.who,
                self.world.plan.toml()
            );
            return;
        };
        assert!(reply.get("error").is_none(), "{:?} {query} {reply}\n{}", self.who, self.world.plan.toml());
        if reply["data"]["resumed"] == true {
            resumed(&self.world, place.as_ref().map(|(_, decided)| decided), &decided, &self.who).await;
            self.call("live.unsubscribe", json!({ "sub": sub })).await;
            return;
        }
        self.kept.insert(sub, Kept::new(query, decided));
    }

    /// One of the lists that stand.
    fn any(&self, random: &mut StdRng) -> Option<String> {
        let mut subs: Vec<&String> = self.kept.iter().filter(|(_, kept)| !kept.is_ending).map(|(sub, _)| sub).collect();
        subs.sort();
        subs.choose(random).map(|sub| (*sub).clone())
    }

    async fn reanchor(&mut self, random: &mut StdRng) {
        let Some(sub) = self.any(random) else { return };
        let mut query = self.kept[&sub].query.clone();
        if query["mode"] == "streamed" {
            return;
        }
        let rows = self.world.rows.lock().await.all();
        query.as_object_mut().unwrap().remove("cursor");
        let mut data = json!({ "sub": sub });
        if let Some(cursor) = self.world.plan.cursor(random, &rows, &query).filter(|_| random.random()) {
            (query["cursor"], data["cursor"]) = (cursor.clone(), cursor);
        }
        if random.random() {
            let limit = random.random_range(1..20);
            (query["limit"], data["limit"]) = (limit.into(), limit.into());
        }
        self.kept.get_mut(&sub).unwrap().is_moving = true;
        let decided = self.world.plan.decide(&self.who, &query).unwrap();
        let reply = self.call("live.reanchor", data).await;
        assert!(reply.get("error").is_none(), "{:?} {query} {reply}", self.who);
        // The new list begins after the reply.
        let kept = self.kept.get_mut(&sub).unwrap();
        (kept.query, kept.decided, kept.is_moving) = (query, decided, true);
    }

    async fn unsubscribe(&mut self, random: &mut StdRng) {
        let Some(sub) = self.any(random) else { return };
        self.call("live.unsubscribe", json!({ "sub": sub })).await;
        self.kept.remove(&sub);
    }

    /// Other rights, or another person altogether, which is refused.
    async fn refresh(&mut self, random: &mut StdRng) {
        if self.who.token.is_none() {
            return;
        }
        let is_other = random.random_bool(0.3);
        let other = if is_other { self.world.plan.person(random) } else { self.who.changed(random) };
        let Some(token) = other.token.clone() else { return };
        let is_another = (&other.user, &other.tenant) != (&self.who.user, &self.who.tenant);
        self.kept.values_mut().for_each(|kept| kept.is_moving = true);
        let before = std::mem::replace(&mut self.who, other);
        self.before = Some(before.clone());
        let reply = self.call("auth.refresh", json!({ "token": token })).await;
        self.before = None;
        if is_another {
            assert_eq!(reply["error"]["code"], "other_user", "{reply}");
            self.who = before;
            self.kept.values_mut().for_each(|kept| kept.is_moving = false);
            return;
        }
        assert!(reply.get("error").is_none(), "{reply}");
        // From here on nothing comes that only the old rights showed.
        for kept in self.kept.values_mut().filter(|kept| !kept.is_ending) {
            match self.world.plan.decide(&self.who, &kept.query) {
                // It does not begin anew where it stays the same.
                Some(decided) => (kept.is_moving, kept.decided) = (decided != kept.decided, decided),
                None => kept.is_ending = true,
            }
        }
    }

    async fn babble(&mut self, random: &mut StdRng) {
        let other = TENANTS.choose(random).unwrap();
        let said = [
            json!({ "event": "live.subscribe", "data": { "sub": "x", "query": { "entity": "thing0" }, "tenant": other } }),
            json!({ "event": "live.reanchor", "data": { "sub": "nobody's" } }),
            json!({ "event": "tenant.become", "data": other, "id": 0 }),
            json!({ "event": "auth", "data": { "token": "x.y.z" }, "id": 0 }),
            json!([other]),
        ];
        self.socket.say(said.choose(random).unwrap()).await;
        // Whether it was there or not, nothing is held that is not looked at.
        self.call("live.unsubscribe", json!({ "sub": "x" })).await;
    }

    async fn settle(&mut self) {
        let mut last = self.world.last.subscribe();
        loop {
            let mut is_final = true;
            for kept in self.kept.values() {
                is_final &= kept.is_final(&self.world).await;
            }
            if last.borrow_and_update().is_some() && is_final {
                return;
            }
            tokio::select! {
                _ = self.next() => {}
                _ = last.changed() => {}
            }
        }
    }

    fn state(&self) -> String {
        let lists: Vec<String> = self.kept.values().map(|kept| format!("{} {:?}", kept.query, kept.list)).collect();
        format!("{:?}\n{}\n{}", self.who, lists.join("\n"), self.world.plan.toml())
    }
}

pub(crate) async fn events(world: Arc<World>, mut random: StdRng) {
    let who = world.plan.person(&mut random);
    let at_once = random.random::<bool>();
    let socket = Socket::open(&world, "/ws", who.token.as_deref().filter(|_| at_once)).await;
    let mut events = Events { world: world.clone(), socket, who, before: None, kept: HashMap::new(), calls: 0 };
    if let Some(token) = events.who.token.clone().filter(|_| !at_once) {
        let reply = events.call("auth", json!({ "token": token })).await;
        assert!(reply.get("error").is_none(), "{reply}");
    }
    for _ in 0..STEPS {
        match random.random_range(0..10) {
            0..=3 => events.subscribe(&mut random).await,
            4 | 5 => events.reanchor(&mut random).await,
            6 => events.unsubscribe(&mut random).await,
            7 | 8 => events.refresh(&mut random).await,
            _ => events.babble(&mut random).await,
        }
        // Something that was written meanwhile.
        let _ = tokio::time::timeout(Duration::from_millis(5), events.next()).await;
    }
    world.busy.fetch_sub(1, Ordering::SeqCst);
    let settled = tokio::time::timeout(Duration::from_secs(60), Box::pin(events.settle())).await;
    if settled.is_err() {
        for kept in events.kept.values() {
            eprintln!("{:?}", kept.wrong(&world).await);
        }
        panic!("no list of the end: {}", events.state());
    }
}
