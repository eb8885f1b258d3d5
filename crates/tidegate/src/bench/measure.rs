//! What is measured the same way in several modes: time on cores, and a stretch of publications to its last delivery.

use std::time::{Duration, Instant};

use super::board::read;
use super::crowd::Crowd;
use super::proc::{Processes, cores, machine_cpu};
use super::publish::{Pace, Published, Publisher};
use super::report::Report;
use super::stats::{Spread, Summary};
use super::{BenchError, Progress};

/// Without any delivery after which no more is waited for.
const QUIET: Duration = Duration::from_secs(3);
/// Of a core, by others, from which on it is told as a caveat.
const OTHERS_PERCENT_MAX: f64 = 15.0;
/// A publisher that sends one in a hundred later than this was late.
const LATE_MS_MAX: f64 = 5.0;
/// Longest stretch without subscribers.
const UNHEARD_SECONDS_MAX: f64 = 3.0;

/// Readings at the start of a measurement.
pub(crate) struct Meter {
    server: Duration,
    client: Duration,
    machine: Duration,
    began: Instant,
}

/// What was used since.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Used {
    pub(crate) server: Duration,
    pub(crate) client: Duration,
    /// By neither: other processes, and the machine's host.
    pub(crate) others: Duration,
    pub(crate) wall: Duration,
}

impl Meter {
    pub(crate) fn start(server: &Processes) -> Self {
        let (server, client) = (server.cpu(), Processes::own().cpu());
        Self { server, client, machine: machine_cpu(), began: Instant::now() }
    }

    pub(crate) fn stop(&self, server: &Processes) -> Used {
        let client = Processes::own().cpu().saturating_sub(self.client);
        let server = server.cpu().saturating_sub(self.server);
        let others = machine_cpu().saturating_sub(self.machine).saturating_sub(client + server);
        Used { server, client, others, wall: self.began.elapsed() }
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
        let others = share(self.others);
        report.figure(&format!("{key}others_cpu_percent"), &format!("{label}others, of one core"), others, "%");
        if others > OTHERS_PERCENT_MAX && server.is_known() {
            report.caveat(format!(
                "{label}other work ran beside this on the machine, {others:.0}% of a core: the times are worse than they need be"
            ));
        }
        let all = (ours + theirs + others) / cores() as f64;
        if all > 85.0 {
            let (all, cores) = (all.round(), cores());
            report.caveat(format!(
                "{label}the machine's {cores} cores were {all}% busy: latencies have waiting for a core in them"
            ));
        }
    }
}

/// One stretch of publications.
pub(crate) struct Phase {
    pub(crate) published: Published,
    pub(crate) pace: Pace,
    /// What a publication of this pace costs the server by itself; zero if that was not measured.
    pub(crate) unheard: Duration,
    pub(crate) used: Used,
    pub(crate) delivered: u64,
    pub(crate) expected: u64,
    pub(crate) missed: u64,
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    pub(crate) reads: u64,
    /// By publication: each delivery's latency from the send, in microseconds.
    pub(crate) latencies: Vec<Vec<f64>>,
}

