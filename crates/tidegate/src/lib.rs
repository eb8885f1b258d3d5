//! Tidegate as one program, and as a library for programs that want it inside.
//!
//! # Place in the flow
//! The outermost room: it reads the configuration, opens the rooms from left to right (mirror, live engine, feed, edge),
//! and hands each what it needs. It computes nothing: every decision is made in the room that knows about it.
//!
//! ```text
//! cli ─► config ─► gateway ─► mirror ─► live ─► feed ─► edge
//!    │                │                                  ▲
//!    ├─ init, import  ├─ api, metrics, health ───────────┘ routes
//!    ├─ watch, agents, jobs, bench  └─ identity, topics: for as long as the gateway runs
//!    └─ demo: a gateway, a replay that writes into its feed, and a page
//! ```
//!
//! # Embedding
//! ```no_run
//! use tidegate::{Config, Flags, Gateway};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let config = Config::load(Some("tidegate.toml".as_ref()), &Flags::default())?;
//! let gateway = Gateway::builder(config).start().await?;
//! println!("listening on {}", gateway.url());
//! gateway.stop().await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Invariants
//! - **Valid before bound.** A port is opened only for a configuration that is valid as a whole.
//! - **Closed by default.** Nothing is open to strangers that configuration does not open, and what a fault inside says
//!   goes to the log, not to the client.
//! - **One catalog a run.** The rooms of a run share one catalog; another schema of the source is another run.
//! - **What was accepted is written.** Stopping ends clients first and the feed after them.

mod agents;
mod api;
mod application;
mod bench;
mod cli;
mod config;
mod demo;
mod descriptors;
mod feeds;
mod gateway;
mod health;
mod house;
mod import;
mod init;
mod jobs;
mod log;
mod members;
mod metrics;
mod progress;
mod runtime;
mod serve;
mod sessions;
mod stdio;
mod token;
mod watch;

pub use application::{Client, Failure};
pub use cli::Cli;
pub use config::{
    Api, Application, ApplicationEndpoint, Arcp, Centrifugo, CommandAgent, Config, ConfigError, Flags, Log, Origin,
    Postgres, Rooms, Source, Tls, Topics,
};
pub use gateway::{Builder, Gateway, StartError};
/// What an embedding program writes through ([`Gateway::feed`]).
pub use tidegate_feed as feed;
/// The seam to identity, for an authority of one's own.
pub use tidegate_identity as identity;
/// Agents that are part of a program ([`Builder::agent`]), and what they are given.
pub use tidegate_jobs;
/// The words that all rooms speak.
pub use tidegate_model as model;
