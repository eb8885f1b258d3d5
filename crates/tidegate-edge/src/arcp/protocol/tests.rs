//! The protocol through its seam, between a session and a runtime that only takes notes.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use serde_json::Value as Json;
use tidegate_identity::{Answer, Proof, Shown, WriteScope};
use tidegate_jobs::{AgentRef, Inventory, SessionId, TraceId};
use tidegate_live::{ClientId, Config, Live, Parcel, Sink};
use tidegate_model::{Entity, Position, Query, RowSource, ScanReply, ScanRequest, Tenant};
use tidegate_session::Room;
use tidegate_session::runtime::{Reply, Welcome};
use tidegate_topics::{Hub, Limits, Namespaces, Topics};

use super::*;
use crate::format::Format;

/// No rows, nobody who wants any, and a door that lets submit to `echo`.
struct Nothing;

impl RowSource for Nothing {
    fn scan(&self, _: ScanRequest, _: ScanReply) {}
}

impl Sink for Nothing {
    fn deliver(&self, _: Vec<Parcel>) {}
}

impl Authority for Nothing {
    fn authenticate(&self, _: &Shown<'_>) -> Answer<Arc<Principal>> {
        Answer::Now(Err(Refusal::unauthenticated("nobody")))
    }

    fn check(&self, _: &Arc<Principal>, _: Proof<'_>) -> Answer<()> {
        Answer::Now(Ok(()))
    }

    fn read(&self, _: &Principal, _: Query) -> Result<(Tenant, Query), Refusal> {
        Err(Refusal::forbidden("no"))
    }

    fn write(&self, _: &Principal, _: &Entity) -> Result<WriteScope, Refusal> {
        Err(Refusal::forbidden("no"))
    }

    fn agent(&self, _: &Principal, verb: AgentVerb, agent: &str) -> Result<(), Refusal> {
        let is_granted = verb == AgentVerb::Submit && agent == "echo";
        is_granted.then_some(()).ok_or_else(|| Refusal::forbidden("no"))
    }
}

/// Takes notes.
#[derive(Default)]
struct Notes {
    wants: RefCell<Vec<Wants>>,
    gone: Cell<usize>,
    is_busy: Cell<bool>,
}

impl Desk for Rc<Notes> {
    fn send(&self, command: Command) -> Result<(), Busy> {
        assert_eq!(command.from, Link { port: 5, client: ClientId(3) });
        if self.is_busy.get() {
            return Err(Busy);
        }
        self.wants.borrow_mut().push(command.wants);
        Ok(())
    }

    fn gone(&self, link: Link) {
        assert_eq!(link, Link { port: 5, client: ClientId(3) });
        self.gone.set(self.gone.get() + 1);
    }
}

/// 2026-05-13T23:42:00Z
const NOW: u64 = 1_778_715_720_000;
const HELLO: &str = "01ARZ3NDEKTSV4RRFFQ69G5FAV";

struct Client {
    session: Session,
    arcp: Arcp<Rc<Notes>>,
    notes: Rc<Notes>,
    now: Instant,
}

impl Client {
    fn new() -> Self {
        let rows: Arc<dyn RowSource> = Arc::new(Nothing);
        let live = Live::start(&Config { workers: 1, ..Config::default() }, 1, Position(0), &rows, Box::new(|_| {}));
        let topics = Topics::in_memory(Namespaces::new(Vec::new()), Limits::default(), "_", Arc::new(|| NOW)).unwrap();
        let passing = topics.relay.port(|| {});
        let room = Room {
            live: live.unwrap(),
            hub: Rc::new(Hub::new(topics.relay.clone(), passing)),
            broker: topics.broker.clone(),
            sink: Arc::new(Nothing),
            encode: crate::frames::encode,
            limits: tidegate_session::Limits::default(),
            metrics: Arc::default(),
        };
        let (notes, now) = (Rc::<Notes>::default(), Instant::now());
        let place = Place {
            desk: notes.clone(),
            port: 5,
            authority: Arc::new(Nothing),
            metrics: Arc::default(),
            settings: Arc::default(),
            errors_per_second: 5,
            clock: || NOW,
            random: || 7,
        };
        let session = Session::new(Rc::new(room), ClientId(3), 1);
        Self { session, arcp: Arcp::new(place, None, now), notes, now }
    }

