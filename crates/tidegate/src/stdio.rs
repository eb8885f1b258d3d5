//! `tidegate arcp --stdio`: the runtime as somebody's child, a JSON object a line on standard input and output.
//!
//! It is the same gateway, reached over the same protocol: lines go to its own `/arcp` on a loopback port that nobody is told, or
//! to that of a gateway elsewhere. Nothing else is ever written to standard output.

use std::net::{Ipv4Addr, SocketAddr};

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, stdin, stdout};
use tokio_websockets::{ClientBuilder, Error, Limits, Message};

use crate::cli::Failure;
use crate::config::Config;
use crate::gateway::Gateway;
use crate::serve::{begin, runtime};

/// Longest line that is passed on. What the gateway takes is its own to say; this bounds what is held.
const LINE_BYTES_MAX: u64 = 16 << 20;

/// Serves whoever started this process until its input ends or the session does.
pub(crate) fn serve(mut config: Config) -> Result<(), Failure> {
    config.listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    config.tls = None;
    begin(&config);
    run(0, async {
        let gateway = Gateway::builder(config).start().await?;
        let passed = pass(&gateway.url().replacen("http", "ws", 1)).await;
        gateway.stop().await?;
        passed
    })
}

/// Passes lines to and from a gateway that runs elsewhere.
pub(crate) fn reach(url: &str) -> Result<(), Failure> {
    run(1, pass(url.trim_end_matches('/').trim_end_matches("/arcp")))
}

fn run(threads: usize, serving: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = runtime(threads)?;
    let served = runtime.block_on(serving);
    // A read of standard input cannot be called off: whoever keeps that open need not be waited for.
    runtime.shutdown_background();
    served
}

async fn pass(url: &str) -> Result<(), Failure> {
    let url = format!("{url}/arcp");
    let limits = Limits::default().max_payload_len(Some(LINE_BYTES_MAX as usize));
    let builder = ClientBuilder::new().uri(&url)?.limits(limits);
    let (socket, _) =
        builder.connect().await.map_err(|error| format!("{url}: {error}; is a Tidegate running there?"))?;
    let (mut says, mut hears) = socket.split();
    let (mut input, mut output) = (BufReader::new(stdin()), stdout());
    let talking = async {
        let mut line = Vec::new();
        loop {
            line.clear();
            if (&mut input).take(LINE_BYTES_MAX).read_until(b'\n', &mut line).await? == 0 {
                break;
            }
            let text = line.trim_ascii();
            // A line that is no text is no JSON either: the gateway says so.
            if !text.is_empty() && says.send(Message::text(String::from_utf8_lossy(text).into_owned())).await.is_err() {
                break;
            }
        }
        // The gateway closes in turn, after what it still has to say.
        let _ = says.close().await;
        Ok::<_, Failure>(())
    };
    let listening = async {
        while let Some(message) = hears.next().await {
            match message {
                Ok(message) => {
                    let Some(text) = message.as_text() else { continue };
                    output.write_all(text.as_bytes()).await?;
                    output.write_all(b"\n").await?;
                    output.flush().await?;
                }
                Err(Error::AlreadyClosed | Error::Io(_)) => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    };
    // What is said last may be answered: so the end of the input is not the end.
    let mut talking = std::pin::pin!(talking);
    let mut listening = std::pin::pin!(listening);
    tokio::select! {
        talked = talking.as_mut() => {
            talked?;
            listening.await
        }
        listened = listening.as_mut() => listened,
    }
}
