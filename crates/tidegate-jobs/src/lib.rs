//! Jobs of agents, as the Agent Runtime Control Protocol (ARCP) 1.1 has them: what they may do, what they have done, and that
//! both outlive connections, processes and crashes.
//!
//! # Place in the flow
//! A session (`tidegate-session`, which numbers events for its client and knows what that one has) submits, cancels and watches; an
//! agent runs a job and says what happens. Between them are the machines of this crate, which are pure:
//! something goes in with the time, [`Effect`]s come out. Whoever drives them stores what is to be stored in one
//! commit, and carries out the rest when that is durable. Only [`agents`] has tasks and processes.
//!
//! # Invariants
//! - **Stored before seen.** What anybody is told of a job, agent or client, is in the store.
//! - **One end.** A job has one terminal entry, which is the last of its log.
//! - **No float.** Money is counted in decimals.
//! - **No secret.** Values of credentials are in no record and in no log.

mod agent;
pub mod agents;
pub mod credentials;
mod effect;
mod event;
mod fault;
mod id;
mod jobs;
mod kind;
pub mod lease;
mod said;
pub mod store;
mod submit;
pub mod time;

pub use agent::{AgentRef, Asked, Inventory, Offered, is_name, is_version};
pub use effect::{Effect, Idempotency, Kept, Record, Streaming};
pub use event::{Ending, Entry, FinalStatus, Outcome, Status, What};
pub use fault::{Code, Fault};
pub use id::{CredentialId, JobId, NoId, ResultId, SessionId};
pub use jobs::{
    Allowed, Counts, Filter, Jobs, LIST_MAX, Limits, Log, Page, RESULT_BYTES_MAX, StoredJob, Submitted, WORKER_GRACE_MS,
};
pub use kind::{BODY_BYTES_MAX, CHUNK_BYTES_MAX, DEPTH_MAX, Kind, depth, is_vendors};
pub use said::{Chunk, Delegation, Said, Spoken, Start, Stop, Told};
pub use submit::{Accepted, Caller, Descriptor, Owner, Rights, Submit, TraceId};
