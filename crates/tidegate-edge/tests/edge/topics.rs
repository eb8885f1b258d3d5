//! `topic.*` over `/ws`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use serde_json::{Value as Json, json};
use tidegate_edge::{ApiError, Application, EdgeConfig, Order, Peer, Permit, To};
use tidegate_identity::Refusal;
use tidegate_model::{Answer, Later, Tenant};
use tidegate_session::{CloseReason, Session, Wish};
use tidegate_topics::{Data, Outlet as _, Publish, Topic};
use tokio::sync::watch;

use crate::gateway::{Client, Gateway};
use crate::slow::narrow_ws;

/// A client that tells replies from what is pushed.
pub(crate) struct Person {
    pub(crate) client: Client,
    pushed: VecDeque<Json>,
    last_id: u64,
}

impl Person {
    pub(crate) fn new(client: Client) -> Self {
        Self { client, pushed: VecDeque::new(), last_id: 0 }
    }

    pub(crate) async fn of(gateway: &Gateway, token: &str) -> Self {
        let authorization = format!("Bearer {token}");
        Self::new(gateway.ws_with("/ws", &[("authorization", &authorization)]).await.unwrap())
    }

    /// Sends with an `id`, which is returned.
    pub(crate) async fn send(&mut self, event: &str, data: &Json) -> u64 {
        self.last_id += 1;
        self.client.send(&json!({"event": event, "id": self.last_id, "data": data}).to_string()).await;
        self.last_id
    }

    /// The whole reply; what is pushed before it is kept.
    pub(crate) async fn reply(&mut self, id: u64) -> Json {
        loop {
            let message = self.client.json().await;
            if message["event"] == "reply" {
                assert_eq!(message["id"], id, "{message}");
                return message;
            }
            self.pushed.push_back(message);
        }
    }

    /// The data of the reply.
    pub(crate) async fn ask(&mut self, event: &str, data: Json) -> Json {
        let id = self.send(event, &data).await;
        let mut reply = self.reply(id).await;
        assert!(reply.get("error").is_none(), "{event} {data}: {reply}");
        reply["data"].take()
    }

    /// The code of the error.
    pub(crate) async fn refused(&mut self, event: &str, data: Json) -> String {
        let id = self.send(event, &data).await;
        let reply = self.reply(id).await;
        let error = reply["error"].as_object().unwrap_or_else(|| panic!("{event} {data}: {reply}"));
        assert!(error["message"].is_string() && error["retryable"].is_boolean(), "{reply}");
        error["code"].as_str().unwrap().to_owned()
    }

    /// What is pushed next: event and data.
    pub(crate) async fn pushed(&mut self) -> (String, Json) {
        let mut message = match self.pushed.pop_front() {
            Some(message) => message,
            None => self.client.json().await,
        };
        let data = message["data"].take();
        (message["event"].as_str().unwrap().to_owned(), data)
    }

    /// The data of the message that is pushed next.
    pub(crate) async fn message(&mut self) -> Json {
        let (event, data) = self.pushed().await;
        assert_eq!(event, "topic.message", "{data}");
        data
    }

    pub(crate) async fn name(&mut self, token: &str) -> String {
        self.ask("auth", json!({"token": token})).await["client_id"].as_str().unwrap().to_owned()
    }

    /// Nothing has been pushed: everything that was comes before the reply.
    async fn heard_nothing(&mut self, topic: &str) {
        self.ask("topic.publish", json!({"topic": topic, "data": 0})).await;
        assert_eq!(self.pushed, [] as [Json; 0]);
    }
}