    /// One with a session, and the features that are named.
    fn open(features: &str) -> Self {
        let mut client = Self::new();
        client.hello(&format!(r#"{{"auth":{{"token":"t"}},"capabilities":{{"features":[{features}]}}}}"#)).unwrap();
        client.settle(Ok("ann")).unwrap();
        let (messages, closed) = client.hear(Reply::Welcome(welcome(0, 0).into()));
        assert_eq!((messages.len(), closed), (1, None));
        client.notes.wants.take();
        client
    }

    fn text(&mut self, text: &str) -> Result<(), CloseReason> {
        self.arcp.text(&mut self.session, text, self.now)
    }

    fn hello(&mut self, payload: &str) -> Result<(), CloseReason> {
        self.text(&format!(r#"{{"arcp":"1.1","id":"{HELLO}","type":"session.hello","payload":{payload}}}"#))
    }

    /// A message of its session.
    fn say(&mut self, kind: &str, payload: &str) {
        let session = SessionId::new(NOW, 1);
        let text = format!(r#"{{"arcp":"1.1","id":"m","type":"{kind}","session_id":"{session}","payload":{payload}}}"#);
        self.text(&text).unwrap();
    }

    fn settle(&mut self, user: Result<&str, Refusal>) -> Result<bool, CloseReason> {
        assert!(self.arcp.ask().is_some());
        match user {
            Ok(user) => {
                let principal = Principal { user: user.into(), ..Principal::new(PrincipalKind::User) };
                self.arcp.settled(&mut self.session, Ok(&Arc::new(principal)))
            }
            Err(refusal) => self.arcp.settled(&mut self.session, Err(refusal)),
        }
    }

    /// What the client is sent, and why its connection closes.
    fn read(&mut self) -> (Vec<Json>, Option<CloseReason>) {
        let (mut items, mut out) = (Vec::new(), Out::default());
        out.begin_body(Format::Lines);
        assert_eq!(self.session.drain(usize::MAX, &mut items), None);
        let closed = items.into_iter().try_for_each(|item| self.arcp.item(item, &mut out)).err();
        self.arcp.written(&mut self.session);
        let body = String::from_utf8(out.body().to_vec()).unwrap();
        (body.lines().map(|line| serde_json::from_str(line).unwrap()).collect(), closed)
    }

    fn hear(&mut self, reply: Reply) -> (Vec<Json>, Option<CloseReason>) {
        self.session.hear(reply);
        self.read()
    }

    /// The error that it is sent, as its code and the request that it answers.
    fn error(&mut self) -> (String, Json) {
        let (messages, _) = self.read();
        let [error] = &messages[..] else { panic!("{messages:?}") };
        assert_eq!(error["type"], "session.error");
        assert!(error["session_id"].as_str().unwrap().starts_with("sess_"));
        (error["payload"]["code"].as_str().unwrap().to_owned(), error["payload"]["request_id"].clone())
    }

    fn wants(&self) -> Vec<Wants> {
        self.notes.wants.take()
    }
}

fn welcome(after: u64, head: u64) -> Welcome {
    let mut inventory = Inventory::default();
    for name in ["echo", "hidden"] {
        inventory.offer(&AgentRef { name: name.into(), version: "1".into() }, true);
    }
    Welcome {
        session: SessionId::new(NOW, 1),
        token: "rt_1".into(),
        resumed: false,
        after,
        head,
        window_sec: 600,
        inventory: inventory.into(),
        provisions: false,
        at_ms: NOW,
    }
}

#[test]
fn a_hello_is_answered_with_what_both_agreed_to() {
    let mut client = Client::new();
    assert_eq!(client.arcp.missing(), Some(CloseReason::FirstMessage));
    let features = r#"["heartbeat","ack","provisioned_credentials","other"]"#;
    client.hello(&format!(r#"{{"auth":{{"token":"t"}},"capabilities":{{"features":{features}}}}}"#)).unwrap();
    assert!(client.wants().is_empty(), "before it is known who that is");
    assert_eq!(client.settle(Ok("ann")), Ok(true));
    assert_eq!(client.arcp.missing(), None);
    let [Wants::Session(opening)] = &client.wants()[..] else { panic!() };
    assert_eq!((&*opening.owner.name, opening.acks, opening.resume.is_none()), ("user:ann", true, true));
    assert!(opening.rights.may_submit("echo") && !opening.rights.may_observe("echo"));
    let (messages, closed) = client.hear(Reply::Welcome(welcome(0, 0).into()));
    let payload = &messages[0]["payload"];
    assert_eq!((&messages[0]["type"], closed), (&Json::from("session.welcome"), None));
    assert_eq!(payload["capabilities"]["features"], serde_json::json!(["heartbeat", "ack"]));
    assert_eq!(payload["capabilities"]["agents"].as_array().unwrap().len(), 1);
    assert_eq!(payload["heartbeat_interval_sec"], 30);
    assert_eq!((client.arcp.writer.dialect, client.notes.gone.get()), (Dialect::Python, 0));
    let notes = client.notes.clone();
    drop(client);
    assert_eq!(notes.gone.get(), 1);
}

#[test]
fn before_the_welcome_only_a_hello_counts() {
    for text in ["nonsense", r#"{"arcp":"1.1","id":"m","type":"session.ping"}"#, r#"{"arcp":"1.0","id":"m"}"#] {
        let mut client = Client::new();
        assert_eq!(client.text(text), Err(CloseReason::FirstMessage));
        assert_eq!(client.error().0, "INVALID_REQUEST");
        assert_eq!(client.notes.gone.get(), 0);
    }
    let mut client = Client::new();
    client.hello("{}").unwrap();
    client.settle(Ok("ann")).unwrap();
    assert_eq!(client.hello("{}"), Err(CloseReason::FirstMessage));
    assert_eq!(client.error(), ("INVALID_REQUEST".into(), HELLO.into()));
}

#[test]
fn who_is_not_let_in_is_told_so_and_closed() {
    for (refusal, code, reason) in [
        (Refusal::unauthenticated("no"), "UNAUTHENTICATED", CloseReason::Unauthenticated),
        (Refusal::forbidden("no"), "PERMISSION_DENIED", CloseReason::Refused),
        (Refusal::unavailable("later"), "INTERNAL_ERROR", CloseReason::Overloaded),
    ] {
        let mut client = Client::new();
        client.hello(r#"{"auth":{"token":"bad"}}"#).unwrap();
        assert_eq!(client.settle(Err(refusal)), Err(reason));
        assert_eq!(client.error(), (code.into(), HELLO.into()));
    }
    let mut client = Client::new();
    client.notes.is_busy.set(true);
    client.hello("{}").unwrap();
    assert_eq!(client.settle(Ok("ann")), Err(CloseReason::Overloaded));
    assert_eq!(client.error().0, "INTERNAL_ERROR");
    let mut client = Client::new();
    client.hello("{}").unwrap();
    client.settle(Ok("ann")).unwrap();
    let fault = Fault::new(Code::ResumeWindowExpired, "gone");
    let (messages, closed) = client.hear(Reply::Refused(fault));
    assert_eq!(
        (&messages[0]["payload"]["code"], closed),
        (&"RESUME_WINDOW_EXPIRED".into(), Some(CloseReason::Refused))
    );
}

#[test]
fn what_a_client_wants_is_passed_on_and_it_is_heard_once() {
    let mut client = Client::open(r#""list_jobs","ack","heartbeat""#);
    client.say("session.ping", r#"{"nonce":"p1"}"#);
    assert_eq!(client.read().0[0]["payload"]["ping_nonce"], "p1");
    client.say("job.submit", r#"{"agent":"echo"}"#);
    client.say("session.list_jobs", "{}");
    client.say("session.ack", r#"{"last_processed_seq":4}"#);
    client.say("session.bye", "{}");
    let wants = client.wants();
    let [
        Wants::Heard,
        Wants::Request(id, Request::Submit(_)),
        Wants::Request(_, Request::List(_)),
        Wants::Ack { seq: 4, .. },
        Wants::Request(_, Request::Close),
    ] = &wants[..]
    else {
        panic!("{wants:?}")
    };
    assert_eq!(&**id, "m");
    let (messages, closed) = client.hear(Reply::Closed);
    assert_eq!((&messages[0]["type"], closed), (&"session.closed".into(), Some(CloseReason::Normal)));
}

#[test]
fn a_bad_message_costs_an_answer_and_no_more_than_so_many_a_second() {
    let mut client = Client::open(r#""heartbeat""#);
    client.text("{").unwrap();
    assert_eq!(client.error(), ("INVALID_REQUEST".into(), Json::Null));
    for (kind, payload) in [("session.list_jobs", "{}"), ("session.ping", "{}"), ("job.subscribe", "{}")] {
        client.say(kind, payload);
        assert_eq!(client.error(), ("INVALID_REQUEST".into(), "m".into()), "{kind}");
    }
    client.text(r#"{"arcp":"1.1","id":"m","type":"job.cancel"}"#).unwrap();
    assert_eq!(client.error(), ("INVALID_REQUEST".into(), "m".into()));
    client.text("{").unwrap();
    assert_eq!(client.read().0.len(), 0);
    client.say("session.ping", r#"{"nonce":"p1"}"#);
    assert_eq!(client.read().0.len(), 1, "the session lives on");
    assert_eq!(client.arcp.place.metrics.malformed.load(std::sync::atomic::Ordering::Relaxed), 6);
}

#[test]
fn a_submit_that_means_nothing_is_refused_in_its_turn() {
    let mut client = Client::open("");
    let trace: TraceId = "4bf92f3577b34da6a3ce929d0e0e4736".parse().unwrap();
    let text = format!(
        r#"{{"arcp":"1.1","id":"m","type":"job.submit","session_id":"{}","trace_id":"{trace}","payload":{{"agent":"echo@1"}}}}"#,
        SessionId::new(NOW, 1)
    );
    client.text(&text).unwrap();
    assert_eq!(client.read().0.len(), 0);
    let wants = client.wants();
    let [Wants::Heard, Wants::Request(_, Request::Reject { fault, trace: Some(shown) })] = &wants[..] else {
        panic!("{wants:?}")
    };
    assert_eq!((fault.code, *shown), (Code::InvalidRequest, trace));
    client.notes.is_busy.set(true);
    client.say("job.submit", r#"{"agent":"echo"}"#);
    let (messages, _) = client.read();
    assert_eq!(messages.iter().map(|m| &m["type"]).collect::<Vec<_>>(), ["job.error", "session.error"]);
    assert_eq!(messages[1]["payload"]["retryable"], true);
}

#[test]
fn a_silent_client_is_asked_and_then_given_up() {
    let mut client = Client::open(r#""heartbeat""#);
    let due = client.arcp.due().unwrap();
    client.arcp.tick(&mut client.session, due).unwrap();
    let (messages, _) = client.read();
    assert_eq!(messages[0]["type"], "session.ping");
    client.arcp.tick(&mut client.session, due).unwrap();
    assert!(client.read().0.is_empty());
    let lost = due + Duration::from_secs(30);
    assert_eq!(client.arcp.tick(&mut client.session, lost), Err(CloseReason::IdleTimeout));
    assert_eq!(client.error().0, "HEARTBEAT_LOST");
    assert_eq!(Client::open("").arcp.due(), None);
}

#[test]
fn events_that_are_behind_are_asked_for_until_they_can_be() {
    let mut client = Client::new();
    client.hello(r#"{"resume_token":"rt_0","last_event_seq":4}"#).unwrap();
    client.settle(Ok("ann")).unwrap();
    client.wants();
    client.notes.is_busy.set(true);
    assert_eq!(client.hear(Reply::Welcome(welcome(4, 9).into())).0.len(), 1);
    assert!(client.wants().is_empty());
    let due = client.arcp.due().unwrap();
    client.notes.is_busy.set(false);
    client.arcp.tick(&mut client.session, due).unwrap();
    let [Wants::Events { after: 4 }] = client.wants()[..] else { panic!() };
    assert_eq!(client.arcp.due(), None);
    assert_eq!(client.hear(Reply::Fenced), (Vec::new(), Some(CloseReason::Fenced)));
}
