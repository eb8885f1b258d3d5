//! One client's state, whatever the transport: who it is, what it watches, what waits to be sent to it, and why it
//! closed.
//!
//! # Place in the flow
//! What the live engine hands to a worker's [`tidegate_live::Sink`] the worker gives to [`Session::deliver`]; a transport
//! takes [`Item`]s out with [`Session::drain`] whenever its socket has taken what it had. Commands come the other way: a protocol decodes them,
//! asks the authority what the client may see, and calls the session. No wire format is known here: how many bytes
//! a batch has is told by the codec function given to the session.
//!
//! What happens in topics comes by [`Session::publish`] and waits in the same queue. A topic is joined with [`Session::join`]; once the
//! protocol has queued its answer, [`Session::begin`] lets follow what was held back. A session that ends leaves its topics, and what
//! it owned there ends too.
//!
//! A connection to a durable session ([`durable`], [`runtime`]) is a cursor over its numbered events, from the welcome on:
//! [`Session::hear`]. What the runtime answers overtakes them.
//!
//! # Invariants
//! - **Bounded.** What waits is bounded in bytes and frames ([`Limits`]); subscriptions and replies have caps of their
//!   own. A delivery that finds no room is never queued elsewhere.
//! - **No silent gap.** Frames of a live subscription are numbered when they are handed to the transport, so the numbers have
//!   no gap whatever was dropped before. What is dropped is always replaced: by the net difference since the last batch
//!   handed over (*conflated*), by a fresh snapshot (*reset*), or by the end of the session (*slow_client*). Of a topic
//!   the namespace says what gives way; it is counted ([`Item::Dropped`]), or ends the subscription ([`Item::Gapped`]).
//!   Events of a durable session are stored: one that finds no room is asked for again ([`Session::wants_events`]).
//! - **A plain value.** A session belongs to the worker that owns its client: no lock, no clock, no wake-up. Calls on the
//!   engine and on the runtime never wait. Only [`runtime`] has threads: its state is a plain value too.

mod close;
pub mod durable;
mod item;
mod limits;
mod metrics;
mod outbox;
pub mod runtime;
mod session;
mod share;
mod topics;

pub use close::CloseReason;
pub use item::{Item, Started};
pub use limits::Limits;
pub use metrics::Metrics;

pub use session::{Room, Session, SubscribeError, Want};
pub use share::Share;
pub use topics::Wish;

use tidegate_live::View;
use tidegate_model::{Batch, Body};

/// Gives a batch its encoded form: called at most once per batch, by whichever session needs it first.
pub type Encode = fn(&View, &Batch) -> Body;
