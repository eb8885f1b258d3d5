//! What agents say.

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::job::Job;
use super::{Allowed, Jobs, encode};
use crate::{
    AgentRef, BODY_BYTES_MAX, CHUNK_BYTES_MAX, Chunk, DEPTH_MAX, Effect, Fault, FinalStatus, JobId, Kind, Outcome,
    ResultId, Said, Spoken, Stop, Streaming, Told, What, depth,
};

/// The metric that says what is left of a budget. It is the runtime's to say.
pub(super) const REMAINING: &str = "cost.budget.remaining";
/// Longest result that is not streamed, in bytes: a client is told it twice in one message.
pub const RESULT_BYTES_MAX: usize = 480 << 10;
/// Longest summary and longest message of a fault, in bytes; the rest is cut off.
const TEXT_BYTES_MAX: usize = 16 << 10;

impl Jobs {
    /// A job's agent says something. What it said before, by its number, is skipped: a worker says again what it is not sure of. So is
    /// what it says of a job that has ended. `allowed` matters to a delegation alone.
    pub fn hear(&mut self, spoken: Spoken, allowed: Allowed, now_ms: u64, effects: &mut Vec<Effect>) {
        let Spoken { job: id, n, said } = spoken;
        if let Said::Back { serves } = said {
            return self.hear_back(id, &serves, now_ms, effects);
        }
        let Some(job) = self.jobs.get(&id) else { return };
        if !job.is_live() || n <= job.kept.said {
            return;
        }
        self.started(id, now_ms, effects);
        if let Some(job) = self.change(id) {
            job.kept.said = n;
        }
        match said {
            Said::Event { kind, body } => self.hear_event(id, &kind, &body, now_ms, effects),
            Said::Chunk { data, is_last } => self.hear_chunk(id, &data, is_last, now_ms, effects),
            Said::Authorize { call, op, target } => {
                if let Some(permit) = self.permit(id, op, &target, now_ms, effects) {
                    effects.push(Effect::Tell { job: id, told: Told::Permit { call, permit } });
                }
            }
            Said::Delegate { call, delegation } => self.delegate(id, call, &delegation, allowed, now_ms, effects),
            Said::Done { result, summary } => self.hear_done(id, result, summary, now_ms, effects),
            Said::Back { .. } => {}
            Said::Failed(fault) => {
                let outcome = Outcome::Fault(fitting(fault));
                self.end(id, FinalStatus::Error, outcome, Stop::Ended, now_ms, effects);
            }
        }
    }

    /// A worker has come back with a job.
    fn hear_back(&mut self, id: JobId, serves: &[AgentRef], now_ms: u64, effects: &mut Vec<Effect>) {
        let job = self.jobs.get_mut(&id).filter(|job| job.is_live());
        if job.as_ref().is_some_and(|job| !serves.contains(&job.record.accepted.agent)) {
            effects.push(Effect::Tell { job: id, told: Told::Stop(Stop::Failed) });
            return;
        }
        if let Some(job) = job.filter(|job| job.awaited_until_ms.is_none()) {
            job.told_heard = job.kept.said;
            effects.push(Effect::Tell { job: id, told: Told::Heard(job.kept.said) });
        }
        self.started(id, now_ms, effects);
    }

    fn hear_event(&mut self, id: JobId, kind: &Kind, body: &RawValue, now_ms: u64, effects: &mut Vec<Effect>) {
        if body.get().len() > BODY_BYTES_MAX || [Kind::DELEGATE, Kind::RESULT_CHUNK].contains(kind) {
            self.fail(id, "the job's agent said an event that does not fit", now_ms, effects);
        } else if *kind == Kind::METRIC {
            self.hear_metric(id, body.get(), now_ms, effects);
        } else {
            self.append(id, What::Event(encode::event(kind, body.get(), now_ms)), effects);
        }
    }