#[tokio::test]
async fn who_subscribes_is_told_everything_in_order_and_nobody_else() {
    let gateway = Gateway::start(EdgeConfig::default()).await;
    let (mut ann, mut bob) = (Person::of(&gateway, "ann////").await, Person::of(&gateway, "bob////").await);
    let name = ann.name("ann////").await;
    let joined = bob.ask("topic.subscribe", json!({"topic": "short:a"})).await;
    assert_eq!((&joined["offset"], &joined["messages"], joined.get("recovered")), (&json!(0), &json!([]), None));
    for round in 1..=100 {
        let publish = json!({"topic": "short:a", "data": {"round": round}, "tags": {"b": "2", "a": "1"}});
        let at = ann.ask("topic.publish", publish).await;
        assert_eq!(at, json!({"epoch": joined["epoch"], "offset": round}));
    }
    for round in 1..=100 {
        let told = json!({
            "topic": "short:a", "data": {"round": round}, "offset": round, "client_id": name, "tags": {"a": "1", "b": "2"},
        });
        assert_eq!(bob.message().await, told);
    }
    assert_eq!(bob.ask("topic.unsubscribe", json!({"topic": "short:a"})).await, json!({}));
    assert_eq!(bob.refused("topic.unsubscribe", json!({"topic": "short:a"})).await, "unknown_subscription");
    ann.ask("topic.publish", json!({"topic": "short:a", "data": "missed"})).await;
    bob.heard_nothing("short:a").await;
    ann.heard_nothing("short:a").await;
    // Bytes that are no JSON come as such.
    bob.ask("topic.subscribe", json!({"topic": "x"})).await;
    let topics = gateway.edge.topics();
    let topic = topics.namespaces.topic(Tenant::common(), "x").unwrap();
    topics.broker.publish(Publish::new(topic, Data::Binary(Bytes::from_static(&[0xff, 0])))).wait().await.unwrap();
    assert_eq!(bob.message().await, json!({"topic": "x", "data": "/wA=", "encoding": "base64"}));
}

#[tokio::test]
async fn a_client_that_comes_back_recovers_all_or_nothing() {
    let gateway = Gateway::start(EdgeConfig::default()).await;
    let mut ann = Person::of(&gateway, "ann////").await;
    for topic in ["chat:a", "short:a"] {
        let mut bob = Person::of(&gateway, "bob////").await;
        let joined = bob.ask("topic.subscribe", json!({"topic": topic})).await;
        let epoch = joined["epoch"].as_str().unwrap().to_owned();
        ann.ask("topic.publish", json!({"topic": topic, "data": 1})).await;
        while bob.pushed().await.0 != "topic.message" {}
        drop(bob);
        for data in 2..=4 {
            ann.ask("topic.publish", json!({"topic": topic, "data": data})).await;
        }
        for (since, recovered) in [
            (json!({"epoch": epoch, "offset": 1}), topic == "chat:a"),
            (json!({"epoch": epoch, "offset": 2}), true),
            (json!({"epoch": epoch, "offset": 4}), true),
            (json!({"epoch": epoch, "offset": 5}), false),
            (json!({"epoch": "other", "offset": 3}), false),
        ] {
            let mut back = Person::of(&gateway, "bob////").await;
            let joined = back.ask("topic.subscribe", json!({"topic": topic, "since": since})).await;
            assert_eq!((&joined["recovered"], &joined["offset"]), (&json!(recovered), &json!(4)), "{since}");
            let messages = joined["messages"].as_array().unwrap();
            let missed: Vec<_> = messages.iter().map(|message| message["offset"].as_u64().unwrap()).collect();
            let first = since["offset"].as_u64().unwrap() + 1;
            assert_eq!(missed, if recovered { (first..=4).collect() } else { Vec::new() }, "{since}");
            for message in messages {
                assert_eq!(message["data"], message["offset"]);
                assert!(
                    message["time_ms"].is_u64() && message["client_id"].is_string() && message.get("topic").is_none()
                );
            }
        }
    }
    // A subscription that goes on after the recovery misses nothing and repeats nothing.
    let mut back = Person::of(&gateway, "bob////").await;
    let joined = back.ask("topic.subscribe", json!({"topic": "short:a", "since": {"epoch": "", "offset": 0}})).await;
    assert_eq!(joined["recovered"], false);
    ann.ask("topic.publish", json!({"topic": "short:a", "data": 5})).await;
    assert_eq!(back.message().await["offset"], 5);
    // What ends a subscription, and that it is over.
    let topics = gateway.edge.topics();
    let topic = topics.namespaces.topic(Tenant::common(), "short:a").unwrap();
    topics.broker.forget(&topic).wait().await.unwrap();
    let (event, error) = back.pushed().await;
    assert_eq!((&*event, &error["topic"]), ("topic.error", &json!("short:a")));
    assert_eq!((&error["code"], &error["retryable"]), (&json!("insufficient_state"), &json!(true)));
    let since = json!({"epoch": joined["epoch"], "offset": 5});
    let joined = back.ask("topic.subscribe", json!({"topic": "short:a", "since": since})).await;
    assert_eq!((&joined["recovered"], &joined["offset"]), (&json!(false), &json!(0)));
}

