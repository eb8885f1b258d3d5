//! One job.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Log;
use crate::credentials::Credential;
use crate::{CredentialId, Descriptor, Entry, JobId, Kept, Record, Status, What};

/// One job, from its acceptance until it is forgotten.
pub(super) struct Job {
    pub(super) record: Arc<Record>,
    pub(super) kept: Kept,
    pub(super) log: Log,
    pub(super) ending: Option<Arc<Entry>>,
    /// In memory while it lives.
    pub(super) credentials: Vec<Credential>,
    /// To be revoked at its end.
    pub(super) credential_ids: Vec<CredentialId>,
    /// The job that ends it and gets back what it does not spend: whoever delegated it, or if that has ended with success
    /// whoever delegated that one.
    pub(super) parent: Option<JobId>,
    /// Live ones, and those that wait for credentials.
    pub(super) children: BTreeSet<JobId>,
    /// Those of its children, or theirs, that wait for credentials and for which something was taken off its budget. A restart forgets
    /// them, so what is stored of it still has that.
    pub(super) promised: BTreeSet<JobId>,
    /// Sessions that have entries of it in their sequence.
    pub(super) holds: usize,
    /// Its agent was told once that the lease has ended.
    pub(super) knows_expiry: bool,
    /// After a restart: until when its worker may come back.
    pub(super) awaited_until_ms: Option<u64>,
    /// Its window is over: no longer listed, no log but its end.
    pub(super) is_put_away: bool,
    /// `kept` has to be stored.
    pub(super) is_changed: bool,
    /// The last number that its agent was told is stored.
    pub(super) told_heard: u64,
    /// Its place in the agenda.
    pub(super) due_ms: Option<u64>,
}

impl Job {
    pub(super) fn new(record: Arc<Record>) -> Self {
        let parent = record.accepted.parent.as_ref().map(|(parent, _)| *parent);
        let kept = Kept { budget: record.accepted.budget.clone(), ..Kept::default() };
        Self {
            record,
            kept,
            log: Log::default(),
            ending: None,
            credentials: Vec::new(),
            credential_ids: Vec::new(),
            parent,
            children: BTreeSet::new(),
            promised: BTreeSet::new(),
            holds: 0,
            knows_expiry: false,
            awaited_until_ms: None,
            is_put_away: false,
            is_changed: false,
            told_heard: 0,
            due_ms: None,
        }
    }

    pub(super) fn id(&self) -> JobId {
        self.record.accepted.job
    }

    pub(super) fn is_live(&self) -> bool {
        self.ending.is_none()
    }

    pub(super) fn status(&self) -> Status {
        match self.ending.as_ref().map(|entry| &entry.what) {
            Some(What::End(ending)) => ending.status.into(),
            _ if self.kept.is_running => Status::Running,
            _ => Status::Pending,
        }
    }

    /// When it ended.
    pub(super) fn ended_at_ms(&self) -> Option<u64> {
        match &self.ending.as_ref()?.what {
            What::End(ending) => Some(ending.at_ms),
            What::Event(_) => None,
        }
    }

    pub(super) fn descriptor(&self) -> Descriptor {
        Descriptor { accepted: self.record.accepted.clone(), status: self.status(), budget: self.kept.budget.clone() }
    }
}
