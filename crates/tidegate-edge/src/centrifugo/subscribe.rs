//! Subscribe, sub_refresh, unsubscribe: topics as streams.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tidegate_identity::{SubscriptionToken, TopicVerb};
use tidegate_model::SubscriptionId;
use tidegate_session::{Session, Wish};
use tidegate_topics::{Joined, Keep, Record, Since, SlowPolicy, Topic, TopicError};
use tokio::time::Instant;

use super::channel::{Base, Channel, Kind, Told};
use super::codes::{Disconnected, ErrorCode};
use super::connect::now_ms;
use super::fault::Fault;
use super::filter::Filter;
use super::protocol::Centrifugo;
use super::push::{self, Form};
use super::wire::{
    self, FLAG_REJECT_UNRECOVERED, Reply, SubRefreshRequest, SubRefreshResult, SubscribeRequest, SubscribeResult,
    UnsubscribeRequest, UnsubscribeResult,
};
use crate::application::Permit;

/// What a live query's channel begins with.
pub(super) const LIVE: &str = "live:";
/// A subscription ends so long after its token, so that another may come.
const GRACE: Duration = Duration::from_secs(25);
/// What a publication has around its data in an answer, and that around all of them.
const AROUND_BYTES: usize = 256;

/// A subscribe on its way.
pub(super) struct Entering {
    pub(super) request: SubscribeRequest,
    /// What the client is told with the answer, and what others see of it there.
    pub(super) permit: Permit,
    /// When the token ends that let it in, in milliseconds since 1970.
    expires_at_ms: Option<u64>,
    /// Whether it was let in by a token or a server.
    pub(super) is_granted: bool,
}

impl Entering {
    /// A server lets the client in.
    pub(super) fn by_server(request: SubscribeRequest, chan_info: Option<Bytes>, data: Option<Bytes>) -> Self {
        Self { request, permit: Permit { chan_info, data }, expires_at_ms: None, is_granted: true }
    }

    pub(super) fn since(&self) -> Option<Since> {
        let SubscribeRequest { epoch, offset, .. } = &self.request;
        Some(Since { epoch: epoch.as_str().into(), offset: *offset })
    }

    fn rejects_unrecovered(&self) -> bool {
        self.request.flag & FLAG_REJECT_UNRECOVERED != 0
    }
}

/// A subscription that was answered, as the client is told.
pub(super) struct Entered {
    pub(super) result: SubscribeResult,
    pub(super) told: Told,
}

impl Centrifugo {
    pub(super) fn subscribe(&mut self, session: &mut Session, id: u32, request: SubscribeRequest) -> Result<(), Fault> {
        if request.channel.starts_with(LIVE) {
            return self.watch(session, id, request);
        }
        if self.is_paging(&request.channel) && !request.cursor.is_empty() {
            return self.next_page(session, id, &request);
        }
        self.end_paging(session, &request.channel);
        if self.channel(&request.channel).is_some() {
            return Err(ErrorCode::AlreadySubscribed.into());
        }
        // Of the kinds of maps one is kept here: those that others publish to.
        if !matches!(request.r#type, 0 | 1) {
            return Err(ErrorCode::NotAvailable.into());
        }
        let (topic, entering) = self.let_in(request)?;
        self.ask_for(session, &topic.clone(), entering, move |this, session, entering| {
            let entered = entering.and_then(|entering| this.enter(session, id, topic, entering));
            if let Err(fault) = entered {
                this.refuse(session, id, fault);
            }
        })
    }

    /// Has the application agree too, where the namespace says so, and goes on with `then`.
    fn ask_for(
        &mut self,
        session: &mut Session,
        topic: &Arc<Topic>,
        entering: Entering,
        then: impl FnOnce(&mut Self, &mut Session, Result<Entering, Fault>) + 'static,
    ) -> Result<(), Fault> {
        if !topic.options.ask_subscribe || entering.is_granted {
            then(self, session, Ok(entering));
            return Ok(());
        }
        let answer = self.asked()?.may_subscribe(&self.peer(session)?, topic);
        let name = topic.name.clone();
        self.when(session, Some(&topic.name), answer, move |this, session, permit| {
            // What the client may do can be another thing than when it asked.
            let entering = permit.map_err(Fault::from).and_then(|permit| {
                this.topic(TopicVerb::Subscribe, &name)?;
                Ok(Entering { permit, ..entering })
            });
            then(this, session, entering);
        });
        Ok(())
    }

