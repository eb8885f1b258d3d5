//! HTTP/2 written frame by frame, for what no library would send.

use std::cell::Cell;
use std::io;

use tidegate_testkit::clients::{Endpoint, Link};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const ACK: u8 = 1;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// The payload of the PING that ends a flood: its answer says that everything before it has been read.
const LAST: &[u8; 8] = b"the last";

/// One frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = payload.len() as u32;
    let mut frame = length.to_be_bytes()[1..].to_vec();
    frame.extend_from_slice(&[kind, flags]);
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// A header block: a request for `path`, nothing remembered by the compressor.
pub(crate) fn request(method_index: u8, path: &str) -> Vec<u8> {
    let mut block = vec![0x80 | method_index, 0x86];
    for (name, value) in [(4, path), (1, "localhost")] {
        block.extend_from_slice(&[name, value.len() as u8]);
        block.extend_from_slice(value.as_bytes());
    }
    block
}

/// `:method: GET` in the static table.
pub(crate) const GET: u8 = 2;
/// `:method: POST` in the static table.
pub(crate) const POST: u8 = 3;

/// What a server answered to a flood.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    /// HEADERS frames: requests answered.
    pub(crate) answered: usize,
    /// RST_STREAM frames, by their error code.
    pub(crate) refused: Vec<u32>,
    /// The error code of a GOAWAY.
    pub(crate) goaway: Option<u32>,
    /// The last PING was answered: everything was read, and the connection stood it.
    pub(crate) is_alive: bool,
    /// Bytes that were taken from us before it ended.
    pub(crate) sent: usize,
}

/// Connects by prior knowledge, sends the preface and then `flood`, piece after piece, and a PING; reads all the while,
/// until the PING is answered or the connection ends.
pub(crate) async fn flood(endpoint: &Endpoint, flood: impl Iterator<Item = Vec<u8>> + Send) -> Answers {
    let (read, write) = tokio::io::split(endpoint.connect("h2").await.expect("a connection"));
    let sent = Cell::new(0);
    let (send, receive) = (send(write, flood, &sent), receive(read));
    let (mut send, mut receive) = (std::pin::pin!(send), std::pin::pin!(receive));
    // A server that has ended the connection reads no more; one that reads on answers in the end.
    let mut answers = tokio::select! {
        _ = &mut send => receive.await,
        answers = &mut receive => answers,
    };
    answers.sent = sent.get();
    answers
}

/// Counts the bytes that were taken.
async fn send(mut write: WriteHalf<Link>, flood: impl Iterator<Item = Vec<u8>>, sent: &Cell<usize>) -> io::Result<()> {
    let preface = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(SETTINGS, 0, 0, &[])].concat();
    let mut batch = preface;
    for piece in flood.chain([frame(PING, 0, 0, LAST)]) {
        batch.extend_from_slice(&piece);
        if batch.len() >= 16 * 1024 {
            write.write_all(&batch).await?;
            sent.set(sent.get() + batch.len());
            batch.clear();
        }
    }
    write.write_all(&batch).await?;
    sent.set(sent.get() + batch.len());
    Ok(())
}

async fn receive(mut read: ReadHalf<Link>) -> Answers {
    let mut answers = Answers::default();
    while let Ok((kind, flags, payload)) = next(&mut read).await {
        let number = |at: usize| payload.get(at..at + 4).map_or(0, |code| u32::from_be_bytes(code.try_into().unwrap()));
        match kind {
            HEADERS => answers.answered += 1,
            RST_STREAM => answers.refused.push(number(0)),
            GOAWAY => answers.goaway = Some(number(4)),
            PING if flags & ACK != 0 && payload == LAST => {
                answers.is_alive = true;
                break;
            }
            _ => {}
        }
    }
    answers
}

async fn next(read: &mut ReadHalf<Link>) -> io::Result<(u8, u8, Vec<u8>)> {
    let mut head = [0; 9];
    read.read_exact(&mut head).await?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
    let mut payload = vec![0; length];
    read.read_exact(&mut payload).await?;
    Ok((head[3], head[4], payload))
}
