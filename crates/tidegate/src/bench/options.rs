//! The command line of `tidegate bench`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// What to measure.
#[derive(Debug, Subcommand)]
pub(crate) enum Mode {
    /// Memory of an idle connection, and how fast connections are opened
    #[command(after_help = "Examples:
  tidegate bench idle --connections 10000 --handshakes
  tidegate bench idle --connections 5000 --via live-sse
  tidegate bench idle --connections 1000 --url ws://127.0.0.1:9000/ --subscribe '{\"join\":\"room\"}' --ready joined")]
    Idle(Idle),
    /// One publication to many subscribers: latency of the first, median and last, and the server's time for a frame
    #[command(after_help = "Examples:
  tidegate bench fanout --subscribers 1000 --rate 50 --seconds 10 --backlog 8,64 --raw-baseline
  tidegate bench fanout --url http://127.0.0.1:8470 --header 'Authorization: Bearer …'
  tidegate bench fanout --url ws://127.0.0.1:8080/sub/x --publish-url http://127.0.0.1:8080/pub/x
  tidegate bench fanout --url ws://127.0.0.1:9000/ --publish-message '{\"say\":\"{mark}{pad}\"}'

{mark} stands for the time and number of a publication, {pad} for what is missing to --bytes; both are in every
message that is published, and the server must send them on unchanged. A Tidegate that is named by --url needs an
entity \"bench\" (--entity) with key id (int) and columns group (int), mark and pad (text).")]
    Fanout(Fanout),
    /// Round trips: each connection sends, the server answers
    #[command(after_help = "Examples:
  tidegate bench echo --connections 1000 --rate 20000
  tidegate bench echo --connections 100 --url ws://127.0.0.1:9101/ --message '{mark}'

At rate 0 each connection sends again as soon as its answer is there.")]
    Echo(Echo),
    /// Many different live queries: from the write's commit to the frames, and how long a snapshot takes
    #[command(after_help = "Examples:
  tidegate bench live --queries 1000 --rate 200
  tidegate bench live --queries 100 --subscribers 5000 --via live")]
    Live(Live),
    /// Many connections are cut at once and come back: how long a new one waits meanwhile
    #[command(after_help = "Examples:
  tidegate bench storm --connections 10000 --drop 20%
  tidegate bench storm --connections 2000 --drop 50% --spread 5")]
    Storm(Storm),
    /// Connects, cuts, stalls and publications at random, for long: whether memory stays flat and nothing leaks
    #[command(after_help = "Examples:
  tidegate bench soak --seconds 1800 --connections 1000
  tidegate bench soak --seconds 60 --seed 7

The exit status is 1 where memory grows or a descriptor is left.")]
    Soak(Soak),
    /// Device sessions are revoked in Redis: how long until the connections that are bound to them are closed
    #[command(after_help = "Examples:
  tidegate bench revoke --redis redis://127.0.0.1:6379
  tidegate bench revoke --redis redis://127.0.0.1:6379 --connections 10000 --revocations 1000 --json revoke.json

What is written there has names of its own (tidegate-bench:…) and is removed at the end. Redis 7.0 or later is needed.")]
    Revoke(Revoke),
    /// Agents' jobs: events to one client and to many, submit to result beside what fsyncs cost, memory of idle sessions
    #[command(after_help = "Examples:
  tidegate bench jobs
  tidegate bench jobs --events 1000000 --sessions 10000 --json jobs.json

