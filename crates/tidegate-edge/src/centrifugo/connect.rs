//! Who a client is: connect, refresh, and what it is subscribed to from the start.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tidegate_identity::{ClientTokenError, Principal, PrincipalKind, Refusal, ServerSide, TopicVerb};
use tidegate_model::SubscriptionId;
use tidegate_session::Session;
use tidegate_topics::Published;

use super::channel::Kind;
use super::codes::{Disconnected, ErrorCode, Unsubscribed};
use super::encoding::Encoding;
use super::fault::Fault;
use super::protocol::Centrifugo;
use super::subscribe::Entering;
use super::wire::{ConnectRequest, ConnectResult, RefreshRequest, RefreshResult, Reply, Request, SubscribeRequest};
use crate::application::{Attendance, Peer};
use crate::config::unless_zero;
use crate::passing::Ask;

/// Longest name and version that a client gives itself, in bytes.
const NAME_BYTES_MAX: usize = 16;
const VERSION_BYTES_MAX: usize = 64;
/// A client is told to come with another token so long before its own ends, or after three quarters of what is left.
const LEAD: Duration = Duration::from_secs(25);

/// How far a client is.
pub(super) enum Stage {
    /// It has not said anything.
    Fresh,
    /// Its token is being looked at.
    Asking(Box<Asking>),
    /// It waits for its channels.
    Connecting(Box<Connecting>),
    Connected,
}

/// A connect whose token is being looked at.
pub(super) struct Asking {
    id: u32,
    request: ConnectRequest,
    info: Option<Bytes>,
    channels: Vec<ServerSide>,
}

/// A connect that waits for its channels.
pub(super) struct Connecting {
    id: u32,
    pub(super) result: ConnectResult,
    /// Channels that have not answered.
    pub(super) left: usize,
    /// What begins after the reply.
    pub(super) begins: Vec<(SubscriptionId, Published)>,
}

impl Centrifugo {
    pub(super) fn connect(&mut self, session: &mut Session, id: u32, request: ConnectRequest) {
        if request.name.len() > NAME_BYTES_MAX || request.version.len() > VERSION_BYTES_MAX {
            return self.fail(Disconnected::BadRequest);
        }
        let mut asking = Asking { id, request, info: None, channels: Vec::new() };
        let token = std::mem::take(&mut asking.request.token);
        if token.is_empty() {
            return match &self.principal {
                Some(_) => self.start(session, asking),
                None => self.fail(Disconnected::InvalidToken),
            };
        }
        self.ask = match self.edge.client_tokens().map(|tokens| tokens.connection(&token)) {
            Some(Ok(token)) => {
                (asking.info, asking.channels) = (token.info.map(Bytes::from), token.channels);
                Some(Ask::of(token.principal))
            }
            Some(Err(ClientTokenError::Expired)) => return self.refuse(session, id, ErrorCode::TokenExpired),
            Some(Err(ClientTokenError::Claims)) => return self.fail(Disconnected::InvalidToken),
            Some(Err(ClientTokenError::Foreign)) | None => Some(Ask::new(token, None)),
        };
        self.stage = Stage::Asking(Box::new(asking));
    }

    pub(super) fn refresh(&mut self, id: u32, request: RefreshRequest) -> Result<(), Fault> {
        if self.refreshing.is_some() {
            return Err(ErrorCode::TooManyRequests.into());
        }
        if request.token.is_empty() {
            return Err(ErrorCode::BadRequest.into());
        }
        self.ask = match self.edge.client_tokens().map(|tokens| tokens.connection(&request.token)) {
            Some(Ok(token)) => Some(Ask::of(token.principal)),
            Some(Err(ClientTokenError::Expired)) => return Err(ErrorCode::TokenExpired.into()),
            Some(Err(ClientTokenError::Claims)) => {
                self.fail(Disconnected::InvalidToken);
                return Ok(());
            }
            Some(Err(ClientTokenError::Foreign)) | None => Some(Ask::new(request.token, None)),
        };
        self.refreshing = Some(id);
        Ok(())
    }

