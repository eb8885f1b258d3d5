//! The command line.

use std::error::Error;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Parser, Subcommand};
use serde_json::value::RawValue;
use tidegate_feed::postgres::Settings;

use crate::agents::AgentCommand;
use crate::config::{Config, Flags, Source};
use crate::import::Import;
use crate::jobs::JobsCommand;
use crate::sessions::Sessions;
use crate::token::TokenCommand;
use crate::watch::Watch;
use crate::{bench, demo, init, serve, stdio, token};

/// Read from the working directory where no file is named.
const CONFIG_FILE: &str = "tidegate.toml";

/// What any command may end with.
pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// A realtime gateway: live queries, exactly, over WebSocket and Server-Sent Events.
#[derive(Debug, Parser)]
#[command(
    name = "tidegate",
    version,
    arg_required_else_help = true,
    after_help = "Examples:
  tidegate demo                                     watch a week of earthquakes in a browser
  tidegate init --from postgres://tide@localhost/shop
  tidegate import quakes.csv --entity quakes --key id --config tidegate.toml
  tidegate serve --config tidegate.toml
  tidegate query '{\"entity\":\"quakes\",\"sort\":[{\"column\":\"mag\",\"desc\":true}],\"limit\":20}'"
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Look at a PostgreSQL database and write the configuration that follows it
    #[command(after_help = "Examples:
  tidegate init --from postgres://tide@db.example/shop
  TIDEGATE_SOURCE_URL=postgres://tide:secret@localhost/shop tidegate init --table orders --table crm.customers
  tidegate init --from postgres://postgres@localhost/shop --json | jq '.tables[].problems'

Nothing in the database is changed. What is amiss is told with the statement that mends it.")]
    Init(Init),
    /// Run the gateway
    #[command(after_help = "Examples:
  tidegate serve
  tidegate serve --config tidegate.toml --listen 0.0.0.0:8470
  TIDEGATE_IDENTITY_API_KEYS=a-long-random-key tidegate serve

The first line on standard output is `listening on http://127.0.0.1:8470` once it serves.
Every setting of the file is also an environment variable: TIDEGATE_<SECTION>_<KEY>.
`tidegate config show` lists them all. SIGTERM drains connections and ends with status 0.")]
    Serve(Common),
    /// Replay a week of earthquakes as live changes, with a page to watch it on
    #[command(after_help = "Examples:
  tidegate demo
  tidegate demo --speed 7200 --listen 127.0.0.1:0
  curl -N 'http://127.0.0.1:8470/v1/live' -d '{\"entity\":\"quakes\",\"limit\":5}'
  tidegate agent run count --input '{\"to\":5}'      while it runs, in another terminal")]
    Demo(Demo),
    /// Load a CSV or JSON Lines file into the store
    #[command(after_help = "Examples:
  tidegate import quakes.csv --entity quakes --key id
  tidegate import quakes.csv --entity quakes --key id --config tidegate.toml
  tidegate import orders.jsonl --entity orders --key region,number --tenant-column customer

An entity that is not configured is inferred from the whole file; its definition goes to the
configuration file, or to standard output where there is none. A row becomes what its record
says: columns that the record does not name are null. Stop the gateway of that directory first.")]
    Import(ImportArgs),
    /// Watch a live query in the terminal
    #[command(after_help = "Examples:
  tidegate query '{\"entity\":\"quakes\",\"where\":[{\"column\":\"mag\",\"op\":\"gte\",\"value\":4}]}'
  tidegate query '{\"entity\":\"quakes\"}' --url http://127.0.0.1:8470 --token demo
  tidegate query '{\"entity\":\"quakes\"}' --json | jq .row.place

