//! An edge that serves nothing but a protocol of one's own: every WebSocket message comes back, on `/` and on `/echo`. What
//! conformance suites run against, over the workers, sessions and sockets that clients of a gateway meet.
//!
//! ```text
//! cargo run --release -p tidegate-edge --example echo -- 127.0.0.1:9102 [--deflate]
//! ```

use std::error::Error;
use std::sync::Arc;

use axum::Router;
use bytes::Bytes;
use tidegate_edge::{Edge, EdgeConfig, Out, PositionsOnly, Protocol, Rooms, serve};
use tidegate_identity::{Answer, Authority, Principal, PrincipalKind, Refusal, Shown, TopicVerb, WriteScope};
use tidegate_live::{Config, Live};
use tidegate_model::{Catalog, Entity, Position, Query, RowSource, ScanError, ScanReply, ScanRequest, Tenant};
use tidegate_session::{CloseReason, Item, Session};
use tidegate_topics::{Limits as TopicLimits, Namespaces, Topics};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut address = "127.0.0.1:9102".to_owned();
    let mut compression = false;
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--deflate" => compression = true,
            _ => address = argument,
        }
    }
    let listener = TcpListener::bind(&address).await?;
    eprintln!("listening on {}", listener.local_addr()?);
    let edge = edge(config(compression))?.socket("/", Echo::open).socket("/echo", Echo::open);
    // Nobody stops it but by a signal.
    Ok(serve(edge, vec![listener], Router::new(), CancellationToken::new()).await?)
}

fn config(compression: bool) -> EdgeConfig {
    EdgeConfig {
        // Autobahn sends 16 MiB at once, 4 MiB in fragments of 64 bytes, and thousands of messages as fast as it can.
        max_message_bytes: 16 << 20,
        max_fragments: 1 << 17,
        bytes_per_second: 0,
        messages_per_second: u32::MAX,
        compression,
        // Every message that gets shorter by it, so that the suite sees as many as possible.
        compression_min_bytes: 0,
        ..EdgeConfig::default()
    }
}

/// An edge over no data.
fn edge(config: EdgeConfig) -> Result<Edge, Box<dyn Error>> {
    let catalog = Arc::new(Catalog::build(&[])?);
    let rows: Arc<dyn RowSource> = Arc::new(Nothing);
    let live = Live::start(&Config { workers: 1, ..Config::default() }, 0, Position(0), &rows, Box::new(|_| {}))?;
    let (_, applied) = watch::channel(Position(0));
    let (authority, places) = (Arc::new(Everybody), Arc::new(PositionsOnly));
    let topics = Topics::in_memory(Namespaces::new(Vec::new()), TopicLimits::default(), "", Arc::new(|| 0))?;
    Ok(Edge::new(config, Rooms { catalog, live, topics, authority, applied, places, runtime: None }))
}

/// Sends each message back. A reply waits in the session with the kind of its message in front.
struct Echo;

const TEXT: u8 = 0;
const BINARY: u8 = 1;

impl Echo {
    fn open(_: &Arc<Principal>) -> Box<dyn Protocol> {
        Box::new(Self)
    }
}

impl Protocol for Echo {
    fn text(&mut self, session: &mut Session, text: &str, _: Instant) -> Result<(), CloseReason> {
        session.reply(reply(TEXT, text.as_bytes()));
        Ok(())
    }

    fn binary(&mut self, session: &mut Session, bytes: &[u8], _: Instant) -> Result<(), CloseReason> {
        session.reply(reply(BINARY, bytes));
        Ok(())
    }

    fn item(&mut self, item: Item, out: &mut Out) -> Result<(), CloseReason> {
        // There are no subscriptions, so nothing but replies.
        if let Item::Reply(bytes) = item {
            match bytes.split_first() {
                Some((&BINARY, message)) => out.binary(message),
                Some((_, message)) => out.text(message),
                None => {}
            }
        }
        Ok(())
    }
}

fn reply(kind: u8, message: &[u8]) -> Bytes {
    [&[kind], message].concat().into()
}

/// Lets everybody in and shows nobody anything.
struct Everybody;

impl Authority for Everybody {
    fn authenticate(&self, _: &Shown<'_>) -> Answer<Arc<Principal>> {
        Answer::Now(Ok(Arc::new(Principal::new(PrincipalKind::Anonymous))))
    }

    fn read(&self, _: &Principal, _: Query) -> Result<(Tenant, Query), Refusal> {
        Err(nothing())
    }

    fn write(&self, _: &Principal, _: &Entity) -> Result<WriteScope, Refusal> {
        Err(nothing())
    }

    fn topic(&self, _: &Principal, _: TopicVerb, _: &str) -> Result<(), Refusal> {
        Err(nothing())
    }
}

fn nothing() -> Refusal {
    Refusal { code: "forbidden", message: "there is nothing here".to_owned(), retryable: false, status: 403 }
}

struct Nothing;

impl RowSource for Nothing {
    fn scan(&self, _: ScanRequest, reply: ScanReply) {
        reply(Err(ScanError::Store("there is nothing here".into())));
    }
}