    /// Whether the client may: by its token, else by its permissions.
    fn let_in(&self, request: SubscribeRequest) -> Result<(Arc<Topic>, Entering), Fault> {
        if request.token.is_empty() {
            let topic = self.topic(TopicVerb::Subscribe, &request.channel)?;
            let entering = Entering { request, permit: Permit::default(), expires_at_ms: None, is_granted: false };
            return Ok((topic, entering));
        }
        let SubscriptionToken { info, expires_at_ms, .. } =
            self.subscription_token(&request.token, &request.channel)?;
        let tenant = self.known()?.topic_tenant();
        let topic = self.edge.topics().namespaces.topic(tenant, &request.channel)?;
        let permit = Permit { chan_info: info.map(Bytes::from), data: None };
        Ok((topic, Entering { request, permit, expires_at_ms, is_granted: true }))
    }

    fn subscription_token(&self, token: &str, channel: &str) -> Result<SubscriptionToken, Fault> {
        let tokens = self.edge.client_tokens().ok_or(ErrorCode::PermissionDenied)?;
        let token = tokens.subscription(token)?;
        if token.channel != channel || *token.user != *self.known()?.user {
            return Err(ErrorCode::PermissionDenied.into());
        }
        Ok(token)
    }

    /// Joins, and answers.
    fn enter(&mut self, session: &mut Session, id: u32, topic: Arc<Topic>, entering: Entering) -> Result<(), Fault> {
        if entering.request.r#type == 1 {
            return self.enter_map(session, id, topic, entering);
        }
        let since = if entering.request.recover { entering.since() } else { None };
        self.join(session, topic, entering, since, move |this, session, sub, entering, joined| {
            this.answer_entered(session, id, sub, &entering, joined);
        })
    }

    /// Answers a subscribe with what the topic says; nothing is told live before that.
    pub(super) fn answer_entered(
        &mut self,
        session: &mut Session,
        id: u32,
        sub: SubscriptionId,
        entering: &Entering,
        joined: Result<Joined, Fault>,
    ) {
        let entered = joined.and_then(|joined| self.entered(session, sub, entering, &joined).map(|it| (it, joined)));
        match entered {
            Err(fault) => {
                session.unsubscribe(sub);
                self.refuse(session, id, fault);
            }
            Ok((Entered { result, told }, joined)) => {
                self.keep(&entering.request.channel, sub, told);
                self.send(session, &Reply { id, subscribe: Some(result), ..Reply::default() });
                self.flush(session);
                session.begin(sub, &joined.at);
            }
        }
    }

    /// A channel that a client wishes with its connect, if it may have it.
    pub(super) fn wish_at_start(&mut self, session: &mut Session, request: SubscribeRequest) -> Result<(), Fault> {
        if request.r#type != 0 || request.channel.starts_with(LIVE) {
            return Err(ErrorCode::NotAvailable.into());
        }
        if self.waiting.is_full() {
            return Err(ErrorCode::TooManyRequests.into());
        }
        let (topic, entering) = self.let_in(request)?;
        self.ask_for(session, &topic, entering, |this, session, entering| {
            let entered = entering.and_then(|entering| this.enter_at_start(session, entering));
            this.settle_unless(session, entered);
        })
    }

    /// The same for a connect, which answers for all of its channels.
    pub(super) fn enter_at_start(&mut self, session: &mut Session, entering: Entering) -> Result<(), Fault> {
        let tenant = self.known()?.topic_tenant();
        let topic = self.edge.topics().namespaces.topic(tenant, &entering.request.channel)?;
        let since = if entering.request.recover { entering.since() } else { None };
        self.join(session, topic, entering, since, move |this, session, sub, entering, joined| {
            let entered =
                joined.and_then(|joined| this.entered(session, sub, &entering, &joined).map(|it| (it, joined)));
            match entered {
                Err(_) => {
                    session.unsubscribe(sub);
                }
                Ok((Entered { result, told }, joined)) => {
                    this.keep(&entering.request.channel, sub, told);
                    if let Some(connecting) = this.connecting() {
                        connecting.result.subs.insert(entering.request.channel.clone(), result);
                        connecting.begins.push((sub, joined.at));
                    }
                }
            }
            this.settle_one(session);
        })
    }

    /// Asks the room, and goes on with `then` once that has answered.
    pub(super) fn join(
        &mut self,
        session: &mut Session,
        topic: Arc<Topic>,
        entering: Entering,
        since: Option<Since>,
        then: impl FnOnce(&mut Self, &mut Session, SubscriptionId, Entering, Result<Joined, Fault>) + 'static,
    ) -> Result<(), Fault> {
        // Nobody waits with a filter that cannot be used.
        if let Some(filter) = &entering.request.tf {
            Filter::new(filter.clone())?;
        }
        let member = Some(self.info(session, entering.permit.chan_info.clone())?);
        // Who comes and goes is told to those who may see who is there.
        let hears_joins = entering.request.join_leave
            && topic.options.join_leave
            && self.topic(TopicVerb::Presence, &topic.name).is_ok();
        let channel = topic.name.clone();
        let (sub, answer) = session.join(Wish { topic, member, since, hears_joins })?;
        self.when(session, Some(&channel), answer, move |this, session, joined: Result<Joined, TopicError>| {
            let joined = joined.map_err(Fault::from);
            // It may have ended while the answer was awaited.
            let joined = joined.and_then(|joined| match session.topic(sub) {
                Some(_) => Ok(joined),
                None => Err(ErrorCode::Internal.into()),
            });
            then(this, session, sub, entering, joined);
        });
        Ok(())
    }

    /// What the client is told of the subscription, and how it will be told what happens.
    pub(super) fn entered(
        &mut self,
        session: &Session,
        sub: SubscriptionId,
        entering: &Entering,
        joined: &Joined,
    ) -> Result<Entered, Fault> {
        let topic = session.topic(sub).cloned().ok_or(ErrorCode::Internal)?;
        let is_map = entering.request.r#type == 1;
        let told = self.told(&topic, entering)?;
        let mut records: &[Arc<Record>] = if is_map && joined.recovered.is_none() { &[] } else { &joined.records };
        let mut publications = self.publications(records, &told);
        // What has no room in the answer is not recovered: otherwise the client would be closed for it again and again.
        let fits = publications.is_empty() || answer_bytes(&publications) <= self.room(session);
        let recovered = joined.recovered.map(|recovered| recovered && fits);
        if recovered == Some(false) && (is_map || entering.rejects_unrecovered()) {
            return Err(ErrorCode::UnrecoverablePosition.into());
        }
        if !fits {
            (records, publications) = (&[], Vec::new());
        }
        let base = match told.base {
            Base::Last(_) => Base::Last(records.last().cloned()),
            keys @ Base::Keys(_) => keys,
        };
        let is_positioned = told.is_positioned;
        let (expires, ttl) = token_left(entering.expires_at_ms);
        let result = SubscribeResult {
            expires,
            ttl,
            recoverable: is_positioned,
            positioned: is_positioned,
            epoch: joined.at.epoch.to_string(),
            offset: joined.at.offset,
            publications,
            recovered: recovered == Some(true),
            was_recovering: entering.request.recover,
            delta: is_delta(told.form),
            data: entering.permit.data.clone().unwrap_or_default(),
            r#type: entering.request.r#type,
            ..SubscribeResult::default()
        };
        Ok(Entered { result, told: Told { base, ..told } })
    }

    /// How what happens in a topic is told to one who wishes it so.
    pub(super) fn told(&self, topic: &Topic, entering: &Entering) -> Result<Told, Fault> {
        let SubscribeRequest { tf, delta, r#type, .. } = &entering.request;
        let filter = tf.clone().map(Filter::new).transpose()?.map(Box::new);
        // Whoever does not get every publication cannot be told the difference to the one before.
        let gets_all = filter.is_none() && topic.options.slow == SlowPolicy::Close;
        let is_delta = delta == "fossil" && topic.options.delta && gets_all;
        Ok(Told {
            form: self.encoding.form(is_delta),
            filter,
            base: if *r#type == 1 { Base::Keys(0) } else { Base::Last(None) },
            is_positioned: topic.options.history_size > 0,
            is_granted: entering.is_granted,
            expires_at: entering.expires_at_ms.map(ends_at),
            paging: None,
        })
    }

    /// Records as a reply has them. Differences are for those that are told one after the other.
    pub(super) fn publications(&mut self, records: &[Arc<Record>], told: &Told) -> Vec<wire::Publication> {
        let wanted =
            records.iter().filter(|record| told.filter.as_ref().is_none_or(|filter| filter.takes(&record.tags)));
        let publications: Result<_, _> = wanted.map(|record| push::publication(record, None, told.form)).collect();
        publications.unwrap_or_else(|_| {
            self.fail(Disconnected::InappropriateProtocol);
            Vec::new()
        })
    }

    pub(super) fn keep(&mut self, name: &str, id: SubscriptionId, told: Told) {
        self.channels.push(Channel { name: name.into(), id, kind: Kind::Topic(told) });
    }

    pub(super) fn sub_refresh(
        &mut self,
        session: &mut Session,
        id: u32,
        request: &SubRefreshRequest,
    ) -> Result<(), Fault> {
        if request.r#type != 0 {
            return Err(ErrorCode::NotAvailable.into());
        }
        let token = self.subscription_token(&request.token, &request.channel)?;
        let channel = self.channel(&request.channel).ok_or(ErrorCode::BadRequest)?;
        let told = channel.told().ok_or(ErrorCode::BadRequest)?;
        told.expires_at = token.expires_at_ms.map(ends_at);
        let (expires, ttl) = token_left(token.expires_at_ms);
        self.send(session, &Reply { id, sub_refresh: Some(SubRefreshResult { expires, ttl }), ..Reply::default() });
        Ok(())
    }

    pub(super) fn unsubscribe(
        &mut self,
        session: &mut Session,
        id: u32,
        request: &UnsubscribeRequest,
    ) -> Result<(), Fault> {
        // Of what is not there any more the client may not know yet.
        if let Some(channel) = self.channel(&request.channel) {
            let sub = channel.id;
            session.unsubscribe(sub);
            let channel = self.forget(sub);
            self.abandon(session, channel);
        }
        self.send(session, &Reply { id, unsubscribe: Some(UnsubscribeResult {}), ..Reply::default() });
        Ok(())
    }
}