#[tokio::test]
async fn who_is_present_is_told_and_listed() {
    let gateway = Gateway::start(EdgeConfig::default()).await;
    let (mut ann, mut bob) = (Person::of(&gateway, "ann////").await, Person::of(&gateway, "bob////").await);
    let (ann_name, bob_name) = (ann.name("ann////").await, bob.name("bob////").await);
    let (ann_is, bob_is) =
        (json!({"client_id": ann_name, "user": "ann"}), json!({"client_id": bob_name, "user": "bob"}));
    let subscribe = json!({"topic": "chat:a"});
    let with_topic = |who: &Json| {
        let mut told = who.clone();
        told["topic"] = json!("chat:a");
        told
    };
    ann.ask("topic.subscribe", subscribe.clone()).await;
    assert_eq!(ann.pushed().await, ("topic.join".to_owned(), with_topic(&ann_is)));
    bob.ask("topic.subscribe", subscribe.clone()).await;
    assert_eq!(ann.pushed().await, ("topic.join".to_owned(), with_topic(&bob_is)));
    let all = ann.ask("topic.presence", subscribe.clone()).await;
    let mut members = vec![ann_is.clone(), bob_is.clone()];
    members.sort_by_key(|member| member["client_id"].to_string());
    assert_eq!((&all["clients"], &all["users"], &all["members"]), (&json!(2), &json!(2), &json!(members)));
    let first = ann.ask("topic.presence", json!({"topic": "chat:a", "limit": 1})).await;
    assert_eq!((&first["members"], &first["next"]), (&json!([members[0]]), &members[0]["client_id"]));
    let second = ann.ask("topic.presence", json!({"topic": "chat:a", "limit": 1, "after": first["next"]})).await;
    assert_eq!((&second["members"], second.get("next")), (&json!([members[1]]), None));
    let counts = ann.ask("topic.presence", json!({"topic": "chat:a", "limit": 0})).await;
    assert_eq!((&counts["clients"], &counts["members"]), (&json!(2), &json!([])));
    drop(bob);
    assert_eq!(ann.pushed().await, ("topic.leave".to_owned(), with_topic(&bob_is)));
    let changes = ann.ask("topic.presence", json!({"topic": "chat:a", "since": all["version"]})).await;
    assert_eq!((&changes["joined"], &changes["left"]), (&json!([]), &json!([bob_name])));
    assert_eq!(ann.refused("topic.presence", json!({"topic": "x"})).await, "not_available");
}