    /// What came of a token: whether the connection is theirs now.
    pub(super) fn become_known(&mut self, session: &mut Session, settled: Result<&Arc<Principal>, Refusal>) -> bool {
        let principal = match settled {
            Ok(principal) => principal,
            Err(refusal) => {
                self.stay_unknown(session, refusal);
                return false;
            }
        };
        // A connection that is somebody's never changes hands; a stranger's, or a server's, not under subscriptions that stand.
        let holds = !self.channels.is_empty() || !self.waiting.is_empty();
        let is_bound = |known: &Principal| known.kind == PrincipalKind::User || holds;
        if self.principal.as_deref().is_some_and(|known| is_bound(known) && is_another(known, principal)) {
            self.fail(Disconnected::InvalidToken);
            return false;
        }
        let before = self.principal.replace(principal.clone());
        match std::mem::replace(&mut self.stage, Stage::Connected) {
            Stage::Asking(asking) => self.start(session, *asking),
            stage => {
                self.stage = stage;
                self.refreshed(session, before.as_deref(), principal);
            }
        }
        true
    }

    fn stay_unknown(&mut self, session: &mut Session, refusal: Refusal) {
        let is_retryable = refusal.retryable;
        let fault = match refusal.is_of_an_expired_token() {
            true => ErrorCode::TokenExpired.into(),
            false => Fault::from(refusal),
        };
        let is_expired = fault.code == ErrorCode::TokenExpired;
        match std::mem::replace(&mut self.stage, Stage::Fresh) {
            Stage::Asking(asking) if is_retryable || is_expired => {
                // The client connects again, and asks again.
                self.held.clear();
                self.refuse(session, asking.id, fault);
            }
            Stage::Asking(_) => self.fail(Disconnected::InvalidToken),
            stage => {
                self.stage = stage;
                if let Some(id) = self.refreshing.take() {
                    self.refuse(session, id, fault);
                }
            }
        }
    }

    fn refreshed(&mut self, session: &mut Session, before: Option<&Principal>, principal: &Arc<Principal>) {
        if let Some(id) = self.refreshing.take() {
            let (expires, ttl) = time_left(principal.expires_at_ms);
            let version = env!("CARGO_PKG_VERSION").into();
            let refresh = RefreshResult { client: session.name().to_string(), version, expires, ttl };
            self.send(session, &Reply { id, refresh: Some(refresh), ..Reply::default() });
        }
        self.attend(session);
        if before.is_some_and(|before| !before.has_the_same_rights(principal)) {
            self.decide_again(session, principal);
        }
    }

    /// Tells the application who is there.
    fn attend(&mut self, session: &mut Session) {
        let (Some(application), Some(principal)) = (self.edge.asked(), &self.principal) else { return };
        match &mut self.attendance {
            Some(known) if !is_another(known.peer().principal(), principal) => known.renew(principal.clone()),
            known => {
                // Who was there before is gone, and what it joined goes with it.
                if known.take().is_some() {
                    leave_rooms(session);
                }
                let peer = Peer::new(&self.edge, session.name().clone(), principal.clone());
                self.attendance = Some(Box::new(Attendance::begin(application.clone(), peer)));
            }
        }
    }

    /// Has what is held follow what may be seen now: a list begins anew, a topic that may not be heard ends.
    fn decide_again(&mut self, session: &mut Session, principal: &Principal) {
        let mut ended = Vec::new();
        for channel in &self.channels {
            match &channel.kind {
                Kind::Live(_) => ended.push((channel.id, Unsubscribed::Insufficient)),
                Kind::Topic(told) if !told.is_granted => {
                    if self.edge.topic(principal, TopicVerb::Subscribe, &channel.name).is_err() {
                        ended.push((channel.id, Unsubscribed::Server));
                    }
                }
                Kind::Topic(_) => {}
            }
        }
        for (id, why) in ended {
            self.end_channel(session, id, why);
        }
    }

