//! Lines of JSON: how agents that are no Rust values talk. Commands on their standard input and output, workers in messages of a
//! WebSocket, where each line also names its job (`job_id`) and, of what the worker says, its number (`n`). `?` may be absent;
//! fields that are not known are ignored.
//!
//! # To the agent
//! | line | |
//! |---|---|
//! | `{"type":"job","job_id","agent","version","input","lease","lease_constraints"?:{"expires_at"},"budget"?:{"USD":5.00},"credentials"?:[{"id","scheme","value","endpoint","profile"?,"constraints"?}],"trace_id","parent_job_id"?,"ends_at"?}` | the first: begin |
//! | `{"type":"permit","call"}` | it may |
//! | `{"type":"refuse","call","error":{"code","message","retryable"}}` | it may not; also to `delegate` |
//! | `{"type":"delegated","call","child_job_id"}` | another agent does it |
//! | `{"type":"child","child_job_id","final_status","result"?,"result_id"?,"result_size"?,"summary"?,"error"?}` | that one has ended |
//! | `{"type":"hold","held"}` | to a worker: wait before saying more, or go on; a client reads more slowly. Others just find less room |
//! | `{"type":"heard","n"}` | of what was said the first n things are stored; told now and then |
//! | `{"type":"stop","reason"}` | `cancelled timed_out lease_expired failed ended`: nothing that is said is heard any more |
//!
//! # From the agent
//! | line | |
//! |---|---|
//! | `{"type":"event","kind","body"}` | of any kind but `delegate` and `result_chunk` |
//! | `{"type":"authorize","call","op":"tool.call","target"}` | may it do this now? `call` is the agent's to choose |
//! | `{"type":"delegate","call","delegate_id","agent","input"?,"lease_request"?,"lease_constraints"?}` | another agent is to do a part |
//! | `{"type":"chunk","data","encoding":"utf8"\|"base64","more":bool}` | a piece of the result, at most 700 KiB before base64 |
//! | `{"type":"result","result"?,"summary"?}` | the end |
//! | `{"type":"error","code","message","retryable"?,"details"?}` | the end; a code that ARCP has not goes into `details.code` of an `INTERNAL_ERROR` |
//!
//! Each is counted from 1, in its order. What workers say beside this is on [their page](super::workers).

mod read;
mod write;

pub use read::LINE_BYTES_MAX;
pub(super) use read::{OfJob, fault, json, namespace, read, read_of_job};
pub(super) use write::{refused, write};

#[cfg(test)]
mod tests;