On a terminal: a table that updates in place (+ entered, ~ changed, - left).
Else, or with --json: one frame a line.")]
    Query(QueryArgs),
    /// Ask agents to do something, in the terminal
    #[command(
        subcommand,
        after_help = "Examples:
  tidegate agent list
  tidegate agent run count --input '{\"to\":5}'
  tidegate agent run review@2.1.0 --input @change.json --budget USD:5.00"
    )]
    Agent(AgentCommand),
    /// See what agents do, and end it
    #[command(
        subcommand,
        after_help = "Examples:
  tidegate jobs ls --status running
  tidegate jobs watch job_01JABCDEFGHJKMNPQRSTVWXYZ0
  TIDEGATE_API_KEY=… tidegate jobs cancel job_01JABCDEFGHJKMNPQRSTVWXYZ0"
    )]
    Jobs(JobsCommand),
    /// End device sessions, users and tenants of a running gateway
    #[command(
        subcommand,
        after_help = "Examples:
  tidegate sessions revoke 3f2a91
  tidegate sessions revoke --user mara --tenant acme
  TIDEGATE_API_KEY=… tidegate sessions revoke --tenant acme --url https://gate.example --json"
    )]
    Sessions(Sessions),
    /// Make a token for development, or say what one is worth here
    #[command(
        subcommand,
        after_help = "Examples:
  tidegate token mint --user alice --tenant acme --role admin --claim 'plan=\"pro\"' --ttl 15m
  tidegate token mint --user alice | tidegate token verify
  tidegate token mint --issuer https://id.example --user alice --private-key-file id.pem
  tidegate token verify --json eyJhbGciOi… | jq .claims

The issuers and their keys are those of the configuration."
    )]
    Token(TokenCommand),
    /// Copy the store to a new file, also while the gateway runs
    #[command(after_help = "Examples:
  tidegate backup backup.db --data-dir ./tidegate-data

To restore, put the file into an empty data directory as tidegate.db.")]
    Backup(Backup),
    /// Measure a gateway, or any WebSocket or SSE server: memory, latency, time a frame, storms
    #[command(
        subcommand,
        after_help = "Examples:
  tidegate bench fanout                              start a gateway, measure it, end it
  tidegate bench idle --connections 10000 --json idle.json
  tidegate bench fanout --url ws://127.0.0.1:9000/ --publish-message '{mark}{pad}'
  tidegate bench all --out docs/benchmarks.md"
    )]
    Bench(Box<bench::Mode>),
    /// Serve agents' jobs to the process that started this one
    #[command(after_help = "Examples:
  tidegate arcp --stdio
  tidegate arcp --stdio --config tidegate.toml --data-dir ./agents-data
  tidegate arcp --stdio --url wss://gateway.example     the same lines, to a gateway elsewhere

A JSON object a line on standard input and output, as on the WebSocket /arcp; the log goes to standard error. Who may do
what is what the configuration says, and who it is the session.hello. It ends with its input or its session.")]
    Arcp(Arcp),
    /// Check or show the configuration
    #[command(
        subcommand,
        after_help = "Examples:
  tidegate config check --config tidegate.toml
  tidegate config show --json"
    )]
    Config(ConfigCommand),
}

