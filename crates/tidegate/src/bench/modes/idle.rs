//! Idle connections: what one costs in memory, and how fast they are opened.

use crate::bench::board::read;
use crate::bench::crowd::Crowd;
use crate::bench::marker::Clock;
use crate::bench::measure::Meter;
use crate::bench::options::Idle;
use crate::bench::plan::Plan;
use crate::bench::report::{Progress, Report};
use crate::bench::stats::Summary;
use crate::bench::target::{Bounds, Target};
use crate::bench::{BenchError, patience, room_for, threads};

/// Opened and dropped before, so that what a server allocates once is not counted as a connection's.
const WARM_UP: usize = 50;

pub(crate) fn run(options: &Idle) -> Result<Report, BenchError> {
    let (common, count) = (&options.common, options.connections);
    room_for(count)?;
    let target = Target::open(common, Bounds::Wide)?;
    target.seed(1)?;
    let progress = Progress::new("idle");
    let mut plan = target.plan(1, false);
    if options.unsubscribed {
        plan = Plan { hello: None, ready: None, ..plan };
    }
    let clock = Clock::start();
    let mut warm = Crowd::start(plan.clone(), 1, clock)?;
    warm.fill(WARM_UP.min(count), 0.0, patience(common), &progress)?;
    drop(warm);
    let server = &target.processes;
    progress.say(|| "memory settles".to_owned());
    let (before, descriptors) = (server.settled_kib(), server.descriptors());
    let mut crowd = Crowd::start(plan.clone(), threads(common), clock)?;
    let meter = Meter::start(server);
    let took = crowd.fill(count, common.open_rate, patience(common), &progress)?;
    let used = meter.stop(server);
    progress.say(|| "memory settles".to_owned());
    let after = server.settled_kib();
    let open = server.descriptors().saturating_sub(descriptors);
    let (samples, board) = (crowd.take(), crowd.board.clone());
    let (ready, lost) = (read(&board.ready), read(&board.lost));
    drop(crowd);
    let said = if options.unsubscribed { "connected only" } else { "subscribed" };
    let via = target.protocol;
    let mut report = Report::new("idle", format!("{count} connections, {said}, over {via:?}, opened and left alone"));
    if server.is_known() {
        let each = (after as f64 - before as f64) / count as f64;
        report.figure("kib_each", "memory an idle connection", each, "KiB");
        report.figure("before_kib", "server's memory before", before as f64, "KiB");
        report.figure("after_kib", "server's memory with them", after as f64, "KiB");
        report.count("descriptors", "descriptors it holds for them", open);
        let cpu = used.server.as_secs_f64() * 1e6 / count as f64;
        report.figure("handshake_cpu_us", "server CPU to open one", cpu, "µs");
    }
    report.count("ready", "ready", ready);
    report.count("lost", "lost while idle", lost);
    report.count("refused", "refused while opening", read(&board.refused));
    report.figure("opened_per_second", "opened a second", count as f64 / took.as_secs_f64(), "");
    report.times("handshake_ms", "its handshake", Summary::of_nanos(&samples.handshakes));
    report.times("subscribe_ms", "subscribe to snapshot", Summary::of_nanos(&samples.readies));
    used.tell("", "while opening: ", server, &mut report);
    if options.handshakes {
        handshakes(options, &target, plan, &progress, &mut report)?;
    }
    report.caveat("memory is resident memory of the process; what the kernel holds for a socket is not in it");
    if common.open_rate == 0.0 {
        report.caveat("connections are opened as fast as they are accepted, 128 at a time: their times are those of a busy server");
    }
    Ok(report)
}

/// Opens as many once more and subscribes nothing: what handshakes alone cost.
fn handshakes(
    options: &Idle,
    target: &Target,
    plan: Plan,
    progress: &Progress,
    report: &mut Report,
) -> Result<(), BenchError> {
    let (common, count) = (&options.common, options.connections);
    let plan = Plan { hello: None, ready: None, ..plan };
    let mut crowd = Crowd::start(plan, threads(common), Clock::start())?;
    let meter = Meter::start(&target.processes);
    let took = crowd.fill(count, 0.0, patience(common), progress)?;
    let used = meter.stop(&target.processes);
    let label = "handshakes alone, plain";
    report.figure("handshakes_per_second", &format!("{label}: a second"), count as f64 / took.as_secs_f64(), "");
    if target.processes.is_known() {
        let cpu = used.server.as_secs_f64() * 1e6 / count as f64;
        report.figure("handshakes_cpu_us", &format!("{label}: server CPU each"), cpu, "µs");
    }
    let times = Summary::of_nanos(&crowd.take().handshakes);
    report.times("handshakes_ms", &format!("{label}: each"), times);
    report.caveat("TLS is not measured: the bench speaks plain TCP only");
    Ok(())
}
