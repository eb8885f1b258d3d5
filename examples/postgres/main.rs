//! The gateway inside a program of one's own: it follows the database that the configuration names, and serves a page
//! beside the live queries. `run.sh` starts it on a throwaway PostgreSQL.

use std::error::Error;
use std::path::PathBuf;

use axum::Router;
use axum::http::header;
use axum::routing::get;
use clap::Parser;
use tidegate::{Config, Flags, Gateway};
use tokio::signal::unix::{SignalKind, signal};

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
/// Everything comes from here, nothing is inline.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The page, and what it shares with that of `tidegate demo`.
const FILES: [(&str, &str, &str); 7] = [
    ("/", HTML, include_str!("page/index.html")),
    ("/page.css", CSS, include_str!("page/page.css")),
    ("/page.js", JS, include_str!("page/page.js")),
    ("/board.js", JS, include_str!("page/board.js")),
    ("/demo.css", CSS, include_str!("../../web/demo/demo.css")),
    ("/demo-meters.js", JS, include_str!("../../web/demo/demo-meters.js")),
    ("/tidegate.js", JS, include_str!("../../clients/js/tidegate.js")),
];

/// A gateway on a PostgreSQL, with a page.
#[derive(Parser)]
struct Arguments {
    #[arg(long)]
    config: PathBuf,
    #[arg(long)]
    data_dir: PathBuf,
    #[arg(long)]
    listen: Option<String>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let Arguments { config, data_dir, listen } = Arguments::parse();
    let config = Config::load(Some(&config), &Flags { listen, data_dir: Some(data_dir) })?;
    tracing_subscriber::fmt().with_env_filter(&config.log.level).with_writer(std::io::stderr).init();
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut gateway = Gateway::builder(config).routes(page()).start().await?;
    println!("listening on {}", gateway.url());
    tokio::select! {
        ended = gateway.ended() => ended?,
        _ = interrupt.recv() => gateway.stop().await?,
        _ = terminate.recv() => gateway.stop().await?,
    }
    Ok(())
}

fn page() -> Router {
    FILES.iter().fold(Router::new(), |router, (path, kind, text)| {
        let headers = [(header::CONTENT_TYPE, *kind), (header::CONTENT_SECURITY_POLICY, POLICY)];
        router.route(path, get(move || async move { (headers, *text) }))
    })
}
