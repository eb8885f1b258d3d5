//! `tidegate serve` and `tidegate demo`: from a configuration to a process that ends when it is told to.

use axum::Router;
use axum::routing::get;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::cli::{Failure, say};
use crate::config::Config;
use crate::demo::{self, Demo};
use crate::gateway::Gateway;
use crate::{descriptors, log};

const LANDING: &str = concat!(
    "Tidegate ",
    env!("CARGO_PKG_VERSION"),
    "\n\nLive queries:  GET /v1/live/ws  POST /v1/live  GET /v1/live?query=…  GET /ws\n\
     Rows:          GET /v1/entities  GET /v1/entities/{entity}?query=…  POST /v1/entities/{entity}/changes\n\
     Agents:        GET /arcp  GET /v1/jobs  POST /v1/jobs/{job}/cancel\n\
     Operations:    GET /healthz  GET /readyz  GET /metrics  GET /v1/position  GET /v1/source\n\n",
    env!("CARGO_PKG_REPOSITORY"),
    "\n"
);

/// A runtime with so many threads for connections; 0 is one a core.
pub(crate) fn runtime(threads: usize) -> std::io::Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    if threads > 0 {
        builder.worker_threads(threads);
    }
    builder.enable_all().build()
}

/// Serves until SIGTERM or SIGINT, then drains.
pub(crate) fn serve(config: Config) -> Result<(), Failure> {
    begin(&config);
    runtime(0)?.block_on(async {
        // Before anybody can know that the process is there to be told to end.
        let mut signals = Signals::new()?;
        let landing = Router::new().route("/", get(|| async { LANDING }));
        let starting = Gateway::builder(config).routes(landing).shown().start();
        // It may wait for a database, and must not be deaf meanwhile.
        let mut gateway = tokio::select! {
            started = starting => started?,
            () = signals.next() => return Ok(()),
        };
        say(&format!("listening on {}", gateway.url()))?;
        tokio::select! {
            ended = gateway.ended() => return Ok(ended?),
            () = signals.next() => {}
        }
        signals.unless_again(gateway.stop()).await??;
        Ok(())
    })
}

/// Serves the demo likewise.
pub(crate) fn demo(options: demo::Options) -> Result<(), Failure> {
    let prepared = demo::Prepared::new(options)?;
    begin(&prepared.config);
    runtime(0)?.block_on(async {
        let mut signals = Signals::new()?;
        let demo = Box::pin(Demo::start(prepared)).await?;
        say(&format!("listening on {}", demo.gateway.url()))?;
        say(&format!("open {}/ in a browser to watch a week of earthquakes; Ctrl-C ends", demo.gateway.url()))?;
        let stop = CancellationToken::new();
        let playing = demo.play(stop.clone());
        tokio::select! {
            () = playing => {}
            () = signals.next() => stop.cancel(),
        }
        let Demo { gateway, directory, .. } = demo;
        let stopped = signals.unless_again(gateway.stop()).await;
        drop(directory);
        Ok(stopped??)
    })
}

pub(crate) fn begin(config: &Config) {
    log::start(&config.log);
    for name in &config.unknown_variables {
        tracing::warn!(name, "this environment variable looks like a setting and is none");
    }
    descriptors::raise_limit(&config.rooms.edge);
}

/// A second signal while stopping.
#[derive(Debug, thiserror::Error)]
#[error("stopped at once, as asked for by a second signal")]
struct AtOnce;

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// What `stopping` comes to, unless another signal says not to wait for it.
    async fn unless_again<T>(&mut self, stopping: impl Future<Output = T>) -> Result<T, AtOnce> {
        tokio::select! {
            stopped = stopping => Ok(stopped),
            () = self.next() => Err(AtOnce),
        }
    }
}
