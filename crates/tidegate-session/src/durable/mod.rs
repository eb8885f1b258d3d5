//! What outlives the connections of a session: which event has which number, who may go on with it, and what it was asked already.
//!
//! Plain values of the runtime's thread: what is to be stored comes out as [`Change`]s, what was stored goes in again.

mod resumption;
mod seen;
mod sequence;

pub use resumption::Resumption;
pub use seen::Seen;
pub use sequence::{AboveHead, Caps, Change, Expired, Run, Segment, Sequence};
