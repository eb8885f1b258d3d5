//! Live queries: the channel `live:<entity>:<a name of the client's>`, with the query in the subscribe's data.
//!
//! | of the channel | is of the query |
//! |---|---|
//! | `data` of the subscribe's result | `{"deltas":[…]}`: the snapshot, from `reset` to `ready` |
//! | a publication's `data` | `{"deltas":[…]}`: the frames of one transaction |
//! | `epoch` | the incarnation of the store and the fingerprint of the view, as in a resume token |
//! | `offset` | the position, so offsets grow and are not consecutive |
//! | recovery | an exact resume: the result says `recovered`, and what was missed follows it as publications |
//! | an `unsubscribe` push with code 2500 | a reset: the client subscribes anew |
//!
//! `rpc live.reanchor` with `{"channel", "cursor"?, "limit"?}` moves the window: the next publication begins with a `reset`
//! and brings the epoch that belongs to it. Who missed more than [`MISSED_MAX`] batches begins anew.

use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use tidegate_live::{EndReason, View};
use tidegate_model::{Batch, Op, Position, Query, SubscriptionId, json as model_json};
use tidegate_session::{Session, Started};

use super::channel::{Channel, Kind};
use super::codes::{ErrorCode, Unsubscribed};
use super::encoding::Encoding;
use super::fault::Fault;
use super::protocol::Centrifugo;
use super::subscribe::LIVE;
use super::wire::{self, Push, Reply, RpcResult, SubscribeRequest, SubscribeResult};
use crate::frames::{self, put};
use crate::out::Out;

/// The method that moves a window.
pub(super) const REANCHOR: &str = "live.reanchor";
/// Batches that a recovery brings at most.
const MISSED_MAX: u32 = 300;
/// Longest name of a channel, in bytes.
const NAME_BYTES_MAX: usize = 255;
/// Re-anchors that wait for their answer.
const MOVES_MAX: usize = 16;
/// What closes the data of a message of `/ws`, and stands at the end of a batch's body.
const ENDS: usize = b"}}".len();

/// A live query, as a client has it.
pub(super) struct Watched {
    query: Arc<Query>,
    answer: Option<Asked>,
    /// Re-anchors without an answer: their number, and the command's.
    moves: Vec<(u64, u32)>,
    /// Whether the next batch may begin with a `reset`, because the window was moved.
    is_moved: bool,
    /// Up to where batches were missed, and how many of those came.
    missed: (Position, u32),
}

/// A subscribe that waits for its answer.
struct Asked {
    id: u32,
    was_recovering: bool,
    epoch: String,
    offset: u64,
    is_fresh: bool,
}

#[derive(Deserialize)]
struct Move<'a> {
    channel: String,
    #[serde(borrow)]
    cursor: Option<&'a RawValue>,
    limit: Option<u32>,
}

