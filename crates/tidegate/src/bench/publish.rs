//! Whoever publishes: one loop over a few connections that stay open, on a thread of its own. It sends by the clock and
//! never waits for an answer before it sends the next. So a slow server makes latencies grow, not the load shrink.
//!
//! Few cores are shared by the server, those who receive, and this thread, which sleeps nearly always and must wake in
//! time: it asks for a higher priority, which a system may deny; how late it was is told with every stretch.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::setpriority_process;
use rustix::time::{ClockId, clock_gettime};
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
/// Between looks of who waits for the thread.
const LOOK: Duration = Duration::from_millis(20);
/// Its niceness.
const NICE: i32 = -10;
/// From the write that opens a burst to the burst: for that write to be in its commit.
const PRIMER_LEAD: Duration = Duration::from_micros(100);

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
    /// Sent just before a burst: while it is being committed the burst gathers behind it, and is then committed as one.
    pub(crate) primer: Option<String>,
    /// Of mark and padding together.
    pub(crate) bytes: usize,
    pub(crate) groups: u32,
}

/// How publications are sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// Publications a second.
    pub(crate) rate: f64,
    /// That are sent together.
    pub(crate) burst: usize,
    pub(crate) seconds: f64,
}

impl Pace {
    /// Publications, in whole bursts.
    pub(crate) fn count(&self) -> usize {
        ((self.rate * self.seconds / self.burst as f64).round() as usize).max(1) * self.burst
    }
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
    /// What sending them took of a core.
    pub(crate) cpu: Duration,
}

impl Published {
    /// Publications a second, as they were sent.
    pub(crate) fn rate(&self, burst: usize) -> f64 {
        let (Some(first), Some(last)) = (self.sent.first(), self.sent.get(self.sent.len().saturating_sub(burst)))
        else {
            return 0.0;
        };
        self.sent.len().saturating_sub(burst) as f64 * 1e9 / (last.saturating_sub(*first) as f64).max(1.0)
    }
}

struct Lane {
    stream: TcpStream,
    wire: Option<Wire>,
    /// Sent and not answered: places in `Published`, and `None` for a primer.
    waiting: VecDeque<Option<usize>>,
    answer: Vec<u8>,
}

pub(crate) struct Publisher {
    publishing: Publishing,
    pad: String,
    lanes: Vec<Lane>,
    clock: Clock,
    next: u32,
    next_lane: usize,
    trouble: Option<String>,
}

impl Publisher {
    pub(crate) fn connect(publishing: Publishing, burst: usize, clock: Clock) -> Result<Self, BenchError> {
        let lanes = if publishing.way == Way::Message { 1 } else { LANES.max(burst + 1) };
        let lane = |_| -> Result<Lane, BenchError> {
            let mut stream = TcpStream::connect(publishing.address)?;
            stream.set_nodelay(true)?;
            let wire = (publishing.way == Way::Message).then(|| upgrade(&mut stream, &publishing)).transpose()?;
            stream.set_nonblocking(true)?;
            Ok(Lane { stream, wire, waiting: VecDeque::new(), answer: Vec::new() })
        };
        let lanes = (0..lanes).map(lane).collect::<Result<_, _>>()?;
        let pad = "x".repeat(publishing.bytes.saturating_sub(MARK_BYTES));
        Ok(Self { publishing, pad, lanes, clock, next: 0, next_lane: 0, trouble: None })
    }

