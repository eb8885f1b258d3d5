//! A live connection's place: who is there, and why it ended.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tidegate_session::CloseReason;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::Edge;
use crate::cap::Place;
use crate::metrics::{Transport, count};
use crate::quota::Grip;
use crate::register::Pass;
use crate::strangers::StrangerId;

/// One socket, for as long as anything is on it.
pub(crate) struct Link {
    /// As logs name it.
    pub(crate) id: u64,
    pub(crate) peer: SocketAddr,
    /// Whether the socket gave up on a peer that took nothing.
    pub(crate) timed_out: Arc<AtomicBool>,
    /// Cuts the socket.
    pub(crate) cut: CancellationToken,
    /// Whether it carries several clients: HTTP/2.
    pub(crate) is_shared: Cell<bool>,
    /// How many requests came on it.
    pub(crate) requests: Cell<u64>,
    /// What it is among those who have yet to say something.
    pub(crate) stranger: StrangerId,
    _seat: Seat,
}

impl Link {
    pub(crate) fn new(id: u64, peer: SocketAddr, stranger: StrangerId, cut: CancellationToken, seat: Seat) -> Self {
        Self {
            id,
            peer,
            timed_out: Arc::default(),
            cut,
            is_shared: Cell::new(false),
            requests: Cell::new(0),
            stranger,
            _seat: seat,
        }
    }
}

/// A socket's place in the process and on its worker.
pub(crate) struct Seat {
    #[expect(dead_code, reason = "it is given back when this is dropped")]
    pub(crate) place: Place,
    /// How many sockets its worker has.
    pub(crate) load: Arc<AtomicUsize>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.load.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A place among the live connections. Dropping it gives it back, counts the close and logs it.
pub(crate) struct Admitted {
    pub(crate) edge: Edge,
    link: Rc<Link>,
    /// The endpoint, and how it is carried.
    kind: &'static str,
    transport: Transport,
    pass: Option<Pass>,
    /// When the identity ends.
    expires_at: Option<Instant>,
    trace_parent: Option<Box<str>>,
    reason: Option<CloseReason>,
    _place: Place,
}

impl Admitted {
    pub(crate) fn new(edge: &Edge, link: &Rc<Link>, place: Place, kind: &'static str, transport: Transport) -> Self {
        let metrics = edge.metrics();
        count(&metrics.connections);
        count(&metrics.connections_by[transport as usize]);
        count(&metrics.connections_total);
        let (edge, link) = (edge.clone(), link.clone());
        Self {
            edge,
            link,
            kind,
            transport,
            pass: None,
            expires_at: None,
            trace_parent: None,
            reason: None,
            _place: place,
        }
    }

    /// Whose connection it is from now on.
    pub(crate) fn settle(&mut self, pass: Pass, now: Instant) {
        self.expires_at = self.edge.expiry(pass.principal().expires_at_ms, now);
        self.pass = Some(pass);
    }

    /// Its identity ends at another time now, if that is settled: milliseconds since 1970, `None` for never.
    pub(crate) fn refresh(&mut self, expires_at_ms: Option<u64>, now: Instant) {
        if self.pass.is_some() {
            self.expires_at = self.edge.expiry(expires_at_ms, now);
        }
    }

    /// Who is there, once that is settled.
    pub(crate) fn pass(&self) -> Option<&Pass> {
        self.pass.as_ref()
    }

    /// Its part of what its user and its tenant may have.
    pub(crate) fn grip(&self) -> Option<&Arc<Grip>> {
        self.pass.as_ref().and_then(Pass::grip)
    }

    /// When the identity ends.
    pub(crate) fn expires_at(&self) -> Option<Instant> {
        self.expires_at
    }

    /// Cuts the socket where no other client can be on it.
    pub(crate) fn cut(&self) {
        if !self.link.is_shared.get() {
            self.link.cut.cancel();
        }
    }

    /// The trace that the connection belongs to.
    pub(crate) fn trace(&mut self, parent: Option<&str>) {
        self.trace_parent = parent.map(Into::into);
    }

    /// Why the connection closes: the first reason stays.
    pub(crate) fn close(&mut self, reason: CloseReason) {
        self.reason.get_or_insert(reason);
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        // A socket that failed on a stalled write looks to its connection like a peer that went away.
        let timed_out = self.link.timed_out.load(Ordering::Relaxed);
        let reason = match self.reason {
            Some(CloseReason::Gone) | None if timed_out => CloseReason::WriteTimeout,
            reason => reason.unwrap_or(CloseReason::Gone),
        };
        let metrics = self.edge.metrics();
        metrics.connections.fetch_sub(1, Ordering::Relaxed);
        metrics.connections_by[self.transport as usize].fetch_sub(1, Ordering::Relaxed);
        count(&metrics.closed[reason as usize]);
        let principal = self.pass.as_ref().map(Pass::principal);
        let user = principal.map(|principal| &*principal.user);
        let session = principal.and_then(|principal| principal.session.as_deref());
        let Link { id, peer, .. } = &*self.link;
        let traceparent = self.trace_parent.as_deref();
        tracing::info!(id, %peer, user, session, traceparent, kind = self.kind, reason = reason.name(), "closed");
    }
}
