//! Whoever publishes: one loop over a few connections, which sends by the clock and never waits for an answer before it
//! sends the next. So a slow server makes latencies grow, not the load shrink.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use tidegate_ws::{OpCode, write_masked};

use super::BenchError;
use super::board::Board;
use super::connection::{Came, MASK, Wire};
use super::marker::{Clock, MARK_BYTES, Mark, NUMBER_MAX};
use super::plan::{Plan, Transport};
use super::target::ROWS;

/// Connections, if no burst needs more.
const LANES: usize = 16;
/// For the last answers.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// A request over HTTP/1.1.
    Post,
    /// A message over one WebSocket, which the server sends to all.
    Message,
}

/// How to publish. In `body` stand `{mark}`, `{pad}`, `{row}`, `{group}`.
#[derive(Debug, Clone)]
pub(crate) struct Publishing {
    pub(crate) address: SocketAddr,
    pub(crate) host: String,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) way: Way,
    pub(crate) body: String,
    /// Of mark and padding together.
    pub(crate) bytes: usize,
    pub(crate) groups: u32,
}

/// What was published, by number from the first of the schedule.
#[derive(Debug, Default)]
pub(crate) struct Published {
    pub(crate) first: u32,
    pub(crate) sent: Vec<u64>,
    /// When the answer was read; 0 where there was none.
    pub(crate) answered: Vec<u64>,
    /// How much later than planned each was sent.
    pub(crate) lag: Vec<u64>,
    pub(crate) refused: u64,
}

struct Lane {
    stream: TcpStream,
    wire: Option<Wire>,
    /// Sent and not answered: places in `Published`.
    waiting: VecDeque<usize>,
    answer: Vec<u8>,
}

pub(crate) struct Publisher {
    publishing: Publishing,
    pad: String,
    lanes: Vec<Lane>,
    poll: Poll,
    clock: Clock,
    next: u32,
    next_lane: usize,
    trouble: Option<String>,
}

impl Publisher {
    pub(crate) fn connect(publishing: Publishing, burst: usize, clock: Clock) -> Result<Self, BenchError> {
        let poll = Poll::new()?;
        let lanes = if publishing.way == Way::Message { 1 } else { LANES.max(burst) };
        let lane = |nth: usize| -> Result<Lane, BenchError> {
            let mut stream = std::net::TcpStream::connect(publishing.address)?;
            stream.set_nodelay(true)?;
            let wire = (publishing.way == Way::Message).then(|| upgrade(&mut stream, &publishing)).transpose()?;
            stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(stream);
            poll.registry().register(&mut stream, Token(nth), Interest::READABLE)?;
            Ok(Lane { stream, wire, waiting: VecDeque::new(), answer: Vec::new() })
        };
        let lanes = (0..lanes).map(lane).collect::<Result<_, _>>()?;
        let pad = "x".repeat(publishing.bytes.saturating_sub(MARK_BYTES));
        Ok(Self { publishing, pad, lanes, poll, clock, next: 0, next_lane: 0, trouble: None })
    }

