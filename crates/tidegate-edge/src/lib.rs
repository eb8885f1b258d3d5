//! Sockets and protocols: how clients get in, and how what a session holds gets out.
//!
//! # Place in the flow
//! Left of here nothing knows that a socket exists. [`serve()`] accepts connections and gives each to one task; a handler
//! settles admission, origin and credentials and opens a [`tidegate_session::Session`]; a *protocol* turns messages into
//! calls on the session and the session's items into messages; a *transport* moves those between protocol and socket.
//!
//! ```text
//! serve ── origin ── GET  /v1/live/ws ─┐
//!   one task       ├ GET  /ws ─────────┼─ ws: transport ── live_ws, events: protocols ─┐
//!   a connection   ├ POST /v1/live ────┼─ sse: transport and protocol ────────────────┼─ Session ── Live
//!                  ├ GET  /v1/live ────┘                                              ┘
//!                  ├ GET  /v1/position
//!                  └ the HTTP API of the binary
//! ```
//!
//! # Invariants
//! - **Nothing before admission.** Past the caps a client costs a prepared answer and no session.
//! - **Transports know only** [`Session::drain`](tidegate_session::Session::drain) **and whole messages**, protocols no
//!   socket: another transport takes over without a change to protocols or to the rooms to the left.
//! - **What is queued goes out in one flush**, and nothing is taken from a session until its socket took what was taken
//!   before. So the session's outbox is the only queue, and its bound is the bound.
//! - **Every close has a reason**, counted and logged with the connection's id. Tokens are never logged.
//! - **No input harms.** Every message is bounded before it is read, and decoded into a typed command or refused.

#[expect(dead_code, reason = "the workers take it up")]
mod admission;
mod cap;
mod commands;
mod config;
mod credentials;
#[expect(dead_code, reason = "the workers take it up")]
mod drain;
mod edge;
mod error;
mod events;
mod frames;
mod io;
mod live_ws;
#[expect(dead_code, reason = "the workers take it up")]
mod memory;
mod metrics;
mod origin;
#[expect(dead_code, reason = "the workers take it up")]
mod pace;
mod position;
mod rate;
mod serve;
mod sse;
#[expect(dead_code, reason = "the workers take it up")]
mod strangers;
mod tls;
mod upgrade;
mod ws;

pub use config::EdgeConfig;
pub use credentials::credential;
pub use edge::Edge;
pub use error::ApiError;
pub use frames::encode;
pub use metrics::{EdgeMetrics, Paused, Refused, Transport};
pub use position::{Finding, Places, PositionsOnly};
pub use serve::serve;
pub use tls::{Tls, TlsError};
