//! `GET /arcp/worker`: agents that connect from outside and serve jobs, in [lines](tidegate_jobs::agents::workers) of JSON, one a
//! text message.
//!
//! ```text
//!  messages ─► WorkerLink ─► the way from agents to the runtime      one that finds no room waits, and so does the reading
//!  socket   ◄─ session's replies ◄─ WorkerEar                        as many as there is room for
//! ```
//!
//! # Who may
//! Agents are everybody's: a worker has the inputs and credentials of jobs of all tenants. So it is an API key's, or a user's that
//! belongs to no tenant and has the permission to `serve`; never a tenant's user or a stranger, whatever they are granted.
//!
//! # Invariants
//! - **Read as fast as the store takes it**, which all agents share, and not by messages a second: a worker speaks for many jobs.
//! - **A worker that does not read is cut**: by the write timeout, or when 8,192 lines wait for it. Nobody waits for it meanwhile.
//! - **The end of the connection ends no job.** What was on its way to the runtime and found no room is said again by the next one.

use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use axum::http::{Request, Response};
use futures_util::FutureExt as _;
use hyper::body::Incoming;
use tidegate_identity::{AgentVerb, Authority, Principal, PrincipalKind, Refusal};
use tidegate_jobs::agents::lines::LINE_BYTES_MAX;
use tidegate_jobs::agents::{Agents, WorkerEar, WorkerLink};
use tidegate_jobs::{Code, Fault};
use tidegate_model::Tenant;
use tidegate_session::runtime::Runtime;
use tidegate_session::{CloseReason, Item, Session};
use tokio::time::Instant;

use super::protocol::owner;
use crate::admitted::Link;
use crate::http::Site;
use crate::metrics::{EdgeMetrics, count};
use crate::out::Out;
use crate::protocol::Protocol;
use crate::stream::Payload;
use crate::{ApiError, upgrade};

pub(crate) async fn open(
    site: &Rc<Site>,
    link: &Rc<Link>,
    request: Request<Incoming>,
    runtime: &Runtime,
) -> Result<Response<Payload>, ApiError> {
    let entrance = upgrade::enter(site, &request)?.for_messages(LINE_BYTES_MAX);
    let pass = site.worker.pass(&request).await?;
    let edge = &site.worker.edge;
    is_trusted(pass.principal()).map_err(|refusal| edge.refuse(refusal))?;
    let protocol = Worker {
        agents: runtime.agents().clone(),
        authority: edge.authority().clone(),
        principal: pass.principal().clone(),
        metrics: edge.metrics().clone(),
        stage: Stage::Fresh,
        next: None,
        waker: None,
    };
    Ok(upgrade::switch(site, link, request, entrance, Box::new(protocol), Some(pass), "worker"))
}

/// Whether one may be given jobs of all tenants, if its permissions say so.
fn is_trusted(principal: &Principal) -> Result<(), Refusal> {
    match principal.kind {
        PrincipalKind::ApiKey => Ok(()),
        PrincipalKind::User if principal.topic_tenant() == Tenant::common() => Ok(()),
        PrincipalKind::User | PrincipalKind::Anonymous => {
            Err(Refusal::forbidden("agents are served for all tenants: by an API key, or a user that belongs to none"))
        }
    }
}

/// A worker's connection.
struct Worker {
    agents: Arc<Agents>,
    authority: Arc<dyn Authority>,
    principal: Arc<Principal>,
    metrics: Arc<EdgeMetrics>,
    stage: Stage,
    /// A line that there is no room for yet.
    next: Option<String>,
    /// To be woken when there is.
    waker: Option<Waker>,
}

enum Stage {
    /// It has not said anything.
    Fresh,
    Registering(Waiting<(WorkerLink, WorkerEar)>),
    Serving {
        link: Arc<WorkerLink>,
        ear: WorkerEar,
        /// What it said last waits for room.
        saying: Option<Waiting<()>>,
    },
}

type Waiting<T> = Pin<Box<dyn Future<Output = Result<T, Fault>>>>;

