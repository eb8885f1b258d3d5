//! Sockets and protocols: how clients get in, and how what a session holds gets out.
//!
//! # Place in the flow
//! Left of here nothing knows that a socket exists. [`serve()`] accepts sockets and hands each to the *worker* that has
//! the fewest: an operating system's thread with a single-threaded runtime, which owns the socket from then on. HTTP is
//! hyper's, on the worker; a live connection becomes a *client* of the worker: a
//! [`Session`](tidegate_session::Session), a *protocol* that turns messages into calls on the session and the session's
//! items into messages, and a *carrier* that moves those.
//!
//! ```text
//! serve ── worker ── http ─┬ GET  /v1/live/ws ─┐
//!  accept   a thread,      ├ GET  /ws ─────────┼─ upgrade ── socket: carrier ── live_ws, events: protocols ─┐
//!           its sockets    ├ POST /v1/live ────┼─ stream: carrier ── live_http, topic_stream: protocols ──┼─ Session ─ Live
//!           and timers     ├ GET  /v1/live ────┘                                                          ┘
//!                          ├ GET  /connection/[uni_]websocket ─ upgrade ── socket ─┐
//!                          ├ /connection/[uni_]{sse,http_stream} ── stream ────────┴ centrifugo: protocol ─── Session ─ Topics, Live
//!                          ├ GET  /arcp, / ── upgrade ── socket ── arcp: protocol ─── Session ─ the runtime of agents' jobs
//!                          ├ GET  /arcp/worker ── upgrade ── socket ── arcp::worker ─ the agents of that runtime
//!                          ├ POST /emulation: to a stream's protocol, wherever the stream is
//!                          ├ GET  /v1/position
//!                          └ the HTTP API of the binary, on the process's runtime
//! ```
//!
//! A live worker delivers once a turn and edge worker, through the worker's *port*; the worker hands parcels to its
//! sessions and then writes to each client concerned once. What happens in topics comes through a port of its own, once for
//! all subscribers of the worker. [`Edge::dispatch`] has something done on connections, wherever they are; an
//! [`Application`] answers to what clients send and says who may where topics ask it.
//!
//! # Invariants
//! - **Nothing before admission.** Past the caps a client costs a prepared answer and no session.
//! - **A worker waits for nobody**: not for a socket, not for the engine. The engine may wait for a worker, so it never
//!   waits for long.
//! - **Carriers know only** [`Session::drain`](tidegate_session::Session::drain) **and whole messages**, protocols no
//!   socket: another of either takes nothing of the others.
//! - **What is queued goes out in one write**, and nothing is taken from a session until its socket took what was taken
//!   before. So the session's outbox is the only queue, and its bound is the bound. An idle connection has no buffer.
//! - **Every close has a reason**, counted and logged with the connection's id. Tokens are never logged.
//! - **No input harms.** Every message is bounded before it is read, and decoded into a typed command or refused.

mod admission;
mod admitted;
mod application;
mod arcp;
mod cap;
mod centrifugo;
mod client;
mod commands;
mod config;
mod credentials;
mod drain;
mod edge;
mod embedded;
mod emulation;
mod error;
mod events;
mod format;
mod frames;
mod http;
mod io;
mod live_http;
mod live_ws;
mod mail;
mod memory;
mod metrics;
mod order;
mod origin;
mod out;
mod pace;
mod passing;
mod position;
mod protocol;
mod quota;
mod rate;
mod register;
mod request_body;
mod serve;
mod settling;
mod socket;
mod strangers;
mod stream;
mod subscribe;
mod sync;
mod tls;
mod topic_stream;
mod upgrade;
mod wire;
mod worker;

pub use application::{Application, Peer, Permit};
pub use arcp::{ArcpSettings, Dialect, Dialects};
/// What the Centrifugo client protocol and its server API say of an error.
pub use centrifugo::Fault as CentrifugoFault;
pub use config::EdgeConfig;
pub use credentials::{Credentials, Presented};
pub use edge::{Edge, Rooms};
pub use error::ApiError;
pub use frames::encode;
pub use metrics::{EdgeMetrics, Paused, Refused, Transport};
pub use order::{Order, To};
pub use out::Out;
pub use passing::Ask;
pub use position::{Finding, Places, PositionsOnly};
pub use protocol::Protocol;
pub use quota::{Quota, Quotas};
pub use serve::serve;
pub use tls::{Tls, TlsError};
