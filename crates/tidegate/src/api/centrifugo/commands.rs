//! What each command does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use globset::{Glob, GlobMatcher};
use serde_json::json;
use serde_json::value::RawValue;
use tidegate_edge::{CentrifugoFault as Fault, Order, To};
use tidegate_identity::{Principal, TopicVerb};
use tidegate_model::Tenant;
use tidegate_topics::{Members, Presence, PresenceAsk, Range, Since, Topic};

use super::super::Api;
use super::super::topics::MESSAGES_MAX;
use super::answers;
use super::requests::{self, OfChannel, Position, Publish, Subscribe, Whom, read};

/// Members that one `presence` brings, and channels that one `channels` does; of more there is an error, not a part.
const NAMES_MAX: usize = 10_000;
/// Publications that one `history` brings.
const HISTORY_MAX: usize = 1_000;
/// Bytes of the answers to one request: two histories of 4 MiB of records.
const ANSWERS_BYTES_MAX: usize = 8 << 20;
/// Longest pattern, in bytes.
const PATTERN_BYTES_MAX: usize = 255;
/// Longest reason of a disconnect, in bytes: what a close of a WebSocket has room for.
const REASON_BYTES_MAX: usize = 123;

/// One request, with what its commands have left of its bounds.
pub(super) struct Request<'a> {
    api: &'a Api,
    principal: &'a Arc<Principal>,
    /// For commands that name none.
    pub(super) tenant: Option<String>,
    publications_left: usize,
    bytes_left: usize,
}

type Answer = Result<Vec<u8>, Fault>;

impl<'a> Request<'a> {
    pub(super) fn new(api: &'a Api, principal: &'a Arc<Principal>, tenant: Option<String>) -> Self {
        Self { api, principal, tenant, publications_left: MESSAGES_MAX, bytes_left: ANSWERS_BYTES_MAX }
    }

    /// Carries out one command; gives what its `result` is.
    pub(super) async fn execute(&mut self, method: &str, body: &RawValue) -> Answer {
        match method {
            "publish" => self.publish(read(body)?).await,
            "broadcast" => self.broadcast(read(body)?).await,
            "map_publish" => self.map_publish(read(body)?).await,
            "map_remove" => self.map_remove(read(body)?).await,
            "subscribe" => self.subscribe(read(body)?, &read(body)?).await,
            "unsubscribe" => self.unsubscribe(read(body)?, &read(body)?).await,
            "disconnect" => self.disconnect(read(body)?, read(body)?).await,
            "refresh" => self.refresh(read(body)?, &read(body)?).await,
            "presence" => self.presence(read(body)?).await,
            "presence_stats" => self.presence_stats(&read(body)?).await,
            "history" => self.history(read(body)?).await,
            "history_remove" => self.history_remove(&read(body)?).await,
            "channels" => self.channels(&read(body)?),
            "info" => Ok(self.info()),
            // Application handlers answer connections, and a server has none.
            "rpc" => Err(Fault::not_available("rpc")),
            _ => Err(Fault::unknown_method()),
        }
    }

    async fn publish(&mut self, mut publish: Publish<'_>) -> Answer {
        let data = publish.data()?;
        let message = publish.message(self.tenant.as_deref())?;
        self.take(1)?;
        let published = self.api.publish(self.principal, &publish.channel, &message, data).await?;
        Ok(answers::published(&published))
    }

    async fn map_remove(&mut self, mut publish: Publish<'_>) -> Answer {
        publish.removed = Some(true);
        self.map_publish(publish).await
    }

    /// Publishes a value, or removes it.
    async fn map_publish(&mut self, publish: Publish<'_>) -> Answer {
        match publish.key.as_deref() {
            None | Some("") => Err(Fault::bad("key must be given")),
            Some(_) => self.publish(publish).await,
        }
    }

    /// The same to many, each with its own answer.
    async fn broadcast(&mut self, mut publish: Publish<'_>) -> Answer {
        let channels = publish.channels.take().ok_or_else(|| Fault::bad("channels must be given"))?.0;
        let data = publish.data()?;
        let message = publish.message(self.tenant.as_deref())?;
        self.take(channels.len())?;
        let mut responses = Vec::with_capacity(channels.len());
        for channel in channels {
            let published = self.api.publish(self.principal, &channel, &message, data.clone()).await;
            responses.push(match published {
                Ok(published) => answers::named("result", &answers::published(&published)),
                Err(error) => answers::error(&error.into()),
            });
        }
        Ok(answers::list("responses", &responses))
    }

