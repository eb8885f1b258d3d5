//! What is asked of a topic without subscribing to it; and what is asked of the application.

use std::sync::Arc;

use bytes::Bytes;
use tidegate_identity::TopicVerb;
use tidegate_model::Answer;
use tidegate_session::Session;
use tidegate_topics::{Data, Members, Presence, PresenceAsk, Publish, Range, Since, Topic};

use super::codes::{Disconnected, ErrorCode};
use super::fault::Fault;
use super::json;
use super::protocol::Centrifugo;
use super::push;
use super::wire::{
    HistoryRequest, HistoryResult, PresenceResult, PresenceStatsResult, PublishRequest, PublishResult, Reply,
    RpcRequest, RpcResult, SendRequest, StreamPosition,
};
use crate::Application;

/// Members that one reply names. Who is in a larger topic is asked page by page, elsewhere.
const MEMBERS_MAX: usize = 1_000;
/// Publications of one part of a history.
const HISTORY_MAX: usize = 300;
/// What the application knows a `send` as.
const MESSAGE: &str = "message";

impl Centrifugo {
    pub(super) fn publish(&mut self, session: &mut Session, id: u32, request: PublishRequest) -> Result<(), Fault> {
        let topic = self.topic(TopicVerb::Publish, &request.channel)?;
        let PublishRequest { data, r#type, key, removed, .. } = request;
        if !matches!(r#type, 0 | 1) {
            return Err(ErrorCode::NotAvailable.into());
        }
        if (r#type == 1) == key.is_empty() {
            return Err(Fault::bad("values of a map have a key, and nothing else has"));
        }
        let data = match (data.is_empty(), removed) {
            (false, false) => self.data(data)?,
            (_, true) => Data::Json(Bytes::from_static(b"null")),
            (true, false) => return Err(Fault::bad("data is needed")),
        };
        let client = Some(self.info(session, None)?);
        let key = (!key.is_empty()).then(|| key.into());
        let publish = Publish { client, key, removed, ..Publish::new(topic.clone(), data) };
        if !topic.options.ask_publish {
            self.check_subscribed(session, &topic)?;
            self.publish_now(session, id, publish);
            return Ok(());
        }
        let answer = self.asked()?.may_publish(&self.peer(session)?, &topic, &publish.data);
        self.when(session, Some(&topic.name), answer, move |this, session, allowed| {
            let allowed = allowed.map_err(Fault::from);
            match allowed.and_then(|()| this.topic(TopicVerb::Publish, &publish.topic.name)) {
                Ok(_) => this.publish_now(session, id, publish),
                Err(fault) => this.refuse(session, id, fault),
            }
        });
        Ok(())
    }

    /// The application, where it has to be asked: without one the answer is no.
    pub(super) fn asked(&self) -> Result<Arc<dyn Application>, Fault> {
        self.edge.asked().cloned().ok_or_else(|| ErrorCode::PermissionDenied.into())
    }

    /// Where the application decides who subscribes, who does not sees and touches nothing on another way either.
    fn check_subscribed(&self, session: &Session, topic: &Topic) -> Result<(), Fault> {
        match topic.options.ask_subscribe && session.subscribed(&topic.name).is_none() {
            true => Err(ErrorCode::PermissionDenied.into()),
            false => Ok(()),
        }
    }

    fn publish_now(&mut self, session: &mut Session, id: u32, publish: Publish) {
        let topic = publish.topic.clone();
        let answer = self.edge.topics().broker.publish(publish);
        self.when(session, Some(&topic.name), answer, move |this, session, published| match published {
            Ok(_) => this.send(session, &Reply { id, publish: Some(PublishResult {}), ..Reply::default() }),
            Err(error) => this.refuse(session, id, error),
        });
    }

    pub(super) fn presence(&mut self, session: &mut Session, id: u32, channel: &str) -> Result<(), Fault> {
        self.ask_presence(session, id, channel, MEMBERS_MAX, |presence| {
            let Members::Page(members, None) = presence.members else {
                return Err(ErrorCode::LimitExceeded.into());
            };
            let named = members.iter().map(|member| (member.client.to_string(), push::info(member)));
            Ok(Reply { presence: Some(PresenceResult { presence: named.collect() }), ..Reply::default() })
        })
    }

    pub(super) fn presence_stats(&mut self, session: &mut Session, id: u32, channel: &str) -> Result<(), Fault> {
        self.ask_presence(session, id, channel, 0, |presence| {
            let count = |count| u32::try_from(count).unwrap_or(u32::MAX);
            let stats = PresenceStatsResult { num_clients: count(presence.clients), num_users: count(presence.users) };
            Ok(Reply { presence_stats: Some(stats), ..Reply::default() })
        })
    }

    fn ask_presence(
        &mut self,
        session: &mut Session,
        id: u32,
        channel: &str,
        limit: usize,
        reply: impl FnOnce(Presence) -> Result<Reply, Fault> + 'static,
    ) -> Result<(), Fault> {
        let topic = self.topic(TopicVerb::Presence, channel)?;
        self.check_subscribed(session, &topic)?;
        let ask = PresenceAsk { limit, ..PresenceAsk::default() };
        let answer = self.edge.topics().broker.presence(&topic, ask);
        self.when(session, Some(channel), answer, move |this, session, presence| {
            match presence.map_err(Fault::from).and_then(reply) {
                Ok(reply) => this.send(session, &Reply { id, ..reply }),
                Err(fault) => this.refuse(session, id, fault),
            }
        });
        Ok(())
    }

    pub(super) fn history(&mut self, session: &mut Session, id: u32, request: &HistoryRequest) -> Result<(), Fault> {
        let topic = self.topic(TopicVerb::History, &request.channel)?;
        self.check_subscribed(session, &topic)?;
        let since = request
            .since
            .as_ref()
            .map(|StreamPosition { offset, epoch }| Since { epoch: epoch.as_str().into(), offset: *offset });
        // Below 0: as many as there are.
        let limit = usize::try_from(request.limit).unwrap_or(HISTORY_MAX).min(HISTORY_MAX);
        let range = Range { since, limit, reverse: request.reverse, bytes_max: self.room(session) / 2 };
        let answer = self.edge.topics().broker.history(&topic, range);
        let form = self.encoding.form(false);
        self.when(session, Some(&topic.name.clone()), answer, move |this, session, history| match history {
            Ok(history) => {
                let publications = history.records.iter().map(|record| push::publication(record, None, form));
                let Ok(publications) = publications.collect() else {
                    return this.fail(Disconnected::InappropriateProtocol);
                };
                let (epoch, offset) = (history.at.epoch.to_string(), history.at.offset);
                let history = HistoryResult { publications, epoch, offset };
                this.send(session, &Reply { id, history: Some(history), ..Reply::default() });
            }
            Err(error) => this.refuse(session, id, error),
        });
        Ok(())
    }

    pub(super) fn rpc(&mut self, session: &mut Session, id: u32, request: &RpcRequest) -> Result<(), Fault> {
        if request.method == super::live::REANCHOR {
            return self.reanchor(session, id, &request.data);
        }
        let application = self.edge.asked().cloned().ok_or(ErrorCode::NotAvailable)?;
        let data = text(&request.data)?;
        let answer = application.event(&self.peer(session)?, &request.method, data);
        let answer = answer.ok_or(ErrorCode::MethodNotFound)?;
        self.when(session, None, Answer::Later(answer), move |this, session, answer| match answer {
            Ok(data) => this.send(session, &Reply { id, rpc: Some(RpcResult { data }), ..Reply::default() }),
            Err(error) => this.refuse(session, id, error),
        });
        Ok(())
    }

    /// A message that is answered nothing, for the application if it wants it.
    pub(super) fn sent(&mut self, session: &mut Session, request: &SendRequest) {
        let Some(application) = self.edge.asked().cloned() else { return };
        if let (Ok(data), Ok(peer)) = (text(&request.data), self.peer(session))
            && let Some(answer) = application.event(&peer, MESSAGE, data)
        {
            self.when(session, None, Answer::Later(answer), |_, _, _| {});
        }
    }
}

/// What the application gets: JSON, `null` where there is nothing.
fn text(data: &[u8]) -> Result<&str, Fault> {
    match str::from_utf8(data) {
        Ok("") => Ok("null"),
        Ok(text) if json::is_json(data) => Ok(text),
        _ => Err(Fault::bad("data must be JSON")),
    }
}