    /// Publishes `count` times, `rate` a second, in bursts of `burst`, and waits for the answers.
    pub(crate) fn run(
        &mut self,
        rate: f64,
        burst: usize,
        count: usize,
        board: Option<&Board>,
    ) -> Result<Published, BenchError> {
        if u64::from(self.next) + count as u64 > NUMBER_MAX {
            return Err(BenchError::Usage(format!("more than {NUMBER_MAX} publications")));
        }
        let mut done = Published { first: self.next, ..Published::default() };
        let (began, step) = (self.clock.nanos(), burst as f64 * 1e9 / rate);
        let mut events = Events::with_capacity(256);
        let mut last = Instant::now();
        loop {
            let due = began + (step * (done.sent.len() / burst) as f64) as u64;
            let now = self.clock.nanos();
            if done.sent.len() < count && now >= due {
                for _ in 0..burst.min(count - done.sent.len()) {
                    self.send(&mut done, due, board)?;
                }
                last = Instant::now();
                continue;
            }
            let is_waiting = self.lanes.iter().any(|lane| !lane.waiting.is_empty());
            if done.sent.len() == count && (!is_waiting || last.elapsed() > PATIENCE) {
                return Ok(done);
            }
            let pause = if done.sent.len() < count { due.saturating_sub(now) } else { 10_000_000 };
            match self.poll.poll(&mut events, Some(Duration::from_nanos(pause.min(10_000_000)))) {
                Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error.into()),
                _ => {}
            }
            for event in &events {
                self.receive(event.token().0, &mut done)?;
            }
        }
    }

    /// What the server said to the first that it refused.
    pub(crate) fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    fn send(&mut self, done: &mut Published, due: u64, board: Option<&Board>) -> Result<(), BenchError> {
        let groups = self.publishing.groups.max(1);
        let (number, group) = (self.next, self.next % groups);
        let row = group * ROWS + (number / groups) % ROWS;
        self.next += 1;
        if let Some(board) = board {
            board.published.store(u64::from(self.next), Relaxed);
        }
        let nth = self.next_lane % self.lanes.len();
        self.next_lane += 1;
        let sent = self.clock.nanos();
        let body = self.publishing.body.replace("{mark}", &Mark { number, sent }.text()).replace("{pad}", &self.pad);
        let body = body.replace("{row}", &row.to_string()).replace("{group}", &group.to_string());
        let lane = &mut self.lanes[nth];
        let bytes = if lane.wire.is_some() {
            let mut frame = Vec::new();
            write_masked(OpCode::Text, body.as_bytes(), MASK, &mut frame);
            frame
        } else {
            lane.waiting.push_back(done.sent.len());
            request(&self.publishing, &body)
        };
        done.sent.push(sent);
        done.answered.push(0);
        done.lag.push(sent.saturating_sub(due));
        write_all(&mut lane.stream, &bytes)
    }

    fn receive(&mut self, nth: usize, done: &mut Published) -> Result<(), BenchError> {
        let Some(lane) = self.lanes.get_mut(nth) else { return Ok(()) };
        let mut buffer = [0; 16 << 10];
        loop {
            let read = match lane.stream.read(&mut buffer) {
                Ok(0) => return Err(BenchError::Publisher("the server ended a publisher's connection".to_owned())),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            if let Some(wire) = &mut lane.wire {
                let mut out = Vec::new();
                let fed = wire.feed(Transport::WebSocket, &mut buffer[..read], &mut out, |_| {});
                fed.map_err(|broken| BenchError::Publisher(broken.to_string()))?;
                write_all(&mut lane.stream, &out)?;
                continue;
            }
            lane.answer.extend_from_slice(&buffer[..read]);
            while let Some((status, length)) = answer(&lane.answer) {
                let now = self.clock.nanos();
                if let Some(place) = lane.waiting.pop_front() {
                    done.answered[place] = now;
                }
                if !(200..300).contains(&status) {
                    done.refused += 1;
                    let said = || String::from_utf8_lossy(&lane.answer[..length]).into_owned();
                    self.trouble.get_or_insert_with(said);
                }
                lane.answer.drain(..length);
            }
        }
    }
}

/// The status and the length of a complete answer at the front.
fn answer(bytes: &[u8]) -> Option<(u16, usize)> {
    let end = memchr::memmem::find(bytes, b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let status = head.get(9..12)?.parse().ok()?;
    let field = |name: &str| {
        let mut fields = head.lines().filter_map(|line| line.split_once(':'));
        fields.find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    };
    if field("transfer-encoding").is_some() {
        let last = memchr::memmem::find(&bytes[end..], b"0\r\n\r\n")?;
        return Some((status, end + last + 5));
    }
    let length: usize = field("content-length").map_or(Some(0), |length| length.parse().ok())?;
    (bytes.len() >= end + length).then_some((status, end + length))
}

fn request(publishing: &Publishing, body: &str) -> Vec<u8> {
    let Publishing { path, host, headers, .. } = publishing;
    let mut request = format!("POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {}\r\n", body.len());
    let named = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    if !named {
        request.push_str("Content-Type: application/json\r\n");
    }
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    request.push_str(body);
    request.into_bytes()
}

/// Little is written, and a server that does not take it for long is at its end.
fn write_all(stream: &mut TcpStream, mut bytes: &[u8]) -> Result<(), BenchError> {
    let began = Instant::now();
    while !bytes.is_empty() {
        match stream.write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == ErrorKind::WouldBlock && began.elapsed() < PATIENCE => {
                std::thread::yield_now()
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// The handshake of the one that publishes by messages.
fn upgrade(stream: &mut std::net::TcpStream, publishing: &Publishing) -> Result<Wire, BenchError> {
    let Publishing { address, host, path, headers, .. } = publishing.clone();
    let transport = Transport::WebSocket;
    let (body, hello, ready, echo) = (None, None, None, None);
    let plan = Plan { address, host, path, headers, transport, body, hello, ready, groups: 1, keeps: false, echo };
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&plan.request(0))?;
    let (mut wire, mut status, mut buffer) = (Wire::new(), None, [0; 4096]);
    while status.is_none() {
        let read = stream.read(&mut buffer)?;
        let fed = wire.feed(transport, &mut buffer[..read], &mut Vec::new(), |came| {
            if let Came::Head { status: came, .. } = came {
                status = Some(came);
            }
        });
        fed.map_err(|broken| BenchError::Publisher(broken.to_string()))?;
        if read == 0 || status.is_some_and(|status| status != 101) {
            return Err(BenchError::Publisher(format!("the handshake was answered with {status:?}")));
        }
    }
    Ok(wire)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_apart() {
        let two = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}HTTP/1.1 503 No\r\n\r\n";
        assert_eq!(answer(two), Some((200, 40)));
        assert_eq!(answer(&two[..39]), None);
        assert_eq!(answer(&two[40..]), Some((503, 19)));
        let chunked = b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
        assert_eq!(answer(chunked), Some((201, chunked.len())));
        assert_eq!(answer(&chunked[..60]), None);
    }
}
