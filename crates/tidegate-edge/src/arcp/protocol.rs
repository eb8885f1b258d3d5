//! One client's side of the protocol: the handshake, heartbeats, and what the client wants passed on to the runtime.
//!
//! The first message is a hello. Who it comes from is found out, the runtime is asked for a session, and the welcome answers; until
//! then nothing else may come. After that a bad message costs an answer.

use std::sync::Arc;
use std::time::Duration;

use tidegate_identity::{AgentVerb, Authority, Principal, PrincipalKind, Refusal};
use tidegate_jobs::{Code, Fault, Owner, Rights};
use tidegate_session::runtime::{Command, Hello as Opening, Link, Request, Wants};
use tidegate_session::{CloseReason, Item, Session};
use tokio::time::Instant;

use super::Dialect;
use super::envelope::{Envelope, Kind, Malformed};
use super::features::Feature;
use super::hello::Hello;
use super::pulse::{Beat, Pulse};
use super::requests::{self, agreed};
use super::settings::ArcpSettings;
use super::write::{Writer, busy};
use crate::metrics::{EdgeMetrics, count};
use crate::out::Out;
use crate::passing::Ask;
use crate::protocol::Protocol;
use crate::rate::Bucket;

mod told;

#[cfg(test)]
mod tests;

/// Until events that could not be asked for are asked for again.
const AGAIN: Duration = Duration::from_millis(50);

/// Events, or their bytes, after which the runtime is told that the socket took them: often enough that an agent that waits for
/// them does not wait longer than it has to.
const TOLD_EVENTS: u64 = 256;
const TOLD_BYTES: u64 = 256 << 10;

/// The runtime has as many commands waiting as it takes.
pub(super) struct Busy;

/// Where connections say what they want.
pub(super) trait Desk {
    /// Has a wish looked after.
    fn send(&self, command: Command) -> Result<(), Busy>;

    /// A connection is gone.
    fn gone(&self, link: Link);
}

/// What all connections of a worker have in common.
pub(super) struct Place<D> {
    pub(super) desk: D,
    /// Over which the runtime reaches them.
    pub(super) port: u64,
    pub(super) authority: Arc<dyn Authority>,
    pub(super) metrics: Arc<EdgeMetrics>,
    pub(super) settings: Arc<ArcpSettings>,
    pub(super) errors_per_second: u32,
    /// Milliseconds since 1970.
    pub(super) clock: fn() -> u64,
    pub(super) random: fn() -> u128,
}

/// See the module.
pub(super) struct Arcp<D: Desk> {
    place: Place<D>,
    /// The dialect that the address asks for.
    asked: Option<Dialect>,
    stage: Stage,
    ask: Option<Ask>,
    writer: Writer,
    /// As the runtime knows the connection, once it does.
    link: Option<Link>,
    /// With heartbeats, once there is a session.
    pulse: Option<Pulse>,
    errors: Bucket,
    /// Whether something was written since that was last looked at.
    has_written: bool,
    /// Whether the runtime knows that the client has the welcome.
    is_heard: bool,
    /// When to ask again for events.
    again_at: Option<Instant>,
    /// Events that the socket took, and that the runtime has yet to be told of.
    took: Took,
}

/// Events that a socket took.
#[derive(Default)]
struct Took {
    seq: u64,
    events: u64,
    bytes: u64,
}

/// How far a client is.
enum Stage {
    /// It has not said anything.
    Fresh,
    /// Who it is is being found out.
    Asking(Box<(Arc<str>, Hello)>),
    /// The runtime is asked for its session.
    Opening(Arc<Granted>, Arc<str>),
    /// It has a session.
    Open,
}

/// What one may do with agents, as the authority says at the time.
struct Granted {
    authority: Arc<dyn Authority>,
    principal: Arc<Principal>,
}

impl Rights for Granted {
    fn may_submit(&self, agent: &str) -> bool {
        self.authority.agent(&self.principal, AgentVerb::Submit, agent).is_ok()
    }