#[tokio::test]
async fn histories_and_values_are_read_in_pages() {
    let gateway = Gateway::start(EdgeConfig::default()).await;
    let mut ann = Person::of(&gateway, "ann////").await;
    let topic = "values:a";
    for (key, data) in [("b", 1), ("a", 2), ("c", 3), ("b", 4)] {
        ann.ask("topic.publish", json!({"topic": topic, "key": key, "data": data})).await;
    }
    ann.ask("topic.publish", json!({"topic": topic, "key": "c", "removed": true, "data": null})).await;
    let again = json!({"topic": topic, "key": "d", "data": 6, "idempotency_key": "once"});
    let first = ann.ask("topic.publish", again.clone()).await;
    assert_eq!(ann.ask("topic.publish", again).await, first);
    assert_eq!(first["offset"], 6);
    let offsets = |page: &Json| {
        let messages = page["messages"].as_array().unwrap().iter();
        messages.map(|message| message["offset"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    let page = ann.ask("topic.history", json!({"topic": topic})).await;
    assert_eq!((offsets(&page), &page["offset"]), ((1..=6).collect(), &json!(6)));
    assert_eq!((&page["messages"][4]["removed"], &page["messages"][4]["key"]), (&json!(true), &json!("c")));
    let since = json!({"epoch": page["epoch"], "offset": 3});
    let page = ann.ask("topic.history", json!({"topic": topic, "since": since, "limit": 2})).await;
    assert_eq!(offsets(&page), [4, 5]);
    let page = ann.ask("topic.history", json!({"topic": topic, "since": since, "reverse": true})).await;
    assert_eq!(offsets(&page), [2, 1]);
    assert_eq!(ann.ask("topic.history", json!({"topic": topic, "limit": 0})).await["messages"], json!([]));
    let foreign = json!({"topic": topic, "since": {"epoch": "x", "offset": 1}});
    assert_eq!(ann.refused("topic.history", foreign).await, "unrecoverable_position");
    let page = ann.ask("topic.values", json!({"topic": topic, "limit": 2})).await;
    assert_eq!((offsets(&page), &page["next"]), (vec![2, 4], &json!("b")));
    let page = ann.ask("topic.values", json!({"topic": topic, "after": "b"})).await;
    assert_eq!((offsets(&page), page.get("next")), (vec![6], None));
    // An answer that would not fit ends early, and so says where to go on.
    let wide = "x".repeat(60_000);
    for key in 10..30 {
        ann.ask("topic.publish", json!({"topic": "values:wide", "key": key.to_string(), "data": wide})).await;
    }
    let page = ann.ask("topic.history", json!({"topic": "values:wide"})).await;
    assert!((1..20).contains(&offsets(&page).len()), "{}", offsets(&page).len());
    let (mut after, mut seen) = (json!(null), Vec::new());
    loop {
        let page = ann.ask("topic.values", json!({"topic": "values:wide", "after": after})).await;
        seen.extend(offsets(&page));
        after = page["next"].clone();
        if after.is_null() {
            break;
        }
    }
    assert_eq!(seen, (1..=20).collect::<Vec<_>>());
    // A recovery that does not fit is none.
    let since = json!({"epoch": page["epoch"], "offset": 0});
    let joined = ann.ask("topic.subscribe", json!({"topic": "values:wide", "since": since})).await;
    assert_eq!(joined["recovered"], false);
}

#[tokio::test]
async fn bad_input_is_answered_by_code_and_the_connection_stays() {
    let config = EdgeConfig { max_subscriptions: 2, max_message_bytes: 1 << 20, ..EdgeConfig::default() };
    let gateway = Gateway::start(config).await;
    let mut ann = Person::of(&gateway, "ann////").await;
    let events = ["subscribe", "unsubscribe", "publish", "presence", "history", "values"];
    let mut events: Vec<_> = events.iter().map(|event| format!("topic.{event}")).collect();
    events.extend(["set", "clear", "list"].map(|event| format!("ephemeral.{event}")));
    let rest = json!({"data": 1, "key": "k", "payload": ""});
    for event in &events {
        for (topic, code) in [
            (json!(null), "malformed"),
            (json!(7), "malformed"),
            (json!({}), "malformed"),
            (json!(""), "invalid_topic"),
            (json!("x".repeat(256)), "invalid_topic"),
            (json!("a\r\nb"), "invalid_topic"),
            (json!("$room"), "invalid_topic"),
            (json!("closed:a"), "forbidden"),
        ] {
            if (code, &**event) == ("forbidden", "topic.unsubscribe") {
                continue;
            }
            let mut data = rest.clone();
            data["topic"] = topic;
            assert_eq!(ann.refused(event, data).await, code, "{event}");
        }
        for data in [json!(null), json!([]), json!("x"), json!({})] {
            assert_eq!(ann.refused(event, data).await, "malformed", "{event}");
        }
    }
    ann.ask("topic.subscribe", json!({"topic": "a"})).await;
    for (event, data, code) in [
        ("topic.subscribe", json!({"topic": "a"}), "already_subscribed"),
        ("topic.publish", json!({"topic": "a", "data": "x".repeat(65_000)}), "ok"),
        ("topic.publish", json!({"topic": "a", "data": "x".repeat(66_000)}), "too_large"),
        ("topic.publish", json!({"topic": "a", "data": 1, "key": "k"}), "not_available"),
        ("topic.publish", json!({"topic": "values:a", "data": 1, "key": "k".repeat(256)}), "invalid_key"),
        ("topic.publish", json!({"topic": "a", "data": 1, "idempotency_key": "k".repeat(129)}), "invalid_key"),
        ("topic.history", json!({"topic": "a"}), "not_available"),
        ("topic.values", json!({"topic": "chat:a"}), "not_available"),
        ("topic.subscribe", json!({"topic": "b"}), "ok"),
        ("topic.subscribe", json!({"topic": "c"}), "too_many_subscriptions"),
        ("ephemeral.set", json!({"topic": "a", "key": "", "payload": ""}), "invalid_key"),
        ("ephemeral.set", json!({"topic": "a", "key": "k", "payload": "A".repeat(22_000)}), "too_large"),
        ("topic.publish", json!({"topic": "a"}), "malformed"),
    ] {
        match code {
            "ok" => drop(ann.ask(event, data).await),
            _ => assert_eq!(ann.refused(event, data.clone()).await, code, "{event} {data}"),
        }
    }
    // A subscribe that was refused has left nothing.
    assert_eq!(gateway.subscriptions(), 2);
    let strangers = Gateway::with(EdgeConfig::default(), false).await;
    let mut stranger = Person::new(strangers.ws("/ws").await);
    let id = stranger.send("topic.subscribe", &json!({"topic": "a"})).await;
    assert_eq!(stranger.reply(id).await["error"]["code"], "unauthenticated");
}

#[tokio::test]
async fn nothing_crosses_tenants() {
    let gateway = Gateway::start(EdgeConfig::default()).await;
    let mut people = Vec::new();
    for token in ["ann//acme//", "bob//acme//", "cid//umbrella//", "dan////"] {
        let mut person = Person::of(&gateway, token).await;
        person.ask("topic.subscribe", json!({"topic": "chat:a"})).await;
        people.push(person);
    }
    people[0].ask("topic.publish", json!({"topic": "chat:a", "data": "acme's"})).await;
    people[0].ask("ephemeral.set", json!({"topic": "chat:a", "key": "k", "payload": ""})).await;
    for (at, clients, entries) in [(1, 2, 1), (2, 1, 0), (3, 1, 0)] {
        let person = &mut people[at];
        assert_eq!(person.ask("topic.presence", json!({"topic": "chat:a"})).await["clients"], clients);
        let history = person.ask("topic.history", json!({"topic": "chat:a"})).await;
        assert_eq!(history["messages"].as_array().unwrap().len(), entries);
        let listed = person.ask("ephemeral.list", json!({"topic": "chat:a"})).await;
        assert_eq!(listed["entries"].as_array().unwrap().len(), entries);
        let said = |message: &&Json| message["event"] == "topic.message";
        assert_eq!(person.pushed.iter().filter(said).count(), entries * 2, "{:?}", person.pushed);
    }
}

#[tokio::test]
async fn a_refresh_ends_what_may_not_be_heard_any_more_and_nobody_takes_over() {
    let gateway = Gateway::start(EdgeConfig::default()).await;
    let mut ann = Person::of(&gateway, "ann////").await;
    ann.ask("topic.subscribe", json!({"topic": "a"})).await;
    ann.ask("auth.refresh", json!({"token": "ann////60000"})).await;
    assert_eq!(ann.refused("topic.subscribe", json!({"topic": "a"})).await, "already_subscribed");
    ann.ask("auth.refresh", json!({"token": "ann///blind/"})).await;
    let (event, error) = ann.pushed().await;
    assert_eq!((&*event, &error["topic"], &error["code"]), ("topic.error", &json!("a"), &json!("forbidden")));
    gateway.eventually("no subscription", |gateway| gateway.subscriptions() == 0).await;
    // A stranger's connection becomes somebody's only while nothing hangs on it.
    for (event, data) in [
        ("topic.subscribe", json!({"topic": "a"})),
        ("ephemeral.set", json!({"topic": "a", "key": "k", "payload": ""})),
    ] {
        let mut stranger = Person::new(gateway.ws("/ws").await);
        stranger.ask(event, data).await;
        assert_eq!(stranger.refused("auth", json!({"token": "good"})).await, "other_user");
    }
}

#[tokio::test]
async fn the_process_subscribes_clients_and_speaks_to_them() {
    let gateway = Gateway::start(EdgeConfig::default()).await;
    let mut ann = Person::of(&gateway, "ann////").await;
    let mut bob = Person::of(&gateway, "bob////").await;
    let to = To::Client(ann.name("ann////").await.into());
    let dispatch = |order| gateway.edge.dispatch(&to, &order).unwrap();
    bob.ask("topic.publish", json!({"topic": "short:a", "data": 1})).await;
    let data = Some(Bytes::from_static(b"{\"why\":1}"));
    dispatch(Order::Subscribe { topic: "short:a".into(), since: None, data });
    let (event, joined) = ann.pushed().await;
    assert_eq!((&*event, &joined["topic"], &joined["offset"]), ("topic.subscribed", &json!("short:a"), &json!(1)));
    assert_eq!((&joined["messages"], &joined["data"]), (&json!([]), &json!({"why": 1})));
    // It stays so, whatever the client itself may.
    dispatch(Order::Subscribe { topic: "short:a".into(), since: None, data: None });
    ann.ask("auth.refresh", json!({"token": "ann///blind/"})).await;
    bob.ask("topic.publish", json!({"topic": "short:a", "data": 2})).await;
    assert_eq!(ann.message().await["data"], 2);
    dispatch(Order::Unsubscribe { topic: "short:a".into() });
    assert_eq!(ann.pushed().await, ("topic.unsubscribed".to_owned(), json!({"topic": "short:a"})));
    dispatch(Order::Unsubscribe { topic: "short:a".into() });
    dispatch(Order::Emit(Bytes::from_static(b"{\"event\":\"order.ready\",\"data\":7}")));
    assert_eq!(ann.pushed().await, ("order.ready".to_owned(), json!(7)));
    dispatch(Order::Send(Data::Json(Bytes::from_static(b"[1]"))));
    assert_eq!(ann.pushed().await, ("message".to_owned(), json!([1])));
    // Without an `id` a subscribe is answered likewise.
    bob.client.send(r#"{"event":"topic.subscribe","data":{"topic":"short:a"}}"#).await;
    assert_eq!(bob.pushed().await.0, "topic.subscribed");
    dispatch(Order::Dismiss { code: None, reason: None });
    ann.client.close().await;
    gateway.eventually("it is dismissed", |gateway| gateway.closed(CloseReason::Dismissed) == 1).await;
}

/// Lets anybody into `asked:yes…` and nobody into `asked:no…`; answers only once it may.
struct Clerk(watch::Sender<bool>);

impl Clerk {
    fn answer<T: Clone + Send + Sync + 'static>(&self, name: &str, yes: T) -> Answer<T, ApiError> {
        let mut may = self.0.subscribe();
        let answer = match name.starts_with("asked:yes") {
            true => Ok(yes),
            false => Err(Refusal::forbidden("the application says no").into()),
        };
        Answer::Later(Box::pin(async move {
            may.wait_for(|may| *may).await.unwrap();
            answer
        }))
    }
}

impl Application for Clerk {
    fn event(&self, _: &Peer, _: &str, _: &str) -> Option<Later<Bytes, ApiError>> {
        None
    }

    fn may_subscribe(&self, peer: &Peer, topic: &Arc<Topic>) -> Answer<Permit, ApiError> {
        let data = format!("{{\"welcome\":\"{}\"}}", peer.principal().user);
        self.answer(&topic.name, Permit { chan_info: None, data: Some(data.into()) })
    }

    fn may_publish(&self, _: &Peer, topic: &Arc<Topic>, data: &Data) -> Answer<(), ApiError> {
        match &**data.bytes() {
            b"\"rude\"" => Answer::Now(Err(Refusal::forbidden("not so").into())),
            _ => self.answer(&topic.name, ()),
        }
    }
}

#[tokio::test]
async fn the_application_is_asked_and_commands_about_a_topic_keep_their_order() {
    let clerk = Arc::new(Clerk(watch::Sender::new(false)));
    let gateway = Gateway::asking(clerk.clone()).await;
    let mut ann = Person::of(&gateway, "ann////").await;
    let yes = json!({"topic": "asked:yes"});
    for event in ["topic.history", "topic.presence", "ephemeral.list"] {
        assert_eq!(ann.refused(event, yes.clone()).await, "not_subscribed", "{event}");
    }
    let subscribed = ann.send("topic.subscribe", &yes).await;
    let mut published = Vec::new();
    for data in [json!(1), json!("rude"), json!(2)] {
        published.push(ann.send("topic.publish", &json!({"topic": "asked:yes", "data": data})).await);
    }
    let unsubscribed = ann.send("topic.unsubscribe", &yes).await;
    // Those about other topics pass.
    let refused = ann.send("topic.subscribe", &json!({"topic": "asked:no"})).await;
    ann.client.send(r#"{"event":"topic.subscribe","id":"free","data":{"topic":"x"}}"#).await;
    assert_eq!(ann.client.json().await["id"], "free");
    clerk.0.send_replace(true);
    let (mut seen, mut heard) = (Vec::new(), Vec::new());
    while seen.len() < 6 {
        let message = ann.client.json().await;
        match message["id"].as_u64() {
            Some(id) => seen.push((id, message["error"]["code"].as_str().unwrap_or("ok").to_owned())),
            None => heard.push(message["data"]["data"].clone()),
        }
        if message["id"] == subscribed {
            assert_eq!(message["data"]["data"], json!({"welcome": "ann"}));
        }
    }
    seen.retain(|(id, code)| *id != refused || code != "forbidden");
    let expected = [(subscribed, "ok"), (published[0], "ok"), (published[1], "forbidden"), (published[2], "ok")];
    let expected = expected.into_iter().chain([(unsubscribed, "ok")]).map(|(id, code)| (id, code.to_owned()));
    assert_eq!(seen, expected.collect::<Vec<_>>());
    assert!([json!(1), json!(2)].starts_with(&heard), "{heard:?}");
    gateway.eventually("only the free one", |gateway| gateway.subscriptions() == 1).await;
}

#[tokio::test]
async fn who_may_no_longer_by_the_time_the_application_says_yes_may_not() {
    let clerk = Arc::new(Clerk(watch::Sender::new(false)));
    let gateway = Gateway::asking(clerk.clone()).await;
    let mut ann = Person::of(&gateway, "ann////").await;
    let subscribed = ann.send("topic.subscribe", &json!({"topic": "asked:yes"})).await;
    let published = ann.send("topic.publish", &json!({"topic": "asked:yes", "data": 1})).await;
    ann.ask("auth.refresh", json!({"token": "ann///blind/"})).await;
    clerk.0.send_replace(true);
    for id in [subscribed, published] {
        assert_eq!(ann.reply(id).await["error"]["code"], "forbidden");
    }
    assert_eq!(gateway.subscriptions(), 0);
}

#[tokio::test]
async fn what_waits_is_bounded_and_without_an_application_the_answer_is_no() {
    let clerk = Arc::new(Clerk(watch::Sender::new(false)));
    let gateway = Gateway::asking(clerk.clone()).await;
    let mut ann = Person::of(&gateway, "ann////").await;
    let topic = |number: u64| json!({"topic": format!("asked:yes{number}"), "data": number});
    for number in 0..32 {
        ann.send("topic.subscribe", &topic(number)).await;
        ann.send("topic.publish", &topic(number)).await;
    }
    assert_eq!(ann.refused("topic.publish", topic(0)).await, "overloaded");
    assert_eq!(ann.refused("topic.subscribe", topic(99)).await, "overloaded");
    clerk.0.send_replace(true);
    let (mut replies, mut messages) = (0, 0);
    while (replies, messages) != (64, 32) {
        let message = ann.client.json().await;
        assert_eq!(message.get("error"), None, "{message}");
        match message["event"] == "reply" {
            true => replies += 1,
            false => messages += 1,
        }
    }
    drop(gateway);
    let gateway = Gateway::start(EdgeConfig::default()).await;
    let mut ann = Person::of(&gateway, "ann////").await;
    assert_eq!(ann.refused("topic.subscribe", json!({"topic": "asked:yes"})).await, "forbidden");
}

/// A publisher floods a topic whose one subscriber does not read; then that one does.
async fn flood(topic: &str) -> (Gateway, Person) {
    let config = EdgeConfig {
        outbox_bytes: 128 << 10,
        write_timeout: std::time::Duration::ZERO,
        messages_per_second: 1_000_000,
        bytes_per_second: 0,
        ..EdgeConfig::default()
    };
    let gateway = Gateway::start(config).await;
    let mut slow = Person::new(narrow_ws(&gateway, "/ws").await);
    slow.ask("topic.subscribe", json!({"topic": topic})).await;
    let mut fast = Person::of(&gateway, "ann////").await;
    fast.ask("topic.subscribe", json!({"topic": topic})).await;
    let wide = "x".repeat(16 << 10);
    for round in 0..800 {
        fast.ask("topic.publish", json!({"topic": topic, "data": [round, wide]})).await;
        assert_eq!(fast.message().await["data"][0], round, "who reads misses nothing");
    }
    (gateway, slow)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_subscriber_is_closed() {
    let (gateway, slow) = flood("a").await;
    gateway.eventually("it is closed", |gateway| gateway.closed(CloseReason::SlowClient) == 1).await;
    drop(slow);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_subscriber_misses_the_oldest_and_is_told_how_many() {
    let (_gateway, mut slow) = flood("oldest:a").await;
    let mut next = 0;
    let mut dropped = 0;
    while next < 800 {
        match slow.pushed().await {
            (event, data) if event == "topic.dropped" => {
                assert_eq!(data["topic"], "oldest:a");
                next += data["count"].as_u64().unwrap();
                dropped += 1;
            }
            (event, data) => {
                assert_eq!((&*event, &data["data"][0]), ("topic.message", &json!(next)), "no gap without a word");
                next += 1;
            }
        }
    }
    assert!(dropped > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_subscriber_of_the_latest_only_gets_that() {
    let (gateway, mut slow) = flood("latest:a").await;
    let (mut last, mut count) = (-1, 0);
    while last < 799 {
        let round = slow.message().await["data"][0].as_i64().unwrap();
        assert!(round > last);
        (last, count) = (round, count + 1);
    }
    assert!(count < 700, "most was replaced: {count}");
    assert!(gateway.edge.metrics().sessions.publications_dropped.load(Ordering::Relaxed) > 0);
}

/// Fails at every event; counts who came and who went.
#[derive(Default)]
struct Clumsy {
    came: AtomicUsize,
    went: AtomicUsize,
}

impl Application for Clumsy {
    fn event(&self, _: &Peer, _: &str, _: &str) -> Option<Later<Bytes, ApiError>> {
        panic!("as the test wants it")
    }

    fn may_subscribe(&self, _: &Peer, _: &Arc<Topic>) -> Answer<Permit, ApiError> {
        Answer::Now(Ok(Permit::default()))
    }

    fn may_publish(&self, _: &Peer, _: &Arc<Topic>, _: &Data) -> Answer<(), ApiError> {
        Answer::Now(Ok(()))
    }

    fn connected(&self, _: &Peer) {
        self.came.fetch_add(1, Ordering::Relaxed);
    }

    fn disconnected(&self, _: &Peer) {
        self.went.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn who_is_gone_after_a_panic_is_told_once() {
    let clumsy = Arc::new(Clumsy::default());
    let gateway = Gateway::asking(clumsy.clone()).await;
    let (mut ann, mut bob) = (Person::of(&gateway, "ann////").await, Person::of(&gateway, "bob////").await);
    ann.ask("topic.subscribe", json!({"topic": "a"})).await;
    bob.ask("topic.subscribe", json!({"topic": "a"})).await;
    ann.send("boom", &json!(1)).await;
    gateway.eventually("ann is gone", |_| clumsy.went.load(Ordering::Relaxed) > 0).await;
    bob.ask("topic.unsubscribe", json!({"topic": "a"})).await;
    drop(bob);
    gateway.eventually("bob is gone", |_| clumsy.went.load(Ordering::Relaxed) > 1).await;
    let counts = [&clumsy.came, &clumsy.went].map(|count| count.load(Ordering::Relaxed));
    assert_eq!(counts, [2, 2]);
}

#[tokio::test]
async fn who_could_miss_something_in_a_room_is_closed() {
    let gateway = Gateway::start(EdgeConfig::default()).await;
    let mut ann = Person::of(&gateway, "ann////").await;
    let name = ann.name("ann////").await;
    let room = Arc::new(Topic::reserved(Tenant::common(), "room:lobby", Arc::default()));
    let topic = room.clone();
    let join = move |session: &mut Session, _: &_| {
        let wish = Wish { topic, member: None, since: None, hears_joins: false };
        let (id, Answer::Now(Ok(joined))) = session.join(wish).unwrap() else { panic!("at once") };
        session.begin(id, &joined.at);
    };
    gateway.edge.visit(&name, join).await.unwrap().unwrap();
    gateway.edge.topics().relay.gap(&room);
    ann.client.close().await;
    gateway.eventually("it is closed", |gateway| gateway.closed(CloseReason::Overloaded) == 1).await;
}

#[tokio::test]
async fn a_burst_closes_nobody_who_reads() {
    let gateway = Gateway::start(EdgeConfig { outbox_frames: 300, ..EdgeConfig::default() }).await;
    let mut ann = Person::of(&gateway, "ann////").await;
    ann.ask("topic.subscribe", json!({"topic": "plain"})).await;
    let topics = gateway.edge.topics();
    let topic = topics.namespaces.topic(Tenant::common(), "plain").unwrap();
    // More than may wait for a client, before its worker has had a turn.
    for n in 0..5_000 {
        let publish = Publish::new(topic.clone(), Data::Json(n.to_string().into()));
        topics.broker.publish(publish).wait().await.unwrap();
    }
    for n in 0..5_000 {
        assert_eq!(ann.pushed().await.1["data"], n);
    }
}