    /// A metric; one of costs is counted first. A cost that is no amount or a negative one leaves a warning instead.
    fn hear_metric(&mut self, id: JobId, body: &str, now_ms: u64, effects: &mut Vec<Effect>) {
        #[derive(Deserialize)]
        struct Metric<'a> {
            #[serde(borrow)]
            name: Cow<'a, str>,
            #[serde(borrow)]
            value: &'a RawValue,
            #[serde(borrow, default)]
            unit: Option<Cow<'a, str>>,
            #[serde(borrow, default)]
            dimensions: Option<&'a RawValue>,
            #[serde(borrow, default)]
            dims: Option<&'a RawValue>,
        }
        let Ok(metric) = serde_json::from_str::<Metric<'_>>(body) else {
            self.fail(id, "the job's agent said a metric that is none", now_ms, effects);
            return;
        };
        let unit = metric.unit.as_deref().unwrap_or_default();
        let refused = if metric.name == REMAINING && self.bearer(id, unit).is_some() {
            Some(format!("{REMAINING} is the runtime's to say"))
        } else {
            None
        };
        let spent = match refused {
            Some(refused) => Err(refused),
            None if metric.name.starts_with("cost.") && metric.name != REMAINING => {
                self.spend(id, unit, metric.value.get()).map_err(|fault| fault.message)
            }
            None => Ok(None),
        };
        let bearer = match spent {
            Ok(bearer) => bearer,
            Err(message) => {
                let body = encode::warning(&format!("a metric was refused: {message}"));
                self.append(id, What::Event(encode::event(&Kind::LOG, &body, now_ms)), effects);
                return;
            }
        };
        let twice = metric.dimensions.filter(|_| metric.dims.is_none());
        let body = twice.map_or(Cow::Borrowed(body), |dimensions| encode::with_dims(body, dimensions.get()).into());
        self.append(id, What::Event(encode::event(&Kind::METRIC, &body, now_ms)), effects);
        if let Some(bearer) = bearer {
            self.gauge(bearer, &BTreeSet::from([unit.into()]), now_ms, effects);
        }
    }

    fn hear_chunk(&mut self, id: JobId, data: &Chunk, is_last: bool, now_ms: u64, effects: &mut Vec<Effect>) {
        let len = match data {
            Chunk::Text(text) => text.len(),
            Chunk::Binary(data) => data.len(),
        };
        let begun = self.jobs.get(&id).and_then(|job| job.kept.result);
        let streaming = begun.unwrap_or_else(|| {
            let name = ResultId::new(now_ms, (self.random)());
            Streaming { id: name, chunks: 0, bytes: 0, is_whole: false }
        });
        if len > CHUNK_BYTES_MAX || streaming.bytes.saturating_add(len as u64) > self.limits.result_bytes {
            self.fail(id, "the job's result is longer than it may be", now_ms, effects);
        } else if streaming.is_whole {
            self.fail(id, "the job's agent added to a result that was whole", now_ms, effects);
        } else {
            self.add_chunks(id, data, is_last, streaming, now_ms, effects);
        }
    }

    fn add_chunks(
        &mut self,
        id: JobId,
        data: &Chunk,
        is_last: bool,
        mut streaming: Streaming,
        now_ms: u64,
        effects: &mut Vec<Effect>,
    ) {
        for body in encode::chunks(data, is_last, &mut streaming) {
            self.append(id, What::Event(encode::event(&Kind::RESULT_CHUNK, &body, now_ms)), effects);
        }
        if let Some(job) = self.change(id) {
            job.kept.result = Some(streaming);
        }
    }

    /// The end of a job that did what it was to do. A streamed result that was not said to be whole is so now.
    fn hear_done(
        &mut self,
        id: JobId,
        result: Option<Box<RawValue>>,
        summary: Option<String>,
        now_ms: u64,
        effects: &mut Vec<Effect>,
    ) {
        let summary = summary.map(|summary| cut(summary, TEXT_BYTES_MAX));
        let streaming = |jobs: &Self| jobs.jobs.get(&id).and_then(|job: &Job| job.kept.result);
        if let Some(open) = streaming(self).filter(|streaming| !streaming.is_whole) {
            self.add_chunks(id, &Chunk::Text("".into()), true, open, now_ms, effects);
        }
        let outcome = match streaming(self) {
            Some(whole) => Outcome::Streamed { result_id: whole.id, result_size: whole.bytes, summary },
            None => match result.map(in_one_line).transpose() {
                Ok(result) => Outcome::Result { result, summary },
                Err(message) => return self.fail(id, message, now_ms, effects),
            },
        };
        self.end(id, FinalStatus::Success, outcome, Stop::Ended, now_ms, effects);
    }
}

/// A result as clients can take it.
fn in_one_line(result: Box<RawValue>) -> Result<Box<RawValue>, &'static str> {
    if result.get().len() > RESULT_BYTES_MAX {
        return Err("the job's result is longer than one that is not streamed may be");
    }
    if depth(result.get()) > DEPTH_MAX {
        return Err("the job's result nests deeper than clients can read");
    }
    if !result.get().contains(['\n', '\r']) {
        return Ok(result);
    }
    let line =
        String::from_utf8(encode::one_line(result.get()).collect()).map_err(|_| "the job's result is no text")?;
    RawValue::from_string(line).map_err(|_| "the job's result is no JSON")
}

/// A fault as clients can take it.
fn fitting(fault: Fault) -> Fault {
    let retryable = fault.retryable;
    let details = fault.details.and_then(|details| in_one_line(details).ok());
    let mut fitting = Fault::new(fault.code, cut(fault.message, TEXT_BYTES_MAX)).retryable(retryable);
    fitting.details = details;
    fitting
}

fn cut(mut text: String, bytes_max: usize) -> String {
    text.truncate(encode::start(&text, bytes_max).len());
    text
}
