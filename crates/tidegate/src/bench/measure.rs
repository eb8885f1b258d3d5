//! What is measured the same way in several modes: time on cores, and a stretch of publications to its last delivery.

use std::time::{Duration, Instant};

use super::board::read;
use super::crowd::Crowd;
use super::proc::{Processes, cores};
use super::publish::{Published, Publisher};
use super::report::Report;
use super::{BenchError, Progress};

/// Without any delivery after which no more is waited for.
const QUIET: Duration = Duration::from_secs(3);

/// Readings at the start of a measurement.
pub(crate) struct Meter {
    server: Duration,
    client: Duration,
    began: Instant,
}

/// What was used since.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Used {
    pub(crate) server: Duration,
    pub(crate) client: Duration,
    pub(crate) wall: Duration,
}

impl Meter {
    pub(crate) fn start(server: &Processes) -> Self {
        Self { server: server.cpu(), client: Processes::own().cpu(), began: Instant::now() }
    }

    pub(crate) fn stop(&self, server: &Processes) -> Used {
        Used {
            server: server.cpu().saturating_sub(self.server),
            client: Processes::own().cpu().saturating_sub(self.client),
            wall: self.began.elapsed(),
        }
    }
}

impl Used {
    /// Says how busy server and clients were, and what that means for the other figures.
    pub(crate) fn tell(&self, key: &str, label: &str, server: &Processes, report: &mut Report) {
        let share = |time: Duration| time.as_secs_f64() / self.wall.as_secs_f64().max(1e-9) * 100.0;
        let (ours, theirs) = (share(self.client), share(self.server));
        if server.is_known() {
            report.figure(&format!("{key}server_cpu_percent"), &format!("{label}server, of one core"), theirs, "%");
        }
        report.figure(&format!("{key}client_cpu_percent"), &format!("{label}clients, of one core"), ours, "%");
        let all = (ours + theirs) / cores() as f64;
        if all > 85.0 {
            let (all, cores) = (all.round(), cores());
            report.caveat(format!(
                "{label}server and clients kept the machine's {cores} cores {all}% busy: latencies have waiting for a core in them"
            ));
        }
    }
}

/// One stretch of publications.
pub(crate) struct Phase {
    pub(crate) published: Published,
    pub(crate) used: Used,
    pub(crate) delivered: u64,
    pub(crate) expected: u64,
    pub(crate) missed: u64,
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    /// By publication: each delivery's latency from the send, in microseconds.
    pub(crate) latencies: Vec<Vec<f64>>,
}

/// The pace of a stretch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) rate: f64,
    pub(crate) burst: usize,
    pub(crate) seconds: f64,
}

impl Pace {
    fn count(&self) -> usize {
        // Whole bursts.
        ((self.rate * self.seconds / self.burst as f64).round() as usize).max(1) * self.burst
    }
}

/// Publishes and waits for the last delivery. `receivers`: how many a publication of that number has.
pub(crate) fn phase(
    crowd: &Crowd,
    publisher: &mut Publisher,
    server: &Processes,
    pace: Pace,
    receivers: impl Fn(u32) -> u64,
    progress: &Progress,
) -> Result<Phase, BenchError> {
    let board = &crowd.board;
    drop(crowd.take());
    let before = (read(&board.delivered), read(&board.messages), read(&board.bytes));
    let meter = Meter::start(server);
    let Pace { rate, burst, seconds } = pace;
    progress.say(|| format!("{rate} publications a second in bursts of {burst}, for {seconds:.0} s"));
    let published = publisher.run(rate, burst, pace.count(), Some(board))?;
    let numbers = published.first..published.first + published.sent.len() as u32;
    let expected: u64 = numbers.clone().map(&receivers).sum();
    let (mut delivered, mut since) = (0, Instant::now());
    while delivered < expected && since.elapsed() < QUIET {
        std::thread::sleep(Duration::from_millis(5));
        let now = read(&board.delivered) - before.0;
        if now > delivered {
            (delivered, since) = (now, Instant::now());
            progress.say(|| format!("{delivered} of {expected} deliveries"));
        }
    }
    let used = meter.stop(server);
    let mut samples = crowd.take();
    let latencies: Vec<Vec<f64>> = numbers
        .clone()
        .map(|number| samples.of(number as usize).iter().map(|took| f64::from(*took)).collect())
        .collect();
    let short = |(number, got): (u32, &Vec<f64>)| receivers(number).saturating_sub(got.len() as u64);
    Ok(Phase {
        missed: numbers.zip(&latencies).map(short).sum(),
        delivered: read(&board.delivered) - before.0,
        messages: read(&board.messages) - before.1,
        bytes: read(&board.bytes) - before.2,
        published,
        used,
        expected,
        latencies,
    })
}

impl Phase {
    /// Payload of one message.
    pub(crate) fn bytes_each(&self) -> f64 {
        self.bytes as f64 / (self.messages as f64).max(1.0)
    }

    /// The server's time for one delivered frame, in microseconds.
    pub(crate) fn cpu_us(&self) -> f64 {
        self.used.server.as_secs_f64() * 1e6 / (self.delivered as f64).max(1.0)
    }

    /// What all stretches say of themselves: `key` and `label` tell one from another.
    pub(crate) fn tell(&mut self, key: &str, label: &str, server: &Processes, report: &mut Report) {
        use super::stats::{Spread, Summary};
        let count = self.published.sent.len() as u64;
        report.count(&format!("{key}publications"), &format!("{label}publications"), count);
        report.count(&format!("{key}expected"), &format!("{label}deliveries expected"), self.expected);
        report.count(&format!("{key}delivered"), &format!("{label}deliveries"), self.delivered);
        report.count(&format!("{key}missed"), &format!("{label}missed"), self.missed);
        report.figure(&format!("{key}bytes_each"), &format!("{label}payload of a message"), self.bytes_each(), "bytes");
        if server.is_known() {
            let cpu = self.cpu_us();
            report.figure(&format!("{key}cpu_us_each"), &format!("{label}server CPU a delivered frame"), cpu, "µs");
        }
        report.spread(key, label, Spread::of(&mut self.latencies));
        report.times(
            &format!("{key}lag_ms"),
            &format!("{label}publisher late by"),
            Summary::of_nanos(&self.published.lag),
        );
        let answered = self.published.sent.iter().zip(&self.published.answered).filter(|(_, answered)| **answered > 0);
        let answers: Vec<u64> = answered.map(|(sent, answered)| answered.saturating_sub(*sent)).collect();
        report.times(
            &format!("{key}answer_ms"),
            &format!("{label}publication answered after"),
            Summary::of_nanos(&answers),
        );
        self.used.tell(key, label, server, report);
        if self.missed > 0 {
            report.caveat(format!("{label}{} deliveries were missed", self.missed));
        }
        if self.published.refused > 0 {
            report.caveat(format!("{label}{} publications were refused by the server", self.published.refused));
        }
        let span = self.published.sent.last().zip(self.published.sent.first());
        if let Some(lag) = Summary::of_nanos(&self.published.lag).filter(|lag| lag.p99 > 20.0) {
            report.caveat(format!(
                "{label}the publisher was late by up to {:.0} ms (p99) over {:.1} s: it got no core in time",
                lag.p99,
                span.map_or(0.0, |(last, first)| (last - first) as f64 / 1e9),
            ));
        }
    }
}
