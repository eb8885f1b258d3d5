//! Maps: topics that keep the last value of each key. A client is told all values page by page, and from then on what
//! changes.
//!
//! It joins with the first page, and what happens from then on is held back until the last one, so nothing falls between
//! the pages. What a later page told already is told again then: values replace each other, so that does no harm. A
//! client that comes back to its position is told what it missed instead, or that it has to begin anew.

use std::sync::Arc;

use bytes::Bytes;
use tidegate_model::SubscriptionId;
use tidegate_session::Session;
use tidegate_topics::{Joined, Page, Topic, TopicError};

use super::channel::{Base, Kind, Told};
use super::codes::ErrorCode;
use super::fault::Fault;
use super::protocol::Centrifugo;
use super::subscribe::{Entering, is_delta, is_map};
use super::wire::{Reply, SubscribeRequest, SubscribeResult};

/// Values of one page: as many as are asked for, up to a bound.
const PAGE: usize = 100;
const PAGE_MAX: usize = 1_000;

/// What a client is told at once: of a subscribe these are its phases.
const STATE: i32 = 2;
const STREAM: i32 = 1;
const LIVE: i32 = 0;

/// A page that was asked for.
struct Asked {
    id: u32,
    sub: SubscriptionId,
    name: Box<str>,
    is_first: bool,
    data: Bytes,
}

impl Centrifugo {
    pub(super) fn is_paging(&mut self, channel: &str) -> bool {
        let told = self.channel(channel).and_then(|channel| channel.told());
        told.is_some_and(|told| told.paging.is_some())
    }

    /// Whoever asks for the first page again begins anew.
    pub(super) fn end_paging(&mut self, session: &mut Session, channel: &str) {
        if self.is_paging(channel)
            && let Some(id) = self.channel(channel).map(|channel| channel.id)
        {
            session.unsubscribe(id);
            self.forget(id);
        }
    }

    pub(super) fn enter_map(
        &mut self,
        session: &mut Session,
        id: u32,
        topic: Arc<Topic>,
        entering: Entering,
    ) -> Result<(), Fault> {
        if !is_map(&topic) {
            return Err(ErrorCode::NotAvailable.into());
        }
        let SubscribeRequest { phase, recover, epoch, cursor, .. } = &entering.request;
        match *phase {
            // Its first page was told on another connection, or is long gone.
            STATE if !cursor.is_empty() => Err(ErrorCode::UnrecoverablePosition.into()),
            STATE => self.enter_state(session, id, topic, entering),
            STREAM | LIVE if *recover || !epoch.is_empty() => self.enter_stream(session, id, topic, entering),
            _ => Err(Fault::bad("a map is subscribed to by its state, or by a position in its stream")),
        }
    }

    /// Goes on from a position, if everything after it is there.
    fn enter_stream(
        &mut self,
        session: &mut Session,
        id: u32,
        topic: Arc<Topic>,
        entering: Entering,
    ) -> Result<(), Fault> {
        let since = entering.since();
        self.join(session, topic, entering, since, move |this, session, sub, entering, joined| {
            // Where there is no history nobody can come back to a position.
            let joined = joined.map(|joined| Joined { recovered: Some(joined.recovered == Some(true)), ..joined });
            this.answer_entered(session, id, sub, &entering, joined);
        })
    }

    /// Begins with the first page.
    fn enter_state(
        &mut self,
        session: &mut Session,
        id: u32,
        topic: Arc<Topic>,
        entering: Entering,
    ) -> Result<(), Fault> {
        let of = topic.clone();
        self.join(session, topic, entering, None, move |this, session, sub, entering, joined| {
            let told = joined.and_then(|joined| this.told(&of, &entering).map(|told| (told, joined)));
            match told {
                Err(fault) => {
                    session.unsubscribe(sub);
                    this.refuse(session, id, fault);
                }
                Ok((told, joined)) => {
                    let name = &*entering.request.channel;
                    this.keep(name, sub, Told { paging: Some(joined.at), ..told });
                    let data = entering.permit.data.unwrap_or_default();
                    let asked = Asked { id, sub, name: name.into(), is_first: true, data };
                    this.page(session, &of, asked, None, entering.request.limit);
                }
            }
        })
    }

    /// A further page of a map that is being told.
    pub(super) fn next_page(
        &mut self,
        session: &mut Session,
        id: u32,
        request: &SubscribeRequest,
    ) -> Result<(), Fault> {
        let sub = self.channel(&request.channel).map(|channel| channel.id).ok_or(ErrorCode::Internal)?;
        let topic = session.topic(sub).cloned().ok_or(ErrorCode::UnrecoverablePosition)?;
        let name = request.channel.as_str().into();
        let asked = Asked { id, sub, name, is_first: false, data: Bytes::new() };
        self.page(session, &topic, asked, Some(&request.cursor), request.limit);
        Ok(())
    }

    fn page(&mut self, session: &mut Session, topic: &Arc<Topic>, asked: Asked, after: Option<&str>, limit: i32) {
        let limit = usize::try_from(limit).ok().filter(|limit| *limit > 0).unwrap_or(PAGE).min(PAGE_MAX);
        let answer = self.edge.topics().broker.values(topic, after, limit, self.room(session) / 4);
        let name = asked.name.clone();
        self.when(session, Some(&name), answer, move |this, session, page| this.paged(session, asked, page));
    }

    fn paged(&mut self, session: &mut Session, asked: Asked, page: Result<Page, TopicError>) {
        let Asked { id, sub, is_first, data, .. } = asked;
        let page = match page.map_err(Fault::from) {
            Ok(page) if session.topic(sub).is_some() => page,
            faulty => {
                session.unsubscribe(sub);
                self.forget(sub);
                let fault = faulty.err().unwrap_or_else(|| ErrorCode::UnrecoverablePosition.into());
                return self.refuse(session, id, fault);
            }
        };
        // Taken out, so that it can be looked at while there is more to say.
        let Some(mut channel) = self.forget(sub) else { return };
        let Kind::Topic(told) = &mut channel.kind else { return };
        let state = self.publications(&page.records, told);
        let first = told.paging.clone().unwrap_or_default();
        let mut result = SubscribeResult { r#type: 1, state, data, delta: is_delta(told.form), ..Default::default() };
        let mut begins = None;
        match page.next {
            Some(next) => {
                // Where the client goes on from is where it joined.
                (result.phase, result.cursor) = (STATE, next.into());
                (result.epoch, result.offset) = (first.epoch.to_string(), first.offset);
            }
            None => {
                told.paging = None;
                // All was told at one position, or else from the first page's on.
                let at = if is_first { page.at.clone() } else { first };
                told.base = Base::Keys(if is_first { 0 } else { page.at.offset });
                (result.phase, result.epoch, result.offset) = (LIVE, at.epoch.to_string(), at.offset);
                (result.recoverable, result.positioned) = (told.is_positioned, told.is_positioned);
                begins = Some(at);
            }
        }
        self.channels.push(channel);
        self.send(session, &Reply { id, subscribe: Some(result), ..Reply::default() });
        if let Some(at) = begins {
            self.flush(session);
            session.begin(sub, &at);
        }
    }
}
