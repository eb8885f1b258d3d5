//! So that the same is done once: an owner's keys, and what was asked with each.

use std::sync::Arc;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::agenda::key_ends_at;
use super::{Jobs, Submitted};
use crate::{Code, Fault, Idempotency, JobId, Owner, Submit};

/// A hash of all that a submit asks for, whatever the order of keys in its objects. The agent counts as it was asked for: a
/// retry is the same though the default version has changed meanwhile.
pub(super) fn parameters(submit: &Submit) -> [u8; 32] {
    let mut hash = Sha256::new();
    let version = submit.agent.version.as_deref();
    text(&submit.agent.name, &mut hash);
    text(version.unwrap_or_default(), &mut hash);
    match serde_json::from_str(submit.input.get()) {
        Ok(input) => value(&input, &mut hash),
        // A number that none of ours can hold: as it was written.
        Err(_) => text(submit.input.get(), &mut hash),
    }
    // In the order of its namespaces.
    text(&super::encode::body(&submit.lease), &mut hash);
    for number in [submit.constraints.expires_at_ms, submit.max_runtime_sec] {
        hash.update([u8::from(number.is_some())]);
        hash.update(number.unwrap_or_default().to_be_bytes());
    }
    hash.finalize().into()
}

fn text(text: &str, hash: &mut Sha256) {
    hash.update((text.len() as u64).to_be_bytes());
    hash.update(text);
}

fn value(of: &Value, hash: &mut Sha256) {
    match of {
        Value::Null => hash.update(b"n"),
        Value::Bool(is) => hash.update([b'b', u8::from(*is)]),
        Value::Number(number) => {
            hash.update(b"d");
            text(&number.to_string(), hash);
        }
        Value::String(string) => {
            hash.update(b"s");
            text(string, hash);
        }
        Value::Array(values) => {
            hash.update(b"[");
            hash.update((values.len() as u64).to_be_bytes());
            values.iter().for_each(|of| value(of, hash));
        }
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_unstable_by_key(|(name, _)| *name);
            hash.update(b"{");
            hash.update((fields.len() as u64).to_be_bytes());
            for (name, of) in fields {
                text(name, hash);
                value(of, hash);
            }
        }
    }
}

impl Jobs {
    /// What a submit with that key comes to, if the key is known.
    pub(super) fn known(&self, owner: &Owner, asked: &Idempotency, now_ms: u64) -> Option<Submitted> {
        let id = self.keys.get(owner)?.get(&asked.key)?;
        let is_same = |key: &Option<Idempotency>| key.as_ref().is_some_and(|key| key.parameters == asked.parameters);
        // Without the job's name: whoever guesses a key learns nothing but that it is used.
        let conflict = || {
            let message = "the idempotency key was used with other parameters";
            Submitted::Refused(Fault::new(Code::DuplicateKey, message))
        };
        if let Some(waiting) = self.waiting.get(id) {
            return Some(if is_same(&waiting.draft.key) { Submitted::Waits(*id) } else { conflict() });
        }
        let job = self.jobs.get(id)?;
        if !job.is_live() && key_ends_at(job, &self.limits) <= now_ms {
            return None;
        }
        if !is_same(&job.record.key) {
            return Some(conflict());
        }
        Some(Submitted::Again { accepted: job.record.accepted.clone(), ending: job.ending.clone() })
    }

    pub(super) fn take_key(&mut self, owner: &Owner, key: &Arc<str>, job: JobId) {
        self.keys.entry(owner.clone()).or_default().insert(key.clone(), job);
    }

    /// Unless another job has it by now.
    pub(super) fn free_key(&mut self, owner: &Owner, key: &Arc<str>, job: JobId) {
        let Some(keys) = self.keys.get_mut(owner) else { return };
        if keys.get(key) == Some(&job) {
            keys.remove(key);
        }
        if keys.is_empty() {
            self.keys.remove(owner);
        }
    }
}
