//! A storm: many connections are cut at once and come back, and somebody new wants in meanwhile.

use std::time::{Duration, Instant};

use crate::bench::board::read;
use crate::bench::crowd::Crowd;
use crate::bench::marker::Clock;
use crate::bench::measure::Meter;
use crate::bench::options::Storm;
use crate::bench::report::{Progress, Report};
use crate::bench::stats::Summary;
use crate::bench::target::{Bounds, Target};
use crate::bench::{BenchError, patience, room_for, threads};

/// Probes before the storm, for comparison.
const CALM: Duration = Duration::from_secs(2);
/// Least time of probes in the storm.
const STORM_MIN: Duration = Duration::from_secs(2);
/// Probes that a run may open.
const PROBES_MAX: usize = 4_000;
const LOOK: Duration = Duration::from_millis(5);

pub(crate) fn run(options: &Storm) -> Result<Report, BenchError> {
    let (common, count) = (&options.common, options.connections);
    room_for(count + PROBES_MAX)?;
    let target = Target::open(common, Bounds::Products)?;
    target.seed(1)?;
    let progress = Progress::new("storm");
    let plan = target.plan(1, false);
    let clock = Clock::start();
    let mut crowd = Crowd::start(plan.clone(), threads(common), clock)?;
    crowd.fill(count, common.open_rate, patience(common), &progress)?;
    // On a thread of their own: they wait for the server, not for the crowd.
    let mut probes = Crowd::start(plan, 1, clock)?;
    progress.say(|| "calm: probes alone".to_owned());
    probes.fill((CALM.as_secs_f64() * options.probes).ceil() as usize, options.probes, patience(common), &progress)?;
    let calm = probes.take();
    let begun = read(&probes.board.begun);
    // What was gathered from here on is of those that come back.
    drop(crowd.take());
    let (refused, told) = (read(&crowd.board.refused), read(&crowd.board.told_to_wait));
    let meter = Meter::start(&target.processes);
    let began = Instant::now();
    probes.open(PROBES_MAX / 2, options.probes);
    crowd.drop_share(options.drop, Some(Duration::from_secs_f64(options.spread)));
    let back = all_back(&crowd, count as u64, began, patience(common), &progress)?;
    probes.hold();
    let used = meter.stop(&target.processes);
    // Whoever began in the storm counts, also if it took longer than the storm.
    let (board, asked) = (&probes.board, read(&probes.board.begun));
    let ended = read(&board.failed) + read(&board.refused) + read(&board.lost);
    probes.wait("probes ready", |board| &board.ready, asked.saturating_sub(ended), patience(common), &progress)?;
    let storm = probes.take();
    let cut = (count as f64 * options.drop) as u64;
    let about = format!(
        "{cut} of {count} connections cut at once (half by RST) and back over {} s, {} new ones a second meanwhile, over {:?}",
        options.spread, options.probes, target.protocol
    );
    let mut report = Report::new("storm", about);
    report.figure("back_seconds", "until all are back", back.as_secs_f64(), "s");
    report.count("cut", "cut", cut);
    report.count("ready", "ready at the end", read(&crowd.board.ready));
    report.count("refused", "refused while coming back", read(&crowd.board.refused) - refused);
    report.count("told_to_wait", "of them with Retry-After", read(&crowd.board.told_to_wait) - told);
    report.count("probes", "new connections in the storm", asked - begun);
    report.count("probes_refused", "of them refused", read(&probes.board.refused));
    report.count("probes_failed", "of them failed", read(&probes.board.failed));
    report.times("calm_ms", "a new connection before the storm", Summary::of_nanos(&calm.opened));
    report.times("storm_ms", "a new connection in the storm", Summary::of_nanos(&storm.opened));
    report.times("storm_handshake_ms", "its handshake", Summary::of_nanos(&storm.handshakes));
    let returned = Summary::of_nanos(&crowd.take().opened);
    report.times("return_ms", "one that comes back, from its last attempt", returned);
    used.tell("", "", &target.processes, &mut report);
    report.caveat("a new connection is timed from its connect to its snapshot; one that is refused comes back when it was told to and is timed anew");
    Ok(report)
}

/// Until the cut has been seen and everybody is back, and for a while at least.
fn all_back(
    crowd: &Crowd,
    count: u64,
    began: Instant,
    patience: Duration,
    progress: &Progress,
) -> Result<Duration, BenchError> {
    while read(&crowd.board.ready) >= count && began.elapsed() < Duration::from_secs(1) {
        std::thread::sleep(Duration::from_millis(1));
    }
    crowd.wait("connections back", |board| &board.ready, count, patience, progress)?;
    let back = began.elapsed();
    while began.elapsed() < STORM_MIN {
        std::thread::sleep(LOOK);
    }
    Ok(back)
}
