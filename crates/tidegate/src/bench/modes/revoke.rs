//! Sessions are revoked in Redis: how long until the connections that are bound to them are closed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::bench::board::{End, read};
use crate::bench::crowd::Crowd;
use crate::bench::marker::Clock;
use crate::bench::measure::{Meter, Used};
use crate::bench::options::{Protocol, Revoke};
use crate::bench::plan::Plan;
use crate::bench::report::{Progress, Report};
use crate::bench::revoker::{Sessions, Told};
use crate::bench::stats::Summary;
use crate::bench::target::{Bounds, Target};
use crate::bench::{BenchError, patience, room_for, threads};

/// Opened and dropped before memory is read.
const WARM_UP: usize = 50;
/// What a close frame says that comes of a revocation.
const REASON: &str = "revoked";

pub(crate) fn run(options: &Revoke) -> Result<Report, BenchError> {
    let (count, revocations) = (options.connections, options.revocations);
    let common = &options.common;
    if common.url.is_some() || common.server_config.is_some() {
        let rule = "the gateway has to know the sessions of this run: it is started, and --url and --server-config cannot be used";
        return Err(BenchError::Usage(rule.to_owned()));
    }
    if revocations == 0 || revocations > count || options.rate <= 0.0 {
        let rule = format!("--revocations: from 1 to the {count} connections, and some a second");
        return Err(BenchError::Usage(rule));
    }
    room_for(count)?;
    let progress = Progress::new("revoke");
    let mut sessions = Sessions::open(&options.redis)?;
    let credentials = sessions.store(count)?;
    let clock = Clock::start();
    let strangers = Opened::start(options, &sessions.tables(), Arc::default(), clock, &progress)?;
    let anonymous = (strangers.kib_each, strangers.crowd.take());
    drop(strangers);
    let Opened { target, crowd, kib_each } =
        Opened::start(options, &sessions.tables(), credentials.into(), clock, &progress)?;
    let opened = crowd.take();
    let via = target.protocol;
    let mut report = Report::new(
        "revoke",
        format!(
            "{count} connections over {via:?}, each with a token and a session in Redis; {revocations} sessions revoked at {} a second, then the rest at once",
            options.rate
        ),
    );
    report.count("connections", "connections", count as u64);
    report.figure("kib_each", "memory a connection with its token and session", kib_each, "KiB");
    report.figure("anonymous_kib_each", "memory an anonymous connection", anonymous.0, "KiB");
    report.figure("token_bytes_each", "what token and session take", (kib_each - anonymous.0) * 1024.0, "bytes");
    report.times(
        "handshake_ms",
        "a handshake with a token, and a session to look up",
        Summary::of_nanos(&opened.handshakes),
    );
    report.times("anonymous_handshake_ms", "an anonymous handshake", Summary::of_nanos(&anonymous.1.handshakes));

    let meter = Meter::start(&target.processes);
    let told = paced(&mut sessions, options, clock, &progress)?;
    let ends = ended(&crowd, revocations, options, &progress)?;
    let used = meter.stop(&target.processes);
    tell(&told, &ends, "", "", &mut report);
    let answers: Vec<u64> = told.iter().map(|told| told.answered - told.sent).collect();
    report.times("answered_ms", "XADD answered after", Summary::of_nanos(&answers));
    cpu(used, ends.len(), "", "", &target, &mut report);

    if revocations < count {
        progress.say(|| "all the others at once".to_owned());
        let meter = Meter::start(&target.processes);
        let told = sessions.revoke_all(revocations..count, clock)?;
        let ends = ended(&crowd, count, options, &progress)?;
        let used = meter.stop(&target.processes);
        let label = "the others at once: ";
        tell(&vec![told; count], &ends, "burst_", label, &mut report);
        let last = ends.iter().map(|end| end.closed).max().unwrap_or_default().saturating_sub(told.sent);
        let seconds = last as f64 / 1e9;
        report.figure("burst_seconds", &format!("{label}until the last is closed"), seconds, "s");
        report.figure("burst_per_second", &format!("{label}revocations a second"), ends.len() as f64 / seconds, "");
        report.times(
            "burst_answered_ms",
            &format!("{label}XADDs answered after"),
            Summary::of_nanos(&[told.answered - told.sent]),
        );
        cpu(used, ends.len(), "burst_", label, &target, &mut report);
    }
    report.count("lost", "connections lost for another reason", read(&crowd.board.lost));
    report.caveat("times are from just before the XADD of the revoked snapshot is sent, its hash being written, to after the client's read of the close frame, by one clock (monotonic) in one process: Redis and the clients are in them");
    report.caveat("memory is resident memory of the process, with the session as it is held; a gateway of its own is measured without tokens");
    Ok(report)
}