    /// It is known who connects: joins what the token says, and answers once all of that has.
    fn start(&mut self, session: &mut Session, asking: Asking) {
        let Asking { id, mut request, info, channels } = asking;
        self.info = info;
        let result = self.connected(session);
        let granted = channels.into_iter().map(|ServerSide { channel, info, data }| {
            let asked = request.subs.remove(&channel).unwrap_or_default();
            let request = SubscribeRequest { channel, ..asked };
            Entering::by_server(request, info.map(Bytes::from), data.map(Bytes::from))
        });
        let granted: Vec<_> = granted.collect();
        // Who cannot subscribe later says now to what.
        let wished = if self.encoding == Encoding::Bare { request.subs } else { BTreeMap::new() };
        let left = granted.len() + wished.len();
        self.stage = Stage::Connecting(Box::new(Connecting { id, result, left, begins: Vec::new() }));
        for entering in granted {
            let entered = self.enter_at_start(session, entering);
            self.settle_unless(session, entered);
        }
        for (channel, request) in wished {
            let entered = self.wish_at_start(session, SubscribeRequest { channel, ..request });
            self.settle_unless(session, entered);
        }
        if left == 0 {
            self.finish(session);
        }
    }

    /// A channel that is refused at once has answered.
    pub(super) fn settle_unless(&mut self, session: &mut Session, entered: Result<(), Fault>) {
        if let Err(fault) = entered {
            tracing::debug!(?fault, "a channel of a connect cannot be subscribed to");
            self.settle_one(session);
        }
    }

    /// One channel of the connect has answered.
    pub(super) fn settle_one(&mut self, session: &mut Session) {
        let Some(connecting) = self.connecting() else { return };
        connecting.left = connecting.left.saturating_sub(1);
        if connecting.left == 0 {
            self.finish(session);
        }
    }

    /// Answers the connect, and takes the commands that waited for that.
    fn finish(&mut self, session: &mut Session) {
        let Stage::Connecting(connecting) = std::mem::replace(&mut self.stage, Stage::Connected) else { return };
        let Connecting { id, result, begins, .. } = *connecting;
        self.send(session, &Reply { id, connect: Some(result), ..Reply::default() });
        self.flush(session);
        for (id, at) in begins {
            session.begin(id, &at);
        }
        self.attend(session);
        for (id, request) in std::mem::take(&mut self.held) {
            match *request {
                // Its token would be looked at when the next message comes.
                Request::Refresh(_) => self.refuse(session, id, ErrorCode::TooManyRequests),
                Request::Connect(_) => self.fail(Disconnected::BadRequest),
                request => self.command(session, id, Box::new(request)),
            }
        }
    }

    fn connected(&self, session: &Session) -> ConnectResult {
        let has_pings = !self.carriage.has_own_pings;
        let interval = unless_zero(self.edge.config().ping_interval).filter(|_| has_pings);
        // A ping may come a little late; clients wait ten seconds longer.
        let ping = interval.map_or(0, |interval| u32::try_from(interval.as_secs().max(1)).unwrap_or(u32::MAX));
        let (expires, ttl) = time_left(self.principal.as_ref().and_then(|principal| principal.expires_at_ms));
        ConnectResult {
            client: session.name().to_string(),
            version: env!("CARGO_PKG_VERSION").into(),
            expires,
            ttl,
            ping,
            pong: ping > 0 && self.encoding != Encoding::Bare,
            session: self.carriage.session.clone(),
            node: self.carriage.node.clone(),
            time: i64::try_from(now_ms()).unwrap_or(i64::MAX),
            ..ConnectResult::default()
        }
    }
}

fn leave_rooms(session: &mut Session) {
    let rooms = session.topics().filter(|(_, topic)| topic.is_reserved()).map(|(id, _)| id);
    for id in rooms.collect::<Vec<_>>() {
        session.unsubscribe(id);
    }
}

fn is_another(known: &Principal, other: &Principal) -> bool {
    (&known.user, &known.tenant) != (&other.user, &other.tenant)
}

/// Whether an identity ends, and in how many seconds another token should have come.
pub(super) fn time_left(expires_at_ms: Option<u64>) -> (bool, u32) {
    let Some(expires_at_ms) = expires_at_ms else { return (false, 0) };
    let left = Duration::from_millis(expires_at_ms.saturating_sub(now_ms()));
    let left = left - LEAD.min(left / 4);
    (true, u32::try_from(left.as_secs().max(1)).unwrap_or(u32::MAX))
}

/// What clocks on the wall show, in milliseconds since 1970.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