    /// Publishes at this pace, on a thread of its own, and waits for the answers; `meanwhile` is called now and then.
    pub(crate) fn run(
        &mut self,
        pace: Pace,
        board: Option<&Board>,
        mut meanwhile: impl FnMut(),
    ) -> Result<Published, BenchError> {
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("bench-publisher".to_owned());
            let thread = thread.spawn_scoped(scope, || {
                // Of this thread alone, as Linux has it. Who may not simply has none.
                let _ = setpriority_process(None, NICE);
                let published = self.publish(pace, board);
                let spent = clock_gettime(ClockId::ThreadCPUTime);
                let cpu = Duration::new(spent.tv_sec as u64, spent.tv_nsec as u32);
                published.map(|published| Published { cpu, ..published })
            })?;
            while !thread.is_finished() {
                meanwhile();
                std::thread::sleep(LOOK);
            }
            let panicked = || BenchError::Publisher("its thread panicked".to_owned());
            thread.join().map_err(|_| panicked())?
        })
    }

    fn publish(&mut self, pace: Pace, board: Option<&Board>) -> Result<Published, BenchError> {
        let Pace { rate, burst, .. } = pace;
        let count = pace.count();
        if u64::from(self.next) + count as u64 > NUMBER_MAX {
            return Err(BenchError::Usage(format!("more than {NUMBER_MAX} publications")));
        }
        let mut done = Published { first: self.next, ..Published::default() };
        let (began, step) = (self.clock.nanos(), burst as f64 * 1e9 / rate);
        let mut last = Instant::now();
        loop {
            let due = began + (step * (done.sent.len() / burst) as f64) as u64;
            let now = self.clock.nanos();
            if done.sent.len() < count && now >= due {
                let led = self.prime(burst)?.as_nanos() as u64;
                for _ in 0..burst {
                    self.send(&mut done, due + led, board)?;
                }
                last = Instant::now();
                continue;
            }
            let is_waiting = self.lanes.iter().any(|lane| !lane.waiting.is_empty());
            if done.sent.len() == count && (!is_waiting || last.elapsed() > PATIENCE) {
                return Ok(done);
            }
            let pause = if done.sent.len() < count { due.saturating_sub(now) } else { u64::MAX };
            for nth in self.readable(pause)? {
                self.receive(nth, &mut done)?;
            }
        }
    }

    /// The lanes that something came on, within this time (at most 10 ms).
    fn readable(&self, nanos: u64) -> Result<Vec<usize>, BenchError> {
        let lanes = self.lanes.iter();
        let mut polled: Vec<PollFd<'_>> = lanes.map(|lane| PollFd::new(&lane.stream, PollFlags::IN)).collect();
        let pause = Timespec { tv_sec: 0, tv_nsec: nanos.min(10_000_000) as i64 };
        match poll(&mut polled, Some(&pause)) {
            Err(error) if error != Errno::INTR => Err(std::io::Error::from(error).into()),
            Err(_) => Ok(Vec::new()),
            Ok(_) => {
                let came = polled.iter().enumerate().filter(|(_, polled)| !polled.revents().is_empty());
                Ok(came.map(|(nth, _)| nth).collect())
            }
        }
    }

    /// Sends what makes a burst gather, where there is such a thing. How long that took.
    fn prime(&mut self, burst: usize) -> Result<Duration, BenchError> {
        let Some(primer) = self.publishing.primer.as_ref().filter(|_| burst > 1) else { return Ok(Duration::ZERO) };
        let began = Instant::now();
        let bytes = request(&self.publishing, primer);
        let lane = self.lane();
        lane.waiting.push_back(None);
        write_all(&mut lane.stream, &bytes)?;
        std::thread::sleep(PRIMER_LEAD);
        Ok(began.elapsed())
    }

    fn lane(&mut self) -> &mut Lane {
        let nth = self.next_lane % self.lanes.len();
        self.next_lane += 1;
        &mut self.lanes[nth]
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
        let sent = self.clock.nanos();
        let body = self.publishing.body.replace("{mark}", &Mark { number, sent }.text()).replace("{pad}", &self.pad);
        let body = body.replace("{row}", &row.to_string()).replace("{group}", &group.to_string());
        let request = (self.publishing.way == Way::Post).then(|| request(&self.publishing, &body));
        let lane = self.lane();
        let bytes = if let Some(request) = request {
            lane.waiting.push_back(Some(done.sent.len()));
            request
        } else {
            let mut frame = Vec::new();
            write_masked(OpCode::Text, body.as_bytes(), MASK, &mut frame);
            frame
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
                if let Some(Some(place)) = lane.waiting.pop_front() {
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
                std::thread::yield_now();
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// The handshake of the one that publishes by messages.
fn upgrade(stream: &mut TcpStream, publishing: &Publishing) -> Result<Wire, BenchError> {
    let Publishing { address, host, path, headers, .. } = publishing.clone();
    let plan = Plan::new(address, host, path, headers);
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&plan.request(0))?;
    let (mut wire, mut status, mut buffer) = (Wire::new(), None, [0; 4096]);
    while status.is_none() {
        let read = stream.read(&mut buffer)?;
        let fed = wire.feed(plan.transport, &mut buffer[..read], &mut Vec::new(), |came| {
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