impl Centrifugo {
    pub(super) fn watch(&mut self, session: &mut Session, id: u32, request: SubscribeRequest) -> Result<(), Fault> {
        if self.channel(&request.channel).is_some() {
            return Err(ErrorCode::AlreadySubscribed.into());
        }
        if request.r#type != 0 || request.tf.is_some() {
            return Err(ErrorCode::NotAvailable.into());
        }
        let entity = entity(&request.channel).ok_or_else(|| Fault::bad("a live query is `live:<entity>:<name>`"))?;
        let query = str::from_utf8(&request.data).map_err(|_| Fault::bad("data must be the query, as JSON"))?;
        let begins_anew = self.anew.iter().position(|name| **name == *request.channel);
        let begins_anew = begins_anew.map(|at| self.anew.swap_remove(at)).is_some();
        let token = format!("{}.{}", request.epoch, request.offset);
        let token = Some(&*token).filter(|_| request.recover && !begins_anew);
        let (want, _) = self.edge.want(self.known()?, query, token, false)?;
        if &**want.query.entity.name() != entity {
            return Err(Fault::bad("the query must be of the channel's entity"));
        }
        let query = want.query.clone();
        let (sub, _) = session.subscribe(want)?;
        let SubscribeRequest { channel, recover: was_recovering, epoch, offset, .. } = request;
        let answer = Some(Asked { id, was_recovering, epoch, offset, is_fresh: false });
        let watched = Watched { query, answer, moves: Vec::new(), is_moved: false, missed: (Position(0), 0) };
        self.channels.push(Channel { name: channel.into(), id: sub, kind: Kind::Live(Box::new(watched)) });
        Ok(())
    }

    pub(super) fn reanchor(&mut self, session: &mut Session, id: u32, data: &Bytes) -> Result<(), Fault> {
        let wrong = |_| Fault::bad("data must be {\"channel\", \"cursor\"?, \"limit\"?}");
        let Move { channel, cursor, limit } = serde_json::from_slice(data).map_err(wrong)?;
        let sub = self.channel(&channel).map(|channel| channel.id).ok_or(ErrorCode::UnknownChannel)?;
        let watched = self.watched(sub).filter(|watched| watched.answer.is_none()).ok_or(ErrorCode::UnknownChannel)?;
        if watched.moves.len() >= MOVES_MAX {
            return Err(ErrorCode::TooManyRequests.into());
        }
        let moved = watched.query.reanchored(cursor, limit.map(Into::into)).map_err(crate::ApiError::from)?;
        let moved = Arc::new(moved);
        let number = session.reanchor(sub, moved.clone())?;
        watched.moves.push((number, id));
        watched.query = moved;
        Ok(())
    }

    fn watched(&mut self, id: SubscriptionId) -> Option<&mut Watched> {
        match &mut self.channel_of(id)?.kind {
            Kind::Live(watched) => Some(watched),
            Kind::Topic(_) => None,
        }
    }

    /// The feed is joined.
    pub(super) fn started(&mut self, id: SubscriptionId, started: Started, out: &mut Out) {
        let Started { request, resumed, position } = started;
        let Some(watched) = self.watched(id) else { return };
        if let Some(asked) = &mut watched.answer {
            asked.is_fresh = !resumed;
            if resumed && let Some(asked) = watched.answer.take() {
                watched.missed = (position, 0);
                let (epoch, offset) = (asked.epoch.clone(), asked.offset);
                self.answer(&asked, SubscribeResult { recovered: true, epoch, offset, ..Default::default() }, out);
            }
            return;
        }
        // A later re-anchor overtakes an earlier one: one start answers both.
        watched.is_moved |= !watched.moves.is_empty();
        let answered: Vec<_> = watched.moves.extract_if(.., |(number, _)| *number <= request).collect();
        for (_, id) in answered {
            let data = format!("{{\"position\":\"{position}\"}}").into();
            self.put(&Reply { id, rpc: Some(RpcResult { data }), ..Reply::default() }, out);
        }
    }

    /// A batch is handed over.
    pub(super) fn frames(
        &mut self,
        id: SubscriptionId,
        view: &Arc<View>,
        batch: &Arc<Batch>,
        from: usize,
        out: &mut Out,
    ) {
        let encoding = self.encoding;
        let Some(channel) = self.channel_of(id) else { return };
        let Kind::Live(watched) = &mut channel.kind else { return };
        let is_reset = batch.deltas.get(from).is_some_and(|delta| delta.op == Op::Reset);
        let body = batch.body(|batch| frames::encode(view, batch));
        let (lead, range) = frames::part(body, tidegate_model::Part::From(from));
        let shared = body.bytes.get(range).unwrap_or_default();
        let list = shared.get(..shared.len().saturating_sub(ENDS)).unwrap_or_default();
        let deltas = |to: &mut Vec<u8>| {
            to.extend_from_slice(b"{\"deltas\":");
            to.extend_from_slice(lead);
            to.extend_from_slice(list);
            to.push(b'}');
        };
        let offset = batch.position.0;
        if let Some(asked) = watched.answer.take_if(|asked| asked.is_fresh) {
            let mut data = Vec::new();
            deltas(&mut data);
            let (data, epoch) = (data.into(), epoch(view, batch));
            return self.answer(&asked, SubscribeResult { data, epoch, offset, ..Default::default() }, out);
        }
        if is_reset && !watched.is_moved {
            return self.lose(id, Unsubscribed::Insufficient, out);
        }
        let epoch = if std::mem::take(&mut watched.is_moved) { epoch(view, batch) } else { String::new() };
        let (until, count) = &mut watched.missed;
        *count += u32::from(batch.position <= *until);
        if *count > MISSED_MAX {
            let name = channel.name.clone();
            self.anew.retain(|other| *other != name);
            // Of one that is forgotten here the client misses too much again, and is told so again.
            if self.anew.len() >= self.edge.config().max_subscriptions {
                self.anew.remove(0);
            }
            self.anew.push(name);
            return self.lose(id, Unsubscribed::Insufficient, out);
        }
        match encoding {
            Encoding::Json => {
                let head = out.head();
                head.extend_from_slice(b"{\"push\":{\"channel\":");
                model_json::write_string(&channel.name, head);
                head.extend_from_slice(b",\"pub\":{\"data\":");
                deltas(head);
                if !epoch.is_empty() {
                    put(head, format_args!(",\"epoch\":\"{epoch}\""));
                }
                put(head, format_args!(",\"offset\":{offset}}}}}}}"));
                out.send();
            }
            Encoding::Protobuf | Encoding::Bare => {
                let mut data = Vec::new();
                deltas(&mut data);
                let publication = wire::Publication { data: data.into(), offset, epoch, ..Default::default() };
                let channel = channel.name.to_string();
                let push = Push { channel, publication: Some(publication), ..Push::default() };
                self.put(&Reply { push: Some(push), ..Reply::default() }, out);
            }
        }
    }

    /// The query is not served any more.
    pub(super) fn ended(&mut self, id: SubscriptionId, reason: &EndReason, out: &mut Out) {
        let fault = Fault::from(crate::ApiError::from(reason));
        self.end_watch(id, fault, out);
    }

    /// Its snapshot is more than a client may be sent.
    pub(super) fn too_large(&mut self, id: SubscriptionId, bytes: usize, out: &mut Out) {
        let fault = Fault::from(crate::ApiError::too_large(bytes));
        self.end_watch(id, fault, out);
    }

    /// A subscribe that is not answered is refused; otherwise the client subscribes again, and then is.
    fn end_watch(&mut self, id: SubscriptionId, fault: Fault, out: &mut Out) {
        let Some(watched) = self.watched(id) else { return };
        match watched.answer.take() {
            Some(asked) => {
                self.forget(id);
                self.put(&fault.reply(asked.id), out);
            }
            None => self.lose(id, Unsubscribed::Insufficient, out),
        }
    }

    /// Answers what waits for a list that is no more.
    pub(super) fn abandon(&mut self, session: &mut Session, channel: Option<Channel>) {
        let Some(Channel { kind: Kind::Live(watched), .. }) = channel else { return };
        let moves = watched.moves.iter().map(|(_, id)| *id);
        for id in watched.answer.iter().map(|asked| asked.id).chain(moves) {
            self.refuse(session, id, Fault::bad("the channel was unsubscribed meanwhile"));
        }
    }

    fn answer(&mut self, asked: &Asked, result: SubscribeResult, out: &mut Out) {
        let was_recovering = asked.was_recovering;
        let result = SubscribeResult { recoverable: true, positioned: true, was_recovering, ..result };
        self.put(&Reply { id: asked.id, subscribe: Some(result), ..Reply::default() }, out);
    }
}

/// The entity of a channel, if that is named as it has to be.
fn entity(channel: &str) -> Option<&str> {
    let (entity, name) = channel.strip_prefix(LIVE)?.split_once(':')?;
    (channel.len() <= NAME_BYTES_MAX && !entity.is_empty() && !name.is_empty()).then_some(entity)
}

/// What precedes the position in a resume token.
fn epoch(view: &View, batch: &Batch) -> String {
    let token = view.token(batch, batch.deltas.len());
    format!("{:x}.{:x}", token.incarnation, token.fingerprint)
}
