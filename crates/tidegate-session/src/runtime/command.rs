//! What connections ask of the runtime, and what they are told.

use std::fmt;
use std::sync::Arc;

use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};
use tidegate_jobs::credentials::Credential;
use tidegate_jobs::lease::{Constraints, Lease};
use tidegate_jobs::{
    Accepted, Asked, Descriptor, Entry, Fault, Inventory, JobId, Owner, Rights, SessionId, Status, TraceId,
};
use tidegate_live::ClientId;

/// A connection, as the runtime knows it: over which port it is reached, and as which client there. Never used again for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Link {
    /// The port.
    pub port: u64,
    /// The client behind it.
    pub client: ClientId,
}

/// What comes from a connection. In its order.
#[derive(Debug)]
pub struct Command {
    /// Which connection.
    pub from: Link,
    /// What it wants.
    pub wants: Wants,
}

/// What a connection wants.
pub enum Wants {
    /// A session: the first that it wants. Answered by [`Reply::Welcome`] or [`Reply::Refused`].
    Session(Box<Hello>),
    /// Something that a client asked for in an envelope with this id, which counts once in the session's life.
    Request(Arc<str>, Request),
    /// Its client has been heard, though it wants nothing: the welcome has arrived.
    Heard,
    /// What was processed: advisory.
    Ack {
        /// The envelope, for the refusal.
        id: Arc<str>,
        /// All up to here.
        seq: u64,
    },
    /// What the connection's socket took since it said so last: whoever reads is waited for, whoever does not is not.
    Took {
        /// The last event.
        seq: u64,
        /// Bytes of the events, as logs count them.
        bytes: u64,
    },
    /// The events after this number, as many as go into one answer: [`Reply::Events`].
    Events {
        /// The last that the connection has.
        after: u64,
    },
}

impl fmt::Debug for Wants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // There are inputs and tokens among them.
        f.write_str(match self {
            Self::Session(_) => "Session",
            Self::Request(..) => "Request",
            Self::Heard => "Heard",
            Self::Ack { .. } => "Ack",
            Self::Took { .. } => "Took",
            Self::Events { .. } => "Events",
        })
    }
}

/// A wish for a session, new or as before, from one whose identity is settled.
pub struct Hello {
    /// Who.
    pub owner: Owner,
    /// What that one may.
    pub rights: Arc<dyn Rights>,
    /// Whether acknowledgements were negotiated.
    pub acks: bool,
    /// The session to go on with.
    pub resume: Option<Resume>,
}

/// A session to go on with.
pub struct Resume {
    /// Which; `None` where only the token says it.
    pub session: Option<SessionId>,
    /// [`token_hash`] of the token that was shown.
    pub token: [u8; 32],
    /// The last event that the client has.
    pub last_event_seq: u64,
}

/// What is kept of a resume token, and compared: its SHA-256.
#[must_use]
pub fn token_hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// What a client asks for.
pub enum Request {
    /// A job.
    Submit(Box<Submission>),
    /// A job that cannot be meant: refused in its turn, with [`Reply::Rejected`], because clients tell answers to submits apart by
    /// their order.
    Reject {
        /// Why.
        fault: Fault,
        /// Of the submit.
        trace: Option<TraceId>,
    },
    /// The end of a job.
    Cancel {
        /// Which.
        job: JobId,
        /// Why; comes back with [`Reply::Cancelled`].
        reason: Option<Arc<str>>,
    },
    /// To see a job of another session, or its past.
    Subscribe {
        /// Which.
        job: JobId,
        /// Only events with higher numbers, in the numbering of the session that submitted the job.
        from_event_seq: u64,
        /// Whether to be shown what is kept, or the newest of it: as much as a session keeps, half of that while the job goes on.
        history: bool,
    },
    /// To see it no more. Not answered.
    Unsubscribe {
        /// Which.
        job: JobId,
    },
    /// The jobs that may be seen.
    List(Box<List>),
    /// The end of the session. Jobs go on.
    Close,
}

/// A job that a client asks for.
pub struct Submission {
    /// The agent.
    pub agent: Asked,
    /// Any JSON.
    pub input: Arc<RawValue>,
    /// What it may do.
    pub lease: Lease,
    /// Until when.
    pub constraints: Constraints,
    /// So that the same is done once.
    pub idempotency_key: Option<Arc<str>>,
    /// Seconds after which it is stopped.
    pub max_runtime_sec: Option<u64>,
    /// Else one is made.
    pub trace: Option<TraceId>,
}