#[derive(Debug, Args)]
struct Init {
    /// The database: postgres://role@host:5432/database
    #[arg(long, value_name = "URL", env = "TIDEGATE_SOURCE_URL", hide_env_values = true)]
    from: String,
    /// The file to write
    #[arg(long, default_value = CONFIG_FILE)]
    output: PathBuf,
    /// A table to open, as `table` or `schema.table`; may be given again [default: all]
    #[arg(long = "table")]
    tables: Vec<String>,
    /// Overwrite the file
    #[arg(long)]
    force: bool,
    /// Say what was found as one JSON object, and write no file
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Common {
    /// Configuration file [default: tidegate.toml, if there is one]
    #[arg(long, env = "TIDEGATE_CONFIG")]
    config: Option<PathBuf>,
    /// Address to listen on; port 0 takes any free one
    #[arg(long)]
    listen: Option<String>,
    /// Directory of the embedded store
    #[arg(long)]
    data_dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Arcp {
    /// Over standard input and output: the only way there is
    #[arg(long, required = true)]
    stdio: bool,
    /// A gateway that runs elsewhere
    #[arg(long, conflicts_with_all = ["config", "listen", "data_dir"])]
    url: Option<String>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
struct Demo {
    /// Address to listen on; port 0 takes any free one
    #[arg(long)]
    listen: Option<String>,
    /// Directory of the embedded store [default: a temporary one, removed at the end]
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// Seconds of the data in one of ours; 0 pauses
    #[arg(long, default_value_t = 3_600)]
    speed: u32,
    /// Listen beyond loopback although everybody is let in
    #[arg(long)]
    open_to_network: bool,
}

#[derive(Debug, Args)]
struct ImportArgs {
    /// A .csv file with a header, or a .jsonl (.ndjson) file with an object a line
    file: PathBuf,
    /// The entity to load into
    #[arg(long)]
    entity: String,
    /// Its key columns, separated by commas; needed where the entity is not configured yet
    #[arg(long, value_delimiter = ',')]
    key: Vec<String>,
    /// The column that names a row's tenant, where the entity is not configured yet
    #[arg(long)]
    tenant_column: Option<String>,
    /// Configuration file; gets the entity's definition if it has none [default: tidegate.toml, if there is one]
    #[arg(long, env = "TIDEGATE_CONFIG")]
    config: Option<PathBuf>,
    /// Directory of the embedded store
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// Say what was done as one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct QueryArgs {
    /// The live query, as JSON
    query: String,
    /// The gateway
    #[arg(long, default_value = "http://127.0.0.1:8470")]
    url: String,
    /// Bearer token
    #[arg(long, env = "TIDEGATE_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// A server's key
    #[arg(long, env = "TIDEGATE_API_KEY", hide_env_values = true)]
    api_key: Option<String>,
    /// One frame a line, also on a terminal
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Backup {
    /// The new file
    target: PathBuf,
    /// Configuration file [default: tidegate.toml, if there is one]
    #[arg(long, env = "TIDEGATE_CONFIG")]
    config: Option<PathBuf>,
    /// Directory of the embedded store
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// Say what was done as one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Check it as a whole, as `serve` does before it listens
    Check(Common),
    /// Print what is in effect, where each value came from, secrets hidden
    Show {
        #[command(flatten)]
        common: Common,
        /// As one JSON object
        #[arg(long)]
        json: bool,
    },
}

impl Cli {
    /// Does what the command line says, to the end; the status that the process is to end with.
    ///
    /// # Errors
    /// Whatever stopped it, in words for the person at the terminal.
    pub fn run(self) -> Result<ExitCode, Box<dyn Error + Send + Sync>> {
        match self.command {
            Command::Agent(command) => return serve::runtime(1)?.block_on(command.run()),
            Command::Jobs(command) => return serve::runtime(1)?.block_on(command.run()),
            Command::Init(args) => init(args)?,
            Command::Serve(common) => serve::serve(common.load()?)?,
            Command::Demo(args) => {
                let flags = Flags { listen: args.listen, data_dir: args.data_dir };
                serve::demo(demo::Options { flags, speed: args.speed, open_to_network: args.open_to_network })?;
            }
            Command::Import(args) => import(args)?,
            Command::Query(args) => query(args)?,
            Command::Token(command) => token::run(command)?,
            Command::Sessions(command) => serve::runtime(1)?.block_on(command.run())?,
            Command::Backup(args) => backup(&args)?,
            Command::Bench(mode) => bench::run(&mode)?,
            Command::Arcp(Arcp { url: Some(url), .. }) => stdio::reach(&url)?,
            Command::Arcp(Arcp { common, .. }) => stdio::serve(common.load()?)?,
            Command::Config(command) => config(command)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Common {
    fn load(self) -> Result<Config, Failure> {
        let flags = Flags { listen: self.listen, data_dir: self.data_dir };
        Ok(Config::load(config_file(self.config).as_deref(), &flags)?)
    }
}

/// The file named, or the one that lies here.
pub(crate) fn config_file(named: Option<PathBuf>) -> Option<PathBuf> {
    named.or_else(|| Path::new(CONFIG_FILE).exists().then(|| CONFIG_FILE.into()))
}

fn init(args: Init) -> Result<(), Failure> {
    let settings = Settings::url(&args.from).map_err(|e| format!("--from: {e}"))?;
    let Init { output, tables, force, json, .. } = args;
    serve::runtime(1)?.block_on(init::Init { settings, tables, output, force, json }.run())
}

fn import(args: ImportArgs) -> Result<(), Failure> {
    let import = Import {
        file: args.file,
        entity: args.entity,
        key: args.key,
        tenant_column: args.tenant_column,
        config: config_file(args.config),
        flags: Flags { listen: None, data_dir: args.data_dir },
    };
    let done = import.run()?;
    let (loaded, seconds) = (done.loaded, done.took.as_secs_f64());
    let rate = loaded.rows as f64 / seconds.max(0.001);
    if args.json {
        return say(&serde_json::json!({
            "entity": import.entity, "rows": loaded.rows, "transactions": loaded.transactions,
            "position": loaded.position.to_string(), "seconds": seconds, "definition": done.definition,
        }));
    }
    let (rows, transactions, position) = (loaded.rows, loaded.transactions, loaded.position);
    eprintln!("{rows} rows in {transactions} transactions, {seconds:.2} s ({rate:.0} rows/s), at position {position}");
    if let Some(definition) = done.definition {
        eprintln!("No configuration file was named, so here is what it needs:\n");
        say(&definition.trim_end())?;
    }
    Ok(())
}

fn query(args: QueryArgs) -> Result<(), Failure> {
    let query = RawValue::from_string(args.query).map_err(|e| format!("the query is no JSON: {e}"))?;
    let watch = Watch { query, url: args.url, token: args.token, api_key: args.api_key, json: args.json };
    Ok(serve::runtime(1)?.block_on(watch.run())?)
}

fn backup(args: &Backup) -> Result<(), Failure> {
    let flags = Flags { listen: None, data_dir: args.data_dir.clone() };
    let config = Config::load(config_file(args.config.clone()).as_deref(), &flags)?;
    let position = tidegate_mirror::backup(&config.data_dir, &args.target)?;
    if args.json {
        return say(&serde_json::json!({ "target": args.target, "position": position.to_string() }));
    }
    say(&format!("backed up to {} as of position {position}", args.target.display()))
}

fn config(command: ConfigCommand) -> Result<(), Failure> {
    match command {
        ConfigCommand::Check(common) => {
            let config = common.load()?;
            if let Some(tls) = &config.tls {
                tidegate_edge::Tls::load(&tls.certificate_file, &tls.key_file)?;
            }
            let clock = Arc::new(|| 0);
            tidegate_identity::Tokens::alone(&config.identity, serve::runtime(1)?.handle(), clock)?;
            for warning in crate::config::warnings(&config.identity).into_iter().chain(config.centrifugo.warning()) {
                eprintln!("warning: {warning}");
            }
            for name in &config.unknown_variables {
                eprintln!("warning: {name} looks like a setting and is none");
            }
            match &config.source {
                Source::Local(catalog) => say(&format!("ok: {}", counts(catalog.entities().len(), &config))),
                Source::Postgres(postgres) => say(&format!(
                    "ok: {}; whether the database has what they name is checked when it starts",
                    counts(postgres.wishes.len(), &config),
                )),
            }
        }
        ConfigCommand::Show { common, json: true } => say(&common.load()?.show_json()),
        ConfigCommand::Show { common, json: false } => say(&common.load()?.show().trim_end()),
    }
}

fn counts(entities: usize, config: &Config) -> String {
    let (topics, agents, permissions) = (config.namespaces(), config.arcp.agents.len(), config.permissions());
    format!("{entities} entities, {topics} topic namespaces, {agents} agents, {permissions} permissions")
}

/// One line on standard output. Whoever closed it does not want to know.
pub(crate) fn say(line: &impl std::fmt::Display) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{line}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