    fn may_observe(&self, agent: &str) -> bool {
        self.authority.agent(&self.principal, AgentVerb::Observe, agent).is_ok()
    }
}

impl<D: Desk> Arcp<D> {
    pub(super) fn new(place: Place<D>, asked: Option<Dialect>, now: Instant) -> Self {
        let writer = Writer::new((place.clock)(), place.random);
        let errors = Bucket::new(place.errors_per_second, place.errors_per_second, now);
        Self {
            place,
            asked,
            stage: Stage::Fresh,
            ask: None,
            writer,
            link: None,
            pulse: None,
            errors,
            has_written: false,
            is_heard: false,
            again_at: None,
            took: Took::default(),
        }
    }

    fn now_ms(&self) -> u64 {
        (self.place.clock)()
    }

    fn send(&mut self, session: &Session, wants: Wants) -> Result<(), Fault> {
        let from = *self.link.get_or_insert(Link { port: self.place.port, client: session.client() });
        self.place.desk.send(Command { from, wants }).map_err(|Busy| busy())
    }

    /// Takes the message that has to be a hello.
    fn first(&mut self, envelope: &Envelope<'_>) -> Result<(), Fault> {
        if !matches!((&self.stage, envelope.kind), (Stage::Fresh, Kind::Hello | Kind::Resume)) {
            return Err(Fault::invalid("before the welcome only one session.hello may come"));
        }
        let hello = Hello::read(envelope)?;
        self.ask = Some(match &hello.token {
            Some(token) => Ask::new(token.clone(), None),
            None => Ask::of_nobody(),
        });
        self.stage = Stage::Asking(Box::new((envelope.id.clone(), hello)));
        Ok(())
    }

    /// It is known who says hello: asks for a session.
    fn open(&mut self, session: &Session, principal: &Arc<Principal>, id: &str, hello: Hello) -> Result<(), Fault> {
        let Hello { client, mut features, tells_features, resume, token: _ } = hello;
        let settings = &self.place.settings;
        let owner = owner(principal);
        self.writer.dialect = settings.dialects.choose(self.asked, &owner, client.as_deref(), id);
        if settings.heartbeat.as_secs() == 0 {
            features = features.without(Feature::Heartbeat);
        }
        self.writer.features = features;
        self.writer.hides_kinds = tells_features;
        self.writer.heartbeat_sec = features.have(Feature::Heartbeat).then(|| settings.heartbeat.as_secs());
        let rights = Arc::new(Granted { authority: self.place.authority.clone(), principal: principal.clone() });
        self.stage = Stage::Opening(rights.clone(), id.into());
        let acks = features.have(Feature::Ack);
        self.send(session, Wants::Session(Box::new(Opening { owner, rights, acks, resume })))
    }

    /// Takes a message of a client that has a session.
    fn request(&mut self, session: &mut Session, envelope: &Envelope<'_>) -> Result<(), Fault> {
        let name = envelope.session_id.as_deref().ok_or_else(|| Fault::invalid("session_id is missing"))?;
        if name.parse() != Ok(self.writer.session) {
            return Err(Fault::invalid("session_id is not that of this connection"));
        }
        if let Some(feature) = requests::needs(envelope.kind) {
            agreed(self.writer.features, feature)?;
        }
        let (id, now_ms) = (envelope.id.clone(), self.now_ms());
        match envelope.kind {
            Kind::Pong | Kind::Ignored => Ok(()),
            Kind::Ping => {
                let pong = self.writer.pong(&requests::nonce(envelope)?, now_ms);
                session.reply(pong);
                Ok(())
            }
            Kind::Ack => {
                let seq = requests::acknowledged(envelope)?;
                self.send(session, Wants::Ack { id, seq })
            }
            _ => {
                let request = requests::read(envelope, self.writer.features, now_ms)?;
                self.send(session, Wants::Request(id, request))
            }
        }
    }