/// Which jobs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct List {
    /// Of one of these; empty is any.
    pub status: Vec<Status>,
    /// Of that agent: `name` or `name@version`.
    pub agent: Option<Asked>,
    /// Accepted after, in milliseconds since 1970.
    pub created_after_ms: Option<u64>,
    /// Accepted before.
    pub created_before_ms: Option<u64>,
    /// At most so many, 1 to 1,000; 100 unless said otherwise.
    pub limit: Option<usize>,
    /// `next_cursor` of the page before.
    pub cursor: Option<Box<str>>,
}

/// Something for a connection.
#[derive(Debug)]
pub struct Letter {
    /// Whose.
    pub to: ClientId,
    /// What.
    pub reply: Reply,
}

/// What a connection is told. Those of one connection are in order: a job is accepted before its first event.
#[derive(Debug, Clone)]
pub enum Reply {
    /// It has a session.
    Welcome(Arc<Welcome>),
    /// It has none, and has to go.
    Refused(Fault),
    /// A job is accepted. In the order of the submits, as is the next.
    Accepted {
        /// The envelope that asked; `None` for a job that another delegated.
        request_id: Option<Arc<str>>,
        /// The job.
        accepted: Arc<Accepted>,
        /// For the submitter alone.
        credentials: Arc<[Credential]>,
    },
    /// A job is not.
    Rejected {
        /// The envelope that asked.
        request_id: Arc<str>,
        /// Why.
        fault: Fault,
        /// Of the submit.
        trace: Option<TraceId>,
    },
    /// A job is being ended; its end follows.
    Cancelled {
        /// The envelope that asked.
        request_id: Arc<str>,
        /// Which.
        job: JobId,
        /// As it was asked.
        reason: Option<Arc<str>>,
        /// Of the job.
        trace: TraceId,
    },
    /// From here on the client sees a job.
    Subscribed(Box<Subscribed>),
    /// Jobs that may be seen.
    Jobs {
        /// The envelope that asked.
        request_id: Arc<str>,
        /// Newest first.
        jobs: Vec<Listed>,
        /// Where the rest begins.
        next_cursor: Option<Box<str>>,
    },
    /// Something that was asked for is refused.
    Failed {
        /// The envelope that asked.
        request_id: Arc<str>,
        /// About which job, where it was about one.
        job: Option<JobId>,
        /// Why.
        fault: Fault,
    },
    /// The session has ended, as was asked: the connection closes.
    Closed,
    /// Another connection has the session now: this one closes at once.
    Fenced,
    /// The session's newest event.
    Event {
        /// Its number in the session.
        seq: u64,
        /// What.
        entry: Arc<Entry>,
    },
    /// Events that were asked for, in order, from the number after `after`. Empty if there is none.
    Events {
        /// The number before the first.
        after: u64,
        /// The events.
        events: Vec<Arc<Entry>>,
        /// The session's newest number when they were read.
        head: u64,
    },
}

/// A session. Never printed with its token.
pub struct Welcome {
    /// Which.
    pub session: SessionId,
    /// `rt_` and 64 hex digits. A secret: to be shown once.
    pub token: Box<str>,
    /// Whether it was there before.
    pub resumed: bool,
    /// The number after which events follow.
    pub after: u64,
    /// The session's newest number.
    pub head: u64,
    /// Seconds that it can be gone on with after its last connection.
    pub window_sec: u64,
    /// What can be asked for; the protocol shows what this client may submit.
    pub inventory: Arc<Inventory>,
    /// Whether credentials can be provisioned.
    pub provisions: bool,
    /// In milliseconds since 1970.
    pub at_ms: u64,
}

impl fmt::Debug for Welcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Welcome").field("session", &self.session).field("head", &self.head).finish_non_exhaustive()
    }
}

/// The authority descriptor of a job, and where its events begin.
#[derive(Debug, Clone)]
pub struct Subscribed {
    /// The envelope that asked.
    pub request_id: Arc<str>,
    /// The job.
    pub job: Descriptor,
    /// The last number that what is kept takes.
    pub subscribed_from: u64,
    /// How much of it there is.
    pub replayed: u64,
    /// For the submitter alone.
    pub credentials: Arc<[Credential]>,
}

/// A job in a list.
#[derive(Debug, Clone)]
pub struct Listed {
    /// The job.
    pub job: Descriptor,
    /// The number of its newest event, in the numbering of the session that submitted it.
    pub last_event_seq: u64,
}