/// What a publication costs the server while nobody hears it.
pub(crate) fn unheard(
    publisher: &mut Publisher,
    server: &Processes,
    pace: Pace,
    progress: &Progress,
) -> Result<Duration, BenchError> {
    let pace = Pace { seconds: pace.seconds.min(UNHEARD_SECONDS_MAX), ..pace };
    let say = || progress.say(|| "publications that nobody hears".to_owned());
    // The first ones find the server cold.
    publisher.run(Pace { seconds: pace.seconds / 4.0, ..pace }, None, say)?;
    let meter = Meter::start(server);
    let published = publisher.run(pace, None, say)?;
    Ok(meter.stop(server).server / published.sent.len().max(1) as u32)
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
    let before = [&board.delivered, &board.messages, &board.bytes, &board.reads].map(read);
    let meter = Meter::start(server);
    let Pace { rate, burst, seconds } = pace;
    let published = publisher.run(pace, Some(board), || {
        let so_far = read(&board.delivered) - before[0];
        progress.say(|| format!("{rate}/s in bursts of {burst} for {seconds:.0} s: {so_far} deliveries"));
    })?;
    let numbers = published.first..published.first + published.sent.len() as u32;
    let expected: u64 = numbers.clone().map(&receivers).sum();
    let (mut delivered, mut since) = (0, Instant::now());
    while delivered < expected && since.elapsed() < QUIET {
        std::thread::sleep(Duration::from_millis(5));
        let now = read(&board.delivered) - before[0];
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
        delivered: read(&board.delivered) - before[0],
        messages: read(&board.messages) - before[1],
        bytes: read(&board.bytes) - before[2],
        reads: read(&board.reads) - before[3],
        unheard: Duration::ZERO,
        pace,
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

    /// The server's time for one delivered frame, in microseconds: with everything, or without what a publication costs
    /// that nobody hears.
    pub(crate) fn cpu_us(&self) -> (f64, f64) {
        let each = |time: Duration| time.as_secs_f64() * 1e6 / (self.delivered as f64).max(1.0);
        let unheard = self.unheard * self.published.sent.len() as u32;
        (each(self.used.server), each(self.used.server.saturating_sub(unheard)))
    }

    /// Whether the latencies have in them that the publisher did not come to its turn.
    fn late(&self) -> Option<Summary> {
        Summary::of_nanos(&self.published.lag).filter(|lag| lag.p99 > LATE_MS_MAX)
    }

    /// What all stretches say of themselves: `key` and `label` tell one from another.
    pub(crate) fn tell(&mut self, key: &str, label: &str, server: &Processes, report: &mut Report) {
        let (count, late) = (self.published.sent.len() as u64, self.late());
        report.count(&format!("{key}publications"), &format!("{label}publications"), count);
        let rate = self.published.rate(self.pace.burst);
        report.figure(&format!("{key}rate"), &format!("{label}publications a second, as sent"), rate, "");
        report.count(&format!("{key}expected"), &format!("{label}deliveries expected"), self.expected);
        report.count(&format!("{key}delivered"), &format!("{label}deliveries"), self.delivered);
        report.count(&format!("{key}missed"), &format!("{label}missed"), self.missed);
        report.figure(&format!("{key}bytes_each"), &format!("{label}payload of a message"), self.bytes_each(), "bytes");
        self.tell_cpu(key, label, server, report);
        let mark = if late.is_some() { "(publisher late) " } else { "" };
        report.spread(key, &format!("{label}{mark}"), Spread::of(&mut self.latencies));
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
        if let Some(lag) = late {
            report.caveat(format!(
                "{label}the publisher was late, one in a hundred by {:.0} ms or more: publications came in heaps, and the latencies and costs are not those of its pace",
                lag.p99,
            ));
        }
    }

    fn tell_cpu(&self, key: &str, label: &str, server: &Processes, report: &mut Report) {
        let mut figure = |name: &str, of: &str, value: f64, unit: &str| {
            report.figure(&format!("{key}{name}"), &format!("{label}{of}"), value, unit);
        };
        if server.is_known() {
            let (all, alone) = self.cpu_us();
            let unheard = self.unheard.as_secs_f64() * 1e6;
            figure("publication_cpu_us", "server CPU a publication that nobody hears", unheard, "µs");
            figure("cpu_us_all_in", "server CPU a delivered frame, all in", all, "µs");
            figure("cpu_us_each", "server CPU a delivered frame, without that", alone, "µs");
        }
        let received = self.used.client.saturating_sub(self.published.cpu).as_secs_f64() * 1e6;
        figure("client_us_each", "clients' CPU a received frame", received / (self.delivered as f64).max(1.0), "µs");
        let joined = self.messages as f64 / (self.reads as f64).max(1.0);
        figure("frames_a_read", "frames a client finds at one read", joined, "");
    }
}