    async fn subscribe(&self, whom: Whom, subscribe: &Subscribe<'_>) -> Answer {
        subscribe.check()?;
        Topic::check_name(&subscribe.channel)?;
        let bytes_max = self.api.topics().limits.payload_bytes;
        if subscribe.data.is_some_and(|data| data.get().len() > bytes_max) {
            return Err(Fault::limit(format!("data has more than {bytes_max} bytes")));
        }
        let order = Order::Subscribe {
            topic: subscribe.channel.as_str().into(),
            since: subscribe.recover_since.as_ref().map(since),
            data: subscribe.data.map(|data| Bytes::copy_from_slice(data.get().as_bytes())),
        };
        self.order(whom, order).await
    }

    async fn unsubscribe(&self, whom: Whom, of: &OfChannel) -> Answer {
        Topic::check_name(&of.channel)?;
        self.order(whom, Order::Unsubscribe { topic: of.channel.as_str().into() }).await
    }

    async fn disconnect(&self, whom: Whom, disconnect: requests::Disconnect) -> Answer {
        disconnect.check()?;
        let (code, reason) = match disconnect.disconnect {
            None => (None, None),
            Some(with) if !(3_000..5_000).contains(&with.code) => {
                return Err(Fault::bad("the code of a disconnect must be from 3000 to 4999"));
            }
            Some(with) if with.reason.len() > REASON_BYTES_MAX => {
                return Err(Fault::bad(format!("a reason must have at most {REASON_BYTES_MAX} bytes")));
            }
            Some(with) => (Some(with.code), Some(with.reason.into())),
        };
        self.order(whom, Order::Dismiss { code, reason }).await
    }

    async fn refresh(&self, whom: Whom, refresh: &requests::Refresh) -> Answer {
        let order = match refresh {
            requests::Refresh { expired: true, .. } => {
                Order::Dismiss { code: Some(3005), reason: Some("expired".into()) }
            }
            requests::Refresh { expire_at: 0, .. } => Order::Refresh(None),
            requests::Refresh { expire_at, .. } => Order::Refresh(Some(expire_at.saturating_mul(1_000))),
        };
        self.order(whom, order).await
    }

    /// Has something done on connections. Nobody there is no error.
    async fn order(&self, whom: Whom, order: Order) -> Answer {
        whom.check()?;
        let tenant = self.tenant(whom.tenant.as_deref())?;
        let user: Arc<str> = whom.user.into();
        let edge = &self.api.0.edge;
        let to = match whom.client.filter(|client| !client.is_empty()) {
            None if user.is_empty() => return Err(Fault::bad("user must be given")),
            None => To::User { user, tenant: Some(tenant) },
            Some(client) => {
                let is_meant =
                    move |principal: &Principal| principal.topic_tenant() == tenant && principal.user == user;
                // Who somebody is does not change while that one is connected.
                if edge.visit(&client, move |_, principal| is_meant(principal)).await? != Some(true) {
                    return Ok(answers::nothing());
                }
                To::Client(client.into())
            }
        };
        edge.dispatch(&to, &order)?;
        Ok(answers::nothing())
    }

    async fn presence(&mut self, of: OfChannel) -> Answer {
        self.room()?;
        let ask = PresenceAsk { limit: NAMES_MAX, ..PresenceAsk::default() };
        let Presence { members, .. } = self.present(&of, ask).await?;
        match members {
            Members::Page(members, None) => self.bring(answers::presence(members.iter().map(|member| &**member))),
            Members::Page(..) | Members::Changes { .. } => {
                Err(Fault::limit(format!("more than {NAMES_MAX} are present; GET /v1/topics/…/presence has pages")))
            }
        }
    }

    async fn presence_stats(&self, of: &OfChannel) -> Answer {
        let Presence { clients, users, .. } = self.present(of, PresenceAsk::default()).await?;
        Ok(json!({ "num_clients": clients, "num_users": users }).to_string().into_bytes())
    }

    async fn present(&self, of: &OfChannel, ask: PresenceAsk) -> Result<Presence, Fault> {
        let topic = self.topic(TopicVerb::Presence, &of.channel, of.tenant.as_deref())?;
        Ok(self.api.topics().broker.presence(&topic, ask).wait().await?)
    }