impl Worker {
    fn register(&self, line: &str) -> Waiting<(WorkerLink, WorkerEar)> {
        let (agents, line) = (self.agents.clone(), line.to_owned());
        let (authority, principal) = (self.authority.clone(), self.principal.clone());
        Box::pin(async move {
            let may_serve = |agent: &str| authority.agent(&principal, AgentVerb::Serve, agent).is_ok();
            WorkerLink::register(agents, &owner(&principal), &line, may_serve).await
        })
    }

    /// Says why the connection ends.
    fn refuse(&self, session: &mut Session, fault: &Fault) -> CloseReason {
        session.reply(WorkerLink::refused(fault));
        match fault.code {
            Code::InternalError => CloseReason::Overloaded,
            Code::InvalidRequest => {
                count(&self.metrics.malformed);
                match self.stage {
                    Stage::Fresh | Stage::Registering(_) => CloseReason::FirstMessage,
                    Stage::Serving { .. } => CloseReason::Refused,
                }
            }
            _ => CloseReason::Refused,
        }
    }

    /// Goes on with what waits for room; what it came to.
    fn go_on(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        if let Stage::Registering(registering) = &mut self.stage {
            let (link, ear) = std::task::ready!(registering.as_mut().poll(cx))?;
            self.stage = Stage::Serving { link: Arc::new(link), ear, saying: None };
        }
        if let Stage::Serving { saying, .. } = &mut self.stage
            && let Some(waits) = saying
        {
            let said = std::task::ready!(waits.as_mut().poll(cx));
            *saying = None;
            return Poll::Ready(said);
        }
        Poll::Ready(Ok(()))
    }

    /// Tells the worker what there is for it, as far as there is room.
    fn tell(&mut self, session: &mut Session, cx: &mut Context<'_>) -> Result<(), CloseReason> {
        let Stage::Serving { ear, .. } = &mut self.stage else { return Ok(()) };
        loop {
            let line = match self.next.take() {
                Some(line) => line,
                None => match pin!(ear.next()).poll(cx) {
                    Poll::Ready(Some(line)) => line,
                    // More waited for it than may.
                    Poll::Ready(None) => return Err(CloseReason::SlowClient),
                    Poll::Pending => return Ok(()),
                },
            };
            if session.is_ready() && line.len() > session.reply_room() {
                self.next = Some(line);
                self.waker = Some(cx.waker().clone());
                return Ok(());
            }
            session.reply(line);
        }
    }
}

impl Protocol for Worker {
    fn text(&mut self, session: &mut Session, text: &str, _: Instant) -> Result<(), CloseReason> {
        match &mut self.stage {
            Stage::Fresh => self.stage = Stage::Registering(self.register(text)),
            Stage::Registering(_) => return Err(CloseReason::FirstMessage),
            Stage::Serving { link, saying, .. } => match link.say(text).now_or_never() {
                Some(said) => return said.map_err(|fault| self.refuse(session, &fault)),
                None => {
                    let (link, line) = (link.clone(), text.to_owned());
                    *saying = Some(Box::pin(async move { link.say(&line).await }));
                }
            },
        }
        Ok(())
    }

    fn is_full(&self) -> bool {
        match &self.stage {
            Stage::Fresh => false,
            Stage::Registering(_) => true,
            Stage::Serving { saying, .. } => saying.is_some(),
        }
    }

    fn is_paced(&self) -> bool {
        false
    }

    fn item(&mut self, item: Item, out: &mut Out) -> Result<(), CloseReason> {
        // It has nothing else.
        if let Item::Reply(line) = item {
            out.text(&line);
        }
        Ok(())
    }

    fn written(&mut self, session: &mut Session) {
        if !session.is_ready()
            && let Some(waker) = self.waker.take()
        {
            waker.wake();
        }
    }

    fn poll(&mut self, session: &mut Session, cx: &mut Context<'_>) -> Result<(), CloseReason> {
        if let Poll::Ready(Err(fault)) = self.go_on(cx) {
            return Err(self.refuse(session, &fault));
        }
        self.tell(session, cx)
    }

    fn missing(&self) -> Option<CloseReason> {
        matches!(self.stage, Stage::Fresh).then_some(CloseReason::FirstMessage)
    }
}