A Tidegate that is named by --url needs arcp.fixtures = true, anonymous = true and room for the events.")]
    Jobs(Jobs),
    /// A list of runs, written as a page
    #[command(after_help = "Examples:
  tidegate bench all --out docs/benchmarks.md
  tidegate bench all --redis redis://127.0.0.1:6379
  tidegate bench all --quick --out - --with nchan=nchan-fanout.json --with nchan=nchan-idle.json")]
    All(All),
    /// The loop of `send()` that servers are compared with
    #[command(hide = true)]
    BareServer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Protocol {
    /// Tidegate, everything over one connection: /ws
    Events,
    /// Tidegate, one live query: /v1/live/ws
    Live,
    /// Tidegate, one live query over Server-Sent Events: /v1/live
    LiveSse,
    /// The same as lines of JSON
    LiveNdjson,
    /// Tidegate, a topic over the event protocol: /ws
    Topic,
    /// Tidegate, a topic over the Centrifugo client protocol: /connection/websocket
    Centrifugo,
    /// Any WebSocket server
    Ws,
    /// Any server of Server-Sent Events
    Sse,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Common {
    /// The server; without a path it is a Tidegate [default: a server is started and ended]
    #[arg(long)]
    pub(crate) url: Option<String>,
    /// The program to start as a server, instead of this one
    #[arg(long, value_name = "FILE", conflicts_with = "url")]
    pub(crate) server: Option<PathBuf>,
    /// The configuration of the server that is started, instead of the bench's own
    #[arg(long, value_name = "FILE", conflicts_with = "url")]
    pub(crate) server_config: Option<PathBuf>,
    /// What to speak [default: events without a path, else ws or sse]
    #[arg(long)]
    pub(crate) via: Option<Protocol>,
    /// A header of every request, as 'Name: value'; may be given again
    #[arg(long, value_name = "LINE")]
    pub(crate) header: Vec<String>,
    /// The server's process; may be given again [default: who listens on the port]
    #[arg(long)]
    pub(crate) pid: Vec<u32>,
    /// The entity that is written and queried, where it is a Tidegate
    #[arg(long, default_value = "bench")]
    pub(crate) entity: String,
    /// The live query instead of the bench's own, as JSON
    #[arg(long)]
    pub(crate) query: Option<String>,
    /// Message sent after the handshake; {i} is the connection's number
    #[arg(long, value_name = "TEXT")]
    pub(crate) subscribe: Option<String>,
    /// Text of the message that says that the subscription stands
    #[arg(long, value_name = "TEXT")]
    pub(crate) ready: Option<String>,
    /// Where to POST publications
    #[arg(long, value_name = "URL")]
    pub(crate) publish_url: Option<String>,
    /// Their body [default: {mark}{pad}]
    #[arg(long, value_name = "TEXT", requires = "publish_url")]
    pub(crate) publish_body: Option<String>,
    /// Publish by this message over a WebSocket, which the server sends to all
    #[arg(long, value_name = "TEXT", conflicts_with = "publish_url")]
    pub(crate) publish_message: Option<String>,
    /// The path of that WebSocket [default: as subscribers]
    #[arg(long, value_name = "PATH", requires = "publish_message")]
    pub(crate) publish_path: Option<String>,
    /// Threads that receive [default: half as many as cores]
    #[arg(long)]
    pub(crate) threads: Option<usize>,
    /// Most connections opened a second; 0 = as fast as they are accepted
    #[arg(long, default_value_t = 0.0, value_name = "N")]
    pub(crate) open_rate: f64,
    /// Seconds without progress after which a run is given up
    #[arg(long, default_value_t = 30, value_name = "S")]
    pub(crate) patience: u64,
    /// The results as JSON: to a file, or - for standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Idle {
    #[command(flatten)]
    pub(crate) common: Common,
    #[arg(long, default_value_t = 1_000)]
    pub(crate) connections: usize,
    /// Tidegate: connect only, to /ws
    #[arg(long)]
    pub(crate) unsubscribed: bool,
    /// Then open as many once more without a subscription: handshakes a second
    #[arg(long)]
    pub(crate) handshakes: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Fanout {
    #[command(flatten)]
    pub(crate) common: Common,
    #[arg(long, default_value_t = 1_000)]
    pub(crate) subscribers: usize,
    /// Publications a second
    #[arg(long, default_value_t = 50.0)]
    pub(crate) rate: f64,
    /// Of the measurement; a warm-up of a fifth of it (at least 1 s) is not counted
    #[arg(long, default_value_t = 10.0)]
    pub(crate) seconds: f64,
    /// Of the mark and padding that are published; what a protocol puts around them comes on top, and is told
    #[arg(long, default_value_t = 120)]
    pub(crate) bytes: usize,
    /// Also measure publications in bursts of so many, at the same rate; several: 8,64
    #[arg(long, value_name = "B", value_delimiter = ',', value_parser = burst)]
    pub(crate) backlog: Vec<usize>,
    /// Also measure a bare loop of send(), with messages as long as the server's
    #[arg(long)]
    pub(crate) raw_baseline: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Echo {
    #[command(flatten)]
    pub(crate) common: Common,
    #[arg(long, default_value_t = 100)]
    pub(crate) connections: usize,
    /// Messages a second over all; 0 = each as soon as its answer is there
    #[arg(long, default_value_t = 0.0)]
    pub(crate) rate: f64,
    #[arg(long, default_value_t = 5.0)]
    pub(crate) seconds: f64,
    /// What is sent, with {mark} in it [default for a Tidegate: an event whose reply has the mark; else {mark}]
    #[arg(long, value_name = "TEXT")]
    pub(crate) message: Option<String>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Live {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Different live queries
    #[arg(long, default_value_t = 100)]
    pub(crate) queries: u32,
    /// Connections, spread evenly over the queries [default: one a query]
    #[arg(long)]
    pub(crate) subscribers: Option<usize>,
    /// Writes a second; each concerns one query
    #[arg(long, default_value_t = 100.0)]
    pub(crate) rate: f64,
    #[arg(long, default_value_t = 10.0)]
    pub(crate) seconds: f64,
    /// Of the mark and padding in a row
    #[arg(long, default_value_t = 120)]
    pub(crate) bytes: usize,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Storm {
    #[command(flatten)]
    pub(crate) common: Common,
    #[arg(long, default_value_t = 1_000)]
    pub(crate) connections: usize,
    /// The share that is cut at once
    #[arg(long, default_value = "20%", value_parser = share)]
    pub(crate) drop: f64,
    /// Seconds over which they come back; 0 = all at once
    #[arg(long, default_value_t = 0.0)]
    pub(crate) spread: f64,
    /// New connections opened a second meanwhile, and measured
    #[arg(long, default_value_t = 50.0)]
    pub(crate) probes: f64,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Soak {
    #[command(flatten)]
    pub(crate) common: Common,
    #[arg(long, default_value_t = 500)]
    pub(crate) connections: usize,
    /// Without the pauses in which memory is read
    #[arg(long, default_value_t = 60)]
    pub(crate) seconds: u64,
    /// Most publications a second
    #[arg(long, default_value_t = 100.0)]
    pub(crate) rate: f64,
    /// Of the random choices [default: another each time, and told]
    #[arg(long)]
    pub(crate) seed: Option<u64>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Revoke {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Where the sessions are: redis://host:port/database
    #[arg(long, value_name = "URL")]
    pub(crate) redis: String,
    /// Each with a token and a session of its own
    #[arg(long, default_value_t = 10_000)]
    pub(crate) connections: usize,
    /// Sessions revoked one after the other; all that are left then go at once
    #[arg(long, default_value_t = 1_000)]
    pub(crate) revocations: usize,
    /// Of them a second
    #[arg(long, default_value_t = 100.0)]
    pub(crate) rate: f64,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Jobs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Of the job that one client sees
    #[arg(long, default_value_t = 100_000)]
    pub(crate) events: u64,
    /// Of the job that many see
    #[arg(long, default_value_t = 20_000)]
    pub(crate) subscriber_events: u64,
    #[arg(long, default_value_t = 100)]
    pub(crate) subscribers: usize,
    /// In an event, beside what is around them
    #[arg(long, default_value_t = 100)]
    pub(crate) bytes: usize,
    /// Jobs submitted one after the other
    #[arg(long, default_value_t = 1_000)]
    pub(crate) submits: u64,
    /// Idle sessions, each on a connection
    #[arg(long, default_value_t = 10_000)]
    pub(crate) sessions: usize,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct All {
    /// The page; - for standard output
    #[arg(long, default_value = "-")]
    pub(crate) out: PathBuf,
    /// Small numbers, to see whether everything runs
    #[arg(long)]
    pub(crate) quick: bool,
    /// The program to start as a server, instead of this one
    #[arg(long, value_name = "FILE")]
    pub(crate) server: Option<PathBuf>,
    /// A Redis to revoke sessions in; without one that is not measured
    #[arg(long, value_name = "URL")]
    pub(crate) redis: Option<String>,
    /// Another server's results, as name=file.json; may be given again
    #[arg(long = "with", value_name = "NAME=FILE", value_parser = named)]
    pub(crate) rivals: Vec<(String, PathBuf)>,
}

impl Common {
    /// For another server than the one that was named: what is about that one is left out.
    pub(crate) fn plain(&self) -> Self {
        Self {
            url: None,
            server: None,
            server_config: None,
            via: None,
            header: Vec::new(),
            pid: Vec::new(),
            query: None,
            subscribe: None,
            ready: None,
            publish_url: None,
            publish_body: None,
            publish_message: None,
            publish_path: None,
            json: None,
            ..self.clone()
        }
    }
}

/// Each of a burst has a connection of its own.
fn burst(text: &str) -> Result<usize, String> {
    let burst = text.trim().parse::<usize>().map_err(|error| error.to_string())?;
    if (2..=128).contains(&burst) { Ok(burst) } else { Err("must be between 2 and 128".to_owned()) }
}

/// `20%` or `0.2`.
fn share(text: &str) -> Result<f64, String> {
    let number = |text: &str| text.trim().parse::<f64>().map_err(|error| error.to_string());
    let share = match text.strip_suffix('%') {
        Some(percent) => number(percent)? / 100.0,
        None => number(text)?,
    };
    if share > 0.0 && share <= 1.0 { Ok(share) } else { Err("must be more than 0% and at most 100%".to_owned()) }
}

fn named(text: &str) -> Result<(String, PathBuf), String> {
    let (name, file) = text.split_once('=').ok_or("must be name=file.json")?;
    Ok((name.to_owned(), file.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_percent_or_parts() {
        assert_eq!((share("20%"), share("0.5")), (Ok(0.2), Ok(0.5)));
        assert!(share("0").is_err() && share("120%").is_err() && share("some").is_err());
    }
}