    async fn history(&mut self, history: requests::History) -> Answer {
        let topic = self.topic(TopicVerb::History, &history.channel, history.tenant.as_deref())?;
        let limit = usize::try_from(history.limit).unwrap_or(HISTORY_MAX).min(HISTORY_MAX);
        // As JSON a record is longer than it is, but hardly ever twice as long.
        let bytes_max = self.room()? / 2;
        let range = Range { since: history.since.as_ref().map(since), limit, reverse: history.reverse, bytes_max };
        let history = self.api.topics().broker.history(&topic, range).wait().await?;
        self.bring(answers::history(&history))
    }

    async fn history_remove(&self, of: &OfChannel) -> Answer {
        let topic = self.topic(TopicVerb::History, &of.channel, of.tenant.as_deref())?;
        self.api.topics().broker.forget(&topic).wait().await?;
        Ok(answers::nothing())
    }

    /// Those with subscribers.
    fn channels(&mut self, channels: &requests::Channels) -> Answer {
        self.room()?;
        let tenant = self.tenant(channels.tenant.as_deref())?;
        let pattern = pattern(channels.pattern.as_deref())?;
        let mut found = BTreeMap::new();
        self.api.topics().relay.subscribed(|topic, subscribers| {
            let is_asked =
                topic.tenant == tenant && pattern.as_ref().is_none_or(|pattern| pattern.is_match(&*topic.name));
            // One more says that there are more.
            if is_asked && !topic.name.starts_with('$') && found.len() <= NAMES_MAX {
                found.insert(topic.name.clone(), json!({ "num_clients": subscribers }));
            }
        });
        if found.len() > NAMES_MAX {
            return Err(Fault::limit(format!("there are more than {NAMES_MAX} channels; give a pattern")));
        }
        self.bring(json!({ "channels": found }).to_string().into_bytes())
    }

    /// This process, which is the only one that it knows of.
    fn info(&self) -> Vec<u8> {
        let (mut channels, mut subscriptions) = (0, 0);
        self.api.topics().relay.subscribed(|_, subscribers| {
            channels += 1;
            subscriptions += subscribers;
        });
        let node = json!({
            "uid": &*self.api.0.uid,
            "name": "tidegate",
            "version": env!("CARGO_PKG_VERSION"),
            "num_clients": self.api.0.edge.metrics().connections.load(Ordering::Relaxed),
            "num_channels": channels,
            "num_subs": subscriptions,
            "uptime": self.api.0.started.elapsed().as_secs(),
        });
        json!({ "nodes": [node] }).to_string().into_bytes()
    }

    fn topic(&self, verb: TopicVerb, channel: &str, tenant: Option<&str>) -> Result<Arc<Topic>, Fault> {
        Ok(self.api.topic(self.principal, verb, channel, tenant.or(self.tenant.as_deref()))?)
    }

    fn tenant(&self, named: Option<&str>) -> Result<Tenant, Fault> {
        Ok(self.principal.named_topic_tenant(named.or(self.tenant.as_deref()))?)
    }

    /// So many more publications.
    fn take(&mut self, publications: usize) -> Result<(), Fault> {
        let too_many = || Fault::limit(format!("a request publishes at most {MESSAGES_MAX} times; send several"));
        self.publications_left = self.publications_left.checked_sub(publications).ok_or_else(too_many)?;
        Ok(())
    }

    /// Bytes that answers may still have.
    fn room(&self) -> Result<usize, Fault> {
        Some(self.bytes_left).filter(|left| *left > 0).ok_or_else(too_long)
    }

    /// The answer, where it fits.
    fn bring(&mut self, answer: Vec<u8>) -> Answer {
        let left = self.bytes_left.checked_sub(answer.len());
        // After one that does not fit nothing more is read for nothing.
        self.bytes_left = left.unwrap_or(0);
        left.map(|_| answer).ok_or_else(too_long)
    }
}

fn too_long() -> Fault {
    Fault::limit(format!("a request is answered with at most {ANSWERS_BYTES_MAX} bytes; send several"))
}

fn since(position: &Position) -> Since {
    Since { epoch: position.epoch.as_str().into(), offset: position.offset }
}

/// The channels that are asked about; `None` is all.
fn pattern(pattern: Option<&str>) -> Result<Option<GlobMatcher>, Fault> {
    match pattern.filter(|pattern| !pattern.is_empty()) {
        None => Ok(None),
        Some(pattern) if pattern.len() > PATTERN_BYTES_MAX => {
            Err(Fault::bad(format!("a pattern must have at most {PATTERN_BYTES_MAX} bytes")))
        }
        Some(pattern) => {
            let glob = Glob::new(pattern).map_err(|error| Fault::bad(error.to_string()))?;
            Ok(Some(glob.compile_matcher()))
        }
    }
}
