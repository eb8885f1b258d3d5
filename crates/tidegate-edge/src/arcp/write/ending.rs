//! How a job's end is told.

use serde_json::value::RawValue;
use tidegate_jobs::{Ending, FinalStatus, Outcome};

use super::payload::{self, Shown, Time};
use super::{Around, MESSAGE_BYTES_MAX, Writer};
use crate::arcp::dialect::Dialect;

impl Writer {
    pub(super) fn ending(&mut self, around: Around<'_>, ending: &Ending, now_ms: u64) -> Vec<u8> {
        let completed_at = Time(ending.at_ms);
        match &ending.outcome {
            Outcome::Fault(fault) => {
                let final_status = match (self.dialect, ending.status) {
                    (Dialect::Python, _) => "error",
                    (_, FinalStatus::Cancelled) => "cancelled",
                    (_, FinalStatus::TimedOut) => "timed_out",
                    (_, FinalStatus::Success | FinalStatus::Error) => "error",
                };
                let payload = payload::Failed { final_status, fault: Shown(fault), completed_at, request_id: None };
                self.message("job.error", around, payload, now_ms)
            }
            Outcome::Result { result, summary } => {
                let (result, output) = self.result(result.as_deref());
                let summary = summary.as_deref();
                let payload = payload::Done { result, output, summary, ..payload::Done::at(completed_at) };
                self.message("job.result", around, payload, now_ms)
            }
            Outcome::Streamed { result_id, result_size, summary } => {
                let (result_id, result_size) = (Some(*result_id), Some(*result_size));
                let summary = summary.as_deref();
                let payload = payload::Done { result_id, result_size, summary, ..payload::Done::at(completed_at) };
                self.message("job.result", around, payload, now_ms)
            }
        }
    }

    /// A result under both its names; where it is so long that it fits only once, under the one that the library looks for.
    fn result<'a>(&self, result: Option<&'a RawValue>) -> (Option<&'a RawValue>, Option<&'a RawValue>) {
        let result = result.filter(|result| result.get() != "null");
        let fits_twice = result.is_none_or(|result| result.get().len() <= MESSAGE_BYTES_MAX / 2);
        match self.dialect {
            _ if fits_twice => (result, result),
            Dialect::Go => (None, result),
            _ => (result, None),
        }
    }
}