/// About how many bytes publications have in an answer, and what is around them: hardly ever more.
pub(super) fn answer_bytes(publications: &[wire::Publication]) -> usize {
    let of_one = |publication: &wire::Publication| {
        let tags: usize = publication.tags.iter().map(|(name, value)| name.len() + value.len()).sum();
        let info = publication
            .info
            .as_ref()
            .map_or(0, |info| info.user.len() + info.client.len() + info.conn_info.len() + info.chan_info.len());
        publication.data.len() + info + 2 * (tags + publication.key.len()) + AROUND_BYTES
    };
    AROUND_BYTES + publications.iter().map(of_one).sum::<usize>()
}

/// Whether the topic keeps the values of keys.
pub(super) fn is_map(topic: &Topic) -> bool {
    topic.options.keep == Keep::LastOfKey
}

pub(super) fn is_delta(form: Form) -> bool {
    matches!(form, Form::JsonDelta | Form::ProtobufDelta)
}

/// Whether a subscription ends, and in how many seconds another token should have come.
fn token_left(expires_at_ms: Option<u64>) -> (bool, u32) {
    let Some(at) = expires_at_ms else { return (false, 0) };
    let seconds = at.saturating_sub(now_ms()) / 1000;
    (true, u32::try_from(seconds.max(1)).unwrap_or(u32::MAX))
}

fn ends_at(expires_at_ms: u64) -> Instant {
    // What is a century away is as good as never.
    let left =
        Duration::from_millis(expires_at_ms.saturating_sub(now_ms())).min(Duration::from_secs(100 * 366 * 86_400));
    Instant::now() + left + GRACE
}
