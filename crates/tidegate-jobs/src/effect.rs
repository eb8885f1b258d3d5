//! What follows from something that happened to jobs. Whoever drives them carries it out: first all that is stored, in one commit, and
//! when that is durable the rest.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::lease::Budget;
use crate::{Accepted, CredentialId, Entry, JobId, Owner, ResultId, SessionId, Told};

/// Something to be carried out. In order.
#[derive(Debug)]
pub enum Effect {
    /// A job is new: to be stored whole. Its submitter hears its events from here on.
    New(Arc<Record>),
    /// More of its log: to be stored, then told to all who watch it.
    Log(Arc<Entry>),
    /// What a job needs to go on after a restart, beside its log: replaces what was kept before. The last of one commit counts.
    Keep {
        /// Which.
        job: JobId,
        /// What.
        kept: Arc<Kept>,
    },
    /// A credential is about to be made: its name is to be stored first.
    Issue {
        /// For which job.
        job: JobId,
        /// Its name.
        id: CredentialId,
    },
    /// A credential is to be revoked; forgotten in the store once that is done.
    Revoke {
        /// Of which job.
        job: JobId,
        /// Its name.
        id: CredentialId,
    },
    /// A job that waited for its credentials is accepted after all, or is not: told to its submitter, in the order of its submits.
    Settled {
        /// Which.
        job: JobId,
        /// Whether it was accepted.
        settled: Result<Arc<Accepted>, crate::Fault>,
    },
    /// Something for the agent of a job.
    Tell {
        /// Which.
        job: JobId,
        /// What.
        told: Told,
    },
    /// Events of a job up to this one are kept no longer.
    Trim {
        /// Which.
        job: JobId,
        /// The last of them.
        through: u64,
    },
    /// A job is forgotten: its log and its record go. Its idempotency key too, if its time has come.
    Forget {
        /// Which.
        job: JobId,
    },
}

/// What is stored of a job beside its log.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// As its client was told.
    pub accepted: Arc<Accepted>,
    /// Whose it is.
    pub owner: Owner,
    /// On which session it was submitted; it alone may cancel.
    pub session: SessionId,
    /// The envelope that submitted it; `None` for a delegated job.
    pub request_id: Option<Arc<str>>,
    /// So that the same is done once.
    pub key: Option<Idempotency>,
    /// When it is stopped, in milliseconds since 1970.
    pub ends_at_ms: Option<u64>,
    /// How many delegations it is away from a client: 0 for a job that one submitted.
    pub depth: u8,
}

/// An idempotency key and what was asked with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Idempotency {
    /// As the client chose it; one owner's.
    pub key: Arc<str>,
    /// A hash of the parameters (SHA-256), with object keys in order.
    pub parameters: [u8; 32],
}

/// What a job needs to go on after a restart, beside its log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// What its agent said up to this number was heard.
    pub said: u64,
    /// Whether its agent has begun.
    pub is_running: bool,
    /// What is left, children's reserves taken off.
    pub budget: Option<Budget>,
    /// The result that is being streamed.
    pub result: Option<Streaming>,
}

/// A result as far as it was streamed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Streaming {
    /// Its name.
    pub id: ResultId,
    /// Chunks so far.
    pub chunks: u64,
    /// Bytes so far, decoded.
    pub bytes: u64,
    /// Whether its last chunk was said.
    pub is_whole: bool,
}