    /// Answers a message that was refused. Submits are answered in their order, by whoever answers them all.
    fn refuse(&mut self, session: &mut Session, refused: Refused<'_>, now: Instant) {
        let Refused { envelope, id, fault } = refused;
        if fault.code == Code::InvalidRequest {
            count(&self.place.metrics.malformed);
        }
        let now_ms = self.now_ms();
        let Some(submit) = envelope.filter(|envelope| envelope.kind == Kind::Submit) else {
            if self.errors.take(now).is_ok() {
                let error = self.writer.error(&fault, id.as_deref(), None, now_ms);
                session.reply(error);
            }
            return;
        };
        let reject = Request::Reject { fault: fault.clone(), trace: submit.trace };
        let is_busy = fault.code == Code::InternalError;
        if is_busy || self.send(session, Wants::Request(submit.id.clone(), reject)).is_err() {
            for message in self.writer.rejected(&submit.id, &fault, submit.trace, now_ms) {
                session.reply(message);
            }
        }
    }

    /// Says why there is no session, and why to close.
    fn fail(&mut self, session: &mut Session, id: Option<&str>, fault: &Fault) -> CloseReason {
        if fault.code == Code::InvalidRequest {
            count(&self.place.metrics.malformed);
        }
        let now_ms = self.now_ms();
        let error = self.writer.error(fault, id, None, now_ms);
        session.reply(error);
        reason(fault.code)
    }
}

/// A message that was refused.
struct Refused<'a> {
    envelope: Option<&'a Envelope<'a>>,
    id: Option<Arc<str>>,
    fault: Fault,
}

impl<D: Desk> Protocol for Arcp<D> {
    fn text(&mut self, session: &mut Session, text: &str, now: Instant) -> Result<(), CloseReason> {
        let envelope = Envelope::read(text);
        if !matches!(self.stage, Stage::Open) {
            let taken = match &envelope {
                Ok(envelope) => self.first(envelope).map_err(|fault| (Some(envelope.id.clone()), fault)),
                Err(Malformed { id, fault }) => Err((id.clone(), fault.clone())),
            };
            return taken.map_err(|(id, fault)| self.fail(session, id.as_deref(), &fault));
        }
        if let Some(pulse) = &mut self.pulse {
            pulse.heard(now);
        }
        if !self.is_heard {
            self.is_heard = self.send(session, Wants::Heard).is_ok();
        }
        match envelope {
            Ok(envelope) => {
                if let Err(fault) = self.request(session, &envelope) {
                    let id = Some(envelope.id.clone());
                    self.refuse(session, Refused { envelope: Some(&envelope), id, fault }, now);
                }
            }
            Err(Malformed { id, fault }) => self.refuse(session, Refused { envelope: None, id, fault }, now),
        }
        Ok(())
    }

    fn binary(&mut self, session: &mut Session, _bytes: &[u8], now: Instant) -> Result<(), CloseReason> {
        let fault = Fault::invalid("a message is JSON in a text frame, not a binary one");
        if !matches!(self.stage, Stage::Open) {
            return Err(self.fail(session, None, &fault));
        }
        if let Some(pulse) = &mut self.pulse {
            pulse.heard(now);
        }
        self.refuse(session, Refused { envelope: None, id: None, fault }, now);
        Ok(())
    }

    fn item(&mut self, item: Item, out: &mut Out) -> Result<(), CloseReason> {
        self.has_written = true;
        match item {
            Item::Told(reply) => return self.told(*reply, out),
            Item::Event { seq, entry } => {
                let Took { events, bytes, .. } = self.took;
                self.took = Took { seq, events: events + 1, bytes: bytes + entry.bytes() as u64 };
                let now_ms = self.now_ms();
                self.writer.event(seq, &entry, now_ms, out);
            }
            Item::Reply(bytes) => out.text(&bytes),
            // Of subscriptions, of which there are none.
            _ => {}
        }
        Ok(())
    }

