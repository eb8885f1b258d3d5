//! `GET /v1/topics/stream?topic=a&topic=b`: what is published in some topics, as the body of an HTTP answer.
//!
//! | event | data | |
//! |---|---|---|
//! | `message`, which goes without saying | what was published, bare | |
//! | `binary` | the same in base64 | what is no JSON |
//! | `reset` | `{"topic"}` | something of the topic may be missing: what the client knew of it no longer holds |
//! | `dropped` | `{"topic","count"}` | so many before the next one, because the client was too slow for them |
//! | `error` | `{"code","message","retryable"}` | the last |
//!
//! An event's `id` is where the client is in all of the topics; one without data, after the topics are joined, says from where on
//! nothing is missed. `Last-Event-ID`, or `last_event_id` in the address, resumes: what was missed comes first, or `reset`.
//! With `Accept: application/x-ndjson` each is a line `{"id"?,"event"?,"topic"?,"data"?}`. Who comes and goes is not told.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::extract::Query;
use axum::http::{Request, Response, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::body::Incoming;
use tidegate_identity::{Principal, TopicVerb};
use tidegate_model::{Answer, Later, SubscriptionId, json};
use tidegate_session::{CloseReason, Item, Session, Wish};
use tidegate_topics::{Data, Joined, Kind, Publication, Published, Record, Since, Topic, TopicError};
use tokio::time::Instant;

use self::cursor::{Cursor, TOPICS_MAX, Written, mark};
use crate::admitted::Link;
use crate::application::{Peer, Permit};
use crate::format::Format;
use crate::frames::put;
use crate::http::Site;
use crate::order::Order;
use crate::out::Out;
use crate::passing::farewell;
use crate::protocol::Protocol;
use crate::stream::{Beginning, Opening, Payload};
use crate::{ApiError, Edge};

mod cursor;

/// Where publications keep the form for these streams: what is no JSON, in base64.
const SLOT: usize = 5;

pub(crate) async fn open(
    site: &Rc<Site>,
    link: &Rc<Link>,
    request: &Request<Incoming>,
) -> Result<Response<Payload>, ApiError> {
    let Query(asked) = Query::<Vec<(String, String)>>::try_from_uri(request.uri())?;
    let of = |name: &'static str| asked.iter().filter(move |(other, _)| other == name).map(|(_, value)| value.as_str());
    let header = request.headers().get("last-event-id").map(|id| id.as_bytes());
    let last = header.or(of("last_event_id").next().map(str::as_bytes)).filter(|id| !id.is_empty());
    // What is none of ours proves nothing: every topic begins anew.
    let cursor = last.map(|id| Cursor::parse(id).unwrap_or_default());
    let edge = &site.worker.edge;
    let place = edge.admit(&site.outside.drain, cursor.is_some())?;
    let pass = site.worker.pass(request).await?;
    let mut names: Vec<_> = of("topic").collect();
    names.sort_unstable();
    names.dedup();
    if names.is_empty() || names.len() > TOPICS_MAX {
        let message = format!("name 1 to {TOPICS_MAX} different topics");
        return Err(ApiError { path: Some("topic".to_owned()), ..ApiError::malformed(message) });
    }
    let tenant = pass.principal().named_topic_tenant(of("tenant").next())?;
    let may = |name| edge.topic_of(tenant.clone(), pass.principal(), TopicVerb::Subscribe, name);
    let topics = names.into_iter().map(may).collect::<Result<Vec<_>, _>>()?;
    let format = Format::accepted(request.headers());
    let principal = pass.principal().clone();
    let opening = Opening { site, link, headers: request.headers(), place, pass: Some(pass), format, kind: "topics" };
    opening.open(|_| {
        let protocol = TopicStream::new(edge.clone(), principal, topics, cursor.as_ref(), format, Instant::now());
        Ok(Beginning { protocol: Box::new(protocol), letterbox: None, message: None })
    })
}

/// One topic of a stream.
struct Lane {
    topic: Arc<Topic>,
    id: Option<SubscriptionId>,
    /// Up to where the client has been told.
    at: Published,
    /// Whether the client knows something of the topic already.
    resumes: bool,
}

/// What is under way; one at a time, so that an answer fits what may wait for the client.
enum Step {
    Asking(usize, Later<Permit, ApiError>),
    Joining(usize, SubscriptionId, Later<Joined, TopicError>),
}

struct TopicStream {
    edge: Edge,
    principal: Arc<Principal>,
    format: Format,
    /// In the order of a cursor.
    lanes: Vec<Lane>,
    /// Those that are not joined.
    outside: VecDeque<usize>,
    step: Option<Step>,
    /// What is to be told of one that is, in the order of the session.
    answer: Option<(usize, Joined)>,
    /// Whether the client knows that all are joined.
    is_told: bool,
    /// Set while somebody has to see to those outside.
    due: Option<Instant>,
    opened: Instant,
    failed: Option<ApiError>,
}

impl TopicStream {
    fn new(
        edge: Edge,
        principal: Arc<Principal>,
        mut topics: Vec<Arc<Topic>>,
        cursor: Option<&Cursor>,
        format: Format,
        now: Instant,
    ) -> Self {
        topics.sort_by_key(|topic| mark(&topic.name));
        let lanes: Vec<_> = topics
            .into_iter()
            .map(|topic| {
                let since = cursor.and_then(|cursor| cursor.find(&topic.name));
                let at = since.map(|since| Published { epoch: (*since.epoch).into(), offset: since.offset });
                Lane { topic, id: None, at: at.unwrap_or_default(), resumes: cursor.is_some() }
            })
            .collect();
        Self {
            edge,
            principal,
            format,
            outside: (0..lanes.len()).collect(),
            lanes,
            step: None,
            answer: None,
            is_told: false,
            due: None,
            opened: now,
            failed: None,
        }
    }

    fn cursor(&self) -> Written {
        Written::of(self.lanes.iter().map(|lane| (&*lane.topic.name, &lane.at)))
    }

    fn lane_of(&self, id: SubscriptionId) -> Option<usize> {
        self.lanes.iter().position(|lane| lane.id == Some(id))
    }

    fn fail(&mut self, error: ApiError) -> CloseReason {
        let reason = if error.retryable { CloseReason::Overloaded } else { CloseReason::Refused };
        self.failed = Some(error);
        reason
    }

    /// Asks the application whether the client may, where it wants to be asked.
    fn ask(&mut self, session: &mut Session, at: usize) -> Result<(), CloseReason> {
        let topic = self.lanes[at].topic.clone();
        if !topic.options.ask_subscribe {
            return self.join(session, at);
        }
        let Some(application) = self.edge.asked() else {
            let message = "the application is to be asked here, and there is none";
            return Err(self.fail(ApiError::new(StatusCode::FORBIDDEN, "forbidden", message)));
        };
        let peer = Peer::new(&self.edge, session.name().clone(), self.principal.clone());
        match application.may_subscribe(&peer, &topic) {
            Answer::Now(Ok(_)) => self.join(session, at),
            Answer::Now(Err(error)) => Err(self.fail(error)),
            Answer::Later(later) => {
                self.step = Some(Step::Asking(at, later));
                Ok(())
            }
        }
    }

    fn join(&mut self, session: &mut Session, at: usize) -> Result<(), CloseReason> {
        let peer = Peer::new(&self.edge, session.name().clone(), self.principal.clone());
        let lane = &self.lanes[at];
        let has_place = lane.resumes && !lane.at.epoch.is_empty();
        let since = has_place.then(|| Since { epoch: (*lane.at.epoch).into(), offset: lane.at.offset });
        let wish = Wish { topic: lane.topic.clone(), member: Some(peer.info().into()), since, hears_joins: false };
        let (id, answer) = session.join(wish).map_err(|error| self.fail(error.into()))?;
        match answer {
            Answer::Now(joined) => self.joined(session, at, id, joined),
            Answer::Later(later) => {
                self.step = Some(Step::Joining(at, id, later));
                Ok(())
            }
        }
    }

    fn joined(
        &mut self,
        session: &mut Session,
        at: usize,
        id: SubscriptionId,
        joined: Result<Joined, TopicError>,
    ) -> Result<(), CloseReason> {
        let joined = joined.map_err(|error| self.fail(error.into()))?;
        let lane = &mut self.lanes[at];
        lane.id = Some(id);
        let published = joined.at.clone();
        let is_whole = !lane.resumes || joined.recovered == Some(true);
        if is_whole && joined.records.is_empty() {
            lane.at = published.clone();
        } else {
            self.answer = Some((at, joined));
            session.reply(Bytes::new());
        }
        session.begin(id, &published);
        Ok(())
    }

    /// What was missed in a topic, or that this is not known; or that all are joined.
    fn tell(&mut self, out: &mut Out) {
        let Some((at, joined)) = self.answer.take() else {
            self.write(None, None, &[], out);
            return;
        };
        if joined.recovered != Some(true) {
            let lane = &mut self.lanes[at];
            lane.at = joined.at.clone();
            if std::mem::take(&mut lane.resumes) {
                let mut data = b"{\"topic\":".to_vec();
                json::write_string(&lane.topic.name, &mut data);
                data.push(b'}');
                self.write(Some("reset"), None, &data, out);
            }
        }
        for record in &joined.records {
            self.write_record(at, record, None, out);
        }
        self.lanes[at].at = joined.at;
    }

    fn write_record(&mut self, at: usize, record: &Record, publication: Option<&Arc<Publication>>, out: &mut Out) {
        if !matches!(record.kind, Kind::Message | Kind::Ephemeral) {
            return;
        }
        let lane = &mut self.lanes[at];
        if record.offset > 0 {
            lane.at = Published { epoch: record.epoch.clone(), offset: record.offset };
        }
        let topic = lane.topic.clone();
        let cursor = (record.offset > 0).then(|| self.cursor());
        let is_line = self.format == Format::Lines;
        match (&record.data, publication) {
            (Data::Json(bytes), _) if is_line => {
                // Between the tokens of JSON a line may end; inside them none can.
                let line: Vec<u8> = bytes.iter().map(|b| if matches!(b, b'\n' | b'\r') { b' ' } else { *b }).collect();
                write_line(None, cursor.as_ref(), Some(&topic), &line, out);
            }
            (Data::Json(bytes), _) => self.event(None, cursor.as_ref(), bytes, out),
            (Data::Binary(bytes), _) if is_line => {
                let data = format!("\"{}\"", STANDARD.encode(bytes));
                write_line(Some("binary"), cursor.as_ref(), Some(&topic), data.as_bytes(), out);
            }
            (Data::Binary(bytes), None) => {
                self.event(Some("binary"), cursor.as_ref(), STANDARD.encode(bytes).as_bytes(), out);
            }
            (Data::Binary(bytes), Some(publication)) => {
                out.event(Some("binary"), cursor.as_ref().map(|cursor| cursor as _));
                out.publication(publication, SLOT, false, |_| STANDARD.encode(bytes).into());
            }
        }
    }

    fn event(&self, name: Option<&str>, cursor: Option<&Written>, data: &[u8], out: &mut Out) {
        out.event(name, cursor.map(|cursor| cursor as _));
        out.text(data);
    }

    /// Something of the stream's own, with where the client is.
    fn write(&self, name: Option<&str>, topic: Option<&Topic>, data: &[u8], out: &mut Out) {
        let cursor = self.cursor();
        match self.format {
            Format::Lines => write_line(name, Some(&cursor), topic, data, out),
            _ if data.is_empty() => {
                // Without data it is no event for the client, only a place to come back to.
                out.event(None, Some(&cursor));
                out.frames(b"\n");
            }
            _ => self.event(name, Some(&cursor), data, out),
        }
    }
}

/// One line; `data` is JSON on one line.
fn write_line(name: Option<&str>, cursor: Option<&Written>, topic: Option<&Topic>, data: &[u8], out: &mut Out) {
    let head = out.head();
    let mut lead = b'{';
    let mut field = |name: &str, head: &mut Vec<u8>| {
        head.push(std::mem::replace(&mut lead, b','));
        put(head, format_args!("\"{name}\":"));
    };
    if let Some(cursor) = cursor {
        field("id", head);
        put(head, format_args!("\"{cursor}\""));
    }
    if let Some(name) = name {
        field("event", head);
        json::write_string(name, head);
    }
    if let Some(topic) = topic {
        field("topic", head);
        json::write_string(&topic.name, head);
    }
    if !data.is_empty() {
        field("data", head);
        head.extend_from_slice(data);
    }
    head.push(b'}');
    out.send();
}

impl Protocol for TopicStream {
    fn text(&mut self, _: &mut Session, _: &str, _: Instant) -> Result<(), CloseReason> {
        Ok(())
    }

    fn item(&mut self, item: Item, out: &mut Out) -> Result<(), CloseReason> {
        match item {
            Item::Publication { subscription, publication } => {
                if let Some(at) = self.lane_of(subscription) {
                    self.write_record(at, &publication.record, Some(&publication), out);
                }
            }
            Item::Reply(_) => self.tell(out),
            Item::Dropped(id, count) => {
                if let Some(at) = self.lane_of(id) {
                    let mut data = b"{\"topic\":".to_vec();
                    json::write_string(&self.lanes[at].topic.name, &mut data);
                    put(&mut data, format_args!(",\"count\":{count}}}"));
                    self.write(Some("dropped"), None, &data, out);
                }
            }
            Item::Gapped(id) => {
                if let Some(at) = self.lane_of(id) {
                    let lane = &mut self.lanes[at];
                    (lane.id, lane.resumes) = (None, true);
                    self.outside.push_back(at);
                    self.due = Some(self.opened);
                }
            }
            Item::Started(..) | Item::Frames { .. } | Item::Synced { .. } | Item::Ended(..) | Item::TooLarge(..) => {}
            Item::Told(_) | Item::Event { .. } => {}
        }
        Ok(())
    }

    fn poll(&mut self, session: &mut Session, cx: &mut Context<'_>) -> Result<(), CloseReason> {
        self.due = None;
        // What one topic brings is told before the next is joined: so it is bounded.
        while self.answer.is_none() {
            match self.step.take() {
                Some(Step::Asking(at, mut later)) => match later.as_mut().poll(cx) {
                    Poll::Ready(Ok(_)) => self.join(session, at)?,
                    Poll::Ready(Err(error)) => return Err(self.fail(error)),
                    Poll::Pending => {
                        self.step = Some(Step::Asking(at, later));
                        break;
                    }
                },
                Some(Step::Joining(at, id, mut later)) => match later.as_mut().poll(cx) {
                    Poll::Ready(joined) => self.joined(session, at, id, joined)?,
                    Poll::Pending => {
                        self.step = Some(Step::Joining(at, id, later));
                        break;
                    }
                },
                None => match self.outside.pop_front() {
                    Some(at) => self.ask(session, at)?,
                    None => {
                        if !std::mem::replace(&mut self.is_told, true) {
                            session.reply(Bytes::new());
                        }
                        break;
                    }
                },
            }
        }
        Ok(())
    }

    fn due(&self) -> Option<Instant> {
        self.due
    }

    fn tick(&mut self, _: &mut Session, _: Instant) -> Result<(), CloseReason> {
        // The task that is woken now sees to it.
        self.due = None;
        Ok(())
    }

    fn order(&mut self, session: &mut Session, order: Order, _: Instant) -> Result<(), CloseReason> {
        match order {
            Order::Dismiss { .. } => Err(CloseReason::Dismissed),
            Order::Unsubscribe { topic } if session.subscribed(&topic).is_some() => {
                let message = "a server ended the subscription to a topic of this stream";
                Err(self.fail(ApiError::new(StatusCode::FORBIDDEN, "unsubscribed", message)))
            }
            _ => Ok(()),
        }
    }

    fn farewell(&mut self, reason: CloseReason, out: &mut Out) {
        let Some(error) = self.failed.take().or_else(|| farewell(reason)) else { return };
        let mut data = b"{".to_vec();
        error.write_parts_retryable(&mut data);
        data.push(b'}');
        match self.format {
            Format::Lines => write_line(Some("error"), None, None, &data, out),
            _ => self.event(Some("error"), None, &data, out),
        }
    }
}