/// A gateway with all connections open.
struct Opened {
    // Connections end before their server does.
    crowd: Crowd,
    target: Target,
    kib_each: f64,
}

impl Opened {
    fn start(
        options: &Revoke,
        tables: &str,
        credentials: Arc<[String]>,
        clock: Clock,
        progress: &Progress,
    ) -> Result<Self, BenchError> {
        let (common, count) = (&options.common, options.connections);
        let target = Target::open_with(common, Bounds::Wide, tables)?;
        if !matches!(target.protocol, Protocol::Events | Protocol::Live) {
            return Err(BenchError::Usage(
                "only a WebSocket is told why it is closed: --via events or live".to_owned(),
            ));
        }
        target.seed(1)?;
        let plan = Plan { credentials, end: Some(REASON), ..target.plan(1, false) };
        let mut warm = Crowd::start(plan.clone(), 1, clock)?;
        warm.fill(WARM_UP.min(count), 0.0, patience(common), progress)?;
        drop(warm);
        progress.say(|| "memory settles".to_owned());
        let before = target.processes.settled_kib();
        let mut crowd = Crowd::start(plan, threads(common), clock)?;
        crowd.fill(count, common.open_rate, patience(common), progress)?;
        progress.say(|| "memory settles".to_owned());
        let kib_each = (target.processes.settled_kib() as f64 - before as f64) / count as f64;
        Ok(Self { crowd, target, kib_each })
    }
}

/// Revokes the first ones by the clock; an answer that is late makes the next late, too.
fn paced(
    sessions: &mut Sessions,
    options: &Revoke,
    clock: Clock,
    progress: &Progress,
) -> Result<Vec<Told>, BenchError> {
    let began = Instant::now();
    let mut told = Vec::with_capacity(options.revocations);
    for number in 0..options.revocations {
        let due = Duration::from_secs_f64(number as f64 / options.rate);
        std::thread::sleep(due.saturating_sub(began.elapsed()));
        told.push(sessions.revoke(number, clock)?);
        progress.say(|| format!("{number} of {} sessions revoked", options.revocations));
    }
    Ok(told)
}

/// Those that were not told of yet, once so many have ended.
fn ended(crowd: &Crowd, wanted: usize, options: &Revoke, progress: &Progress) -> Result<Vec<End>, BenchError> {
    crowd.wait("connections closed", |board| &board.ended, wanted as u64, patience(&options.common), progress)?;
    Ok(crowd.take().ends)
}

/// `told` is by number.
fn tell(told: &[Told], ends: &[End], key: &str, label: &str, report: &mut Report) {
    let since = |of: fn(&End) -> u64| -> Vec<u64> {
        let took = |end: &End| Some(of(end).saturating_sub(told.get(end.number as usize)?.sent));
        ends.iter().filter_map(took).collect()
    };
    let closed = since(|end| end.closed);
    report.count(&format!("{key}closed"), &format!("{label}connections closed"), closed.len() as u64);
    report.times(&format!("{key}closed_ms"), &format!("{label}until the close frame"), Summary::of_nanos(&closed));
    let ended = Summary::of_nanos(&since(|end| end.ended));
    report.times(&format!("{key}ended_ms"), &format!("{label}until the connection's end"), ended);
}

fn cpu(used: Used, count: usize, key: &str, label: &str, target: &Target, report: &mut Report) {
    let each = used.server.as_secs_f64() * 1e6 / count.max(1) as f64;
    report.figure(&format!("{key}cpu_us_each"), &format!("{label}server CPU a revocation"), each, "µs");
    used.tell(key, label, &target.processes, report);
}