    fn written(&mut self, session: &mut Session) {
        if std::mem::take(&mut self.has_written)
            && let Some(pulse) = &mut self.pulse
        {
            pulse.sent(Instant::now());
        }
        let Took { seq, events, bytes } = self.took;
        if (events >= TOLD_EVENTS || bytes >= TOLD_BYTES) && self.send(session, Wants::Took { seq, bytes }).is_ok() {
            self.took = Took::default();
        }
        let Some(after) = session.wants_events() else { return };
        if self.send(session, Wants::Events { after }).is_err() {
            session.not_asked();
            self.again_at = Some(Instant::now() + AGAIN);
        }
    }

    fn missing(&self) -> Option<CloseReason> {
        matches!(self.stage, Stage::Fresh | Stage::Asking(_)).then_some(CloseReason::FirstMessage)
    }

    fn ask(&mut self) -> Option<Ask> {
        self.ask.take()
    }

    fn settled(
        &mut self,
        session: &mut Session,
        settled: Result<&Arc<Principal>, Refusal>,
    ) -> Result<bool, CloseReason> {
        let Stage::Asking(asking) = std::mem::replace(&mut self.stage, Stage::Fresh) else { return Ok(false) };
        let (id, hello) = *asking;
        let opened = match settled {
            Ok(principal) => self.open(session, principal, &id, hello),
            Err(refusal) => Err(fault(refusal)),
        };
        match opened {
            Ok(()) => Ok(true),
            Err(fault) => Err(self.fail(session, Some(&id), &fault)),
        }
    }

    fn due(&self) -> Option<Instant> {
        self.pulse.map(|pulse| pulse.due()).into_iter().chain(self.again_at).min()
    }

    fn tick(&mut self, session: &mut Session, now: Instant) -> Result<(), CloseReason> {
        if self.again_at.take_if(|at| *at <= now).is_some() {
            self.written(session);
        }
        let Some(pulse) = &mut self.pulse else { return Ok(()) };
        match pulse.beat(now) {
            Beat::Rests => {}
            Beat::Ping => {
                pulse.asked(now);
                let now_ms = self.now_ms();
                let ping = self.writer.ping(now_ms);
                session.reply(ping);
            }
            Beat::Lost => {
                let fault = Fault::new(Code::HeartbeatLost, "nothing came for two heartbeat intervals; jobs go on");
                return Err(self.fail(session, None, &fault));
            }
        }
        Ok(())
    }
}

impl<D: Desk> Drop for Arcp<D> {
    fn drop(&mut self) {
        if let Some(link) = self.link {
            self.place.desk.gone(link);
        }
    }
}

/// Whose sessions and jobs a principal's are. Strangers are one, and so are servers.
pub(super) fn owner(principal: &Principal) -> Owner {
    let name = match principal.kind {
        PrincipalKind::User => format!("user:{}", principal.user).into(),
        PrincipalKind::Anonymous => "anonymous".into(),
        PrincipalKind::ApiKey => "key".into(),
    };
    Owner { tenant: principal.topic_tenant().name().into(), name }
}

/// In ARCP's words.
fn fault(refusal: Refusal) -> Fault {
    let code = match refusal.status {
        _ if refusal.retryable => Code::InternalError,
        403 => Code::PermissionDenied,
        _ => Code::Unauthenticated,
    };
    Fault::new(code, refusal.message)
}

/// Why a connection closes that has no session (any more).
fn reason(code: Code) -> CloseReason {
    match code {
        Code::Unauthenticated => CloseReason::Unauthenticated,
        Code::InternalError => CloseReason::Overloaded,
        Code::HeartbeatLost => CloseReason::IdleTimeout,
        Code::InvalidRequest => CloseReason::FirstMessage,
        _ => CloseReason::Refused,
    }
}
