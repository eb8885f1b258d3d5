//! One publication to many subscribers.

use crate::bench::crowd::Crowd;
use crate::bench::marker::{Clock, MARK_BYTES};
use crate::bench::measure::{Pace, Phase, phase};
use crate::bench::options::{Common, Fanout, Protocol};
use crate::bench::proc::Processes;
use crate::bench::publish::Publisher;
use crate::bench::report::{Progress, Report};
use crate::bench::target::{Started, Target};
use crate::bench::{BenchError, patience, room_for, threads};

/// A share of the measurement, and its least, before it.
const WARM_UP: f64 = 0.2;
const WARM_UP_MIN: f64 = 1.0;
/// Without subscribers.
const UNHEARD_SECONDS: f64 = 2.0;

/// A server's stretches: each publication alone, and in bursts if that was asked for.
struct Measured {
    alone: Phase,
    backlog: Option<Phase>,
}

pub(crate) fn run(options: &Fanout) -> Result<Report, BenchError> {
    let Fanout { common, subscribers, rate, seconds, bytes, .. } = options;
    room_for(*subscribers)?;
    let progress = Progress::new("fanout");
    let target = Target::open(common)?;
    target.seed(1)?;
    let via = target.protocol;
    let about = format!(
        "{rate} publications a second of {bytes} bytes to {subscribers} subscribers over {via:?}, for {seconds} s"
    );
    let mut report = Report::new("fanout", about);
    report.count("subscribers", "subscribers", *subscribers as u64);
    if target.is_tidegate() && target.processes.is_known() {
        let unheard = unheard(&target, options)?;
        report.figure("publication_cpu_us", "server CPU a publication that nobody hears", unheard, "µs");
    }
    let mut measured = measure(&target, options, *bytes, &progress)?;
    tell(&mut measured, "", "", options, &target.processes, &mut report);
    if options.raw_baseline {
        let mut bare = baseline(options, measured.alone.bytes_each(), &progress)?;
        tell(&mut bare.0, "bare_", "bare send(): ", options, &bare.1, &mut report);
        ratio(&mut measured, &mut bare.0, &mut report);
    }
    if target.is_tidegate() {
        report.caveat("a publication is a row written through the API and committed to disk: the server's CPU and the latencies have that in them");
    }
    report.caveat("the server's CPU is read in hundredths of a second, of all its threads");
    Ok(report)
}

fn measure(target: &Target, options: &Fanout, bytes: usize, progress: &Progress) -> Result<Measured, BenchError> {
    let Fanout { common, subscribers, rate, seconds, backlog, .. } = options;
    let clock = Clock::start();
    let mut crowd = Crowd::start(target.plan(1, true), threads(common), clock)?;
    crowd.fill(*subscribers, common.open_rate, patience(common), progress)?;
    let publishing = target.publishing(bytes.max(MARK_BYTES), 1)?;
    let mut publisher = Publisher::connect(publishing, backlog.unwrap_or(1), clock)?;
    let everybody = |_| *subscribers as u64;
    let mut stretch = |burst: usize| -> Result<Phase, BenchError> {
        let warm_up = Pace { rate: *rate, burst, seconds: (seconds * WARM_UP).max(WARM_UP_MIN) };
        phase(&crowd, &mut publisher, &target.processes, warm_up, everybody, progress)?;
        phase(&crowd, &mut publisher, &target.processes, Pace { seconds: *seconds, ..warm_up }, everybody, progress)
    };
    let alone = stretch(1)?;
    let backlog = backlog.map(&mut stretch).transpose()?;
    if let Some(trouble) = publisher.trouble() {
        return Err(BenchError::Publisher(trouble.to_owned()));
    }
    Ok(Measured { alone, backlog })
}

/// What a publication costs the server by itself, in microseconds.
fn unheard(target: &Target, options: &Fanout) -> Result<f64, BenchError> {
    let publishing = target.publishing(options.bytes.max(MARK_BYTES), 1)?;
    let mut publisher = Publisher::connect(publishing, 1, Clock::start())?;
    let count = (options.rate * UNHEARD_SECONDS).ceil() as usize;
    let before = target.processes.cpu();
    publisher.run(options.rate, 1, count, None)?;
    if let Some(trouble) = publisher.trouble() {
        return Err(BenchError::Publisher(trouble.to_owned()));
    }
    Ok((target.processes.cpu() - before).as_secs_f64() * 1e6 / count as f64)
}

/// The same load on the bare loop, with messages as long as the server's were.
fn baseline(options: &Fanout, bytes: f64, progress: &Progress) -> Result<(Measured, Processes), BenchError> {
    let server = Started::bare()?;
    let common = Common {
        url: Some(format!("ws://{}/", server.address)),
        via: Some(Protocol::Ws),
        publish_message: Some("{mark}{pad}".to_owned()),
        ..options.common.plain()
    };
    let target = Target::open(&common)?;
    let options = Fanout { common, ..options.clone() };
    Ok((measure(&target, &options, bytes.round() as usize, progress)?, target.processes))
}

fn tell(measured: &mut Measured, key: &str, label: &str, options: &Fanout, server: &Processes, report: &mut Report) {
    measured.alone.tell(key, label, server, report);
    let alone = measured.alone.cpu_us();
    let (Some(backlog), Some(burst)) = (&mut measured.backlog, options.backlog) else { return };
    let (key, label) = (format!("{key}backlog_"), format!("{label}{burst} at once: "));
    backlog.tell(&key, &label, server, report);
    if server.is_known() && backlog.cpu_us() > 0.0 {
        let times = alone / backlog.cpu_us();
        report.figure(&format!("{key}cheaper"), &format!("{label}cheaper a frame than alone"), times, "times");
    }
}

/// How the server stands to the bare loop.
fn ratio(measured: &mut Measured, bare: &mut Measured, report: &mut Report) {
    use crate::bench::stats::Spread;
    if bare.alone.cpu_us() > 0.0 {
        let cpu = measured.alone.cpu_us() / bare.alone.cpu_us();
        report.figure("cpu_ratio", "server CPU a frame, to the bare loop's", cpu, "times");
    }
    let last = |phase: &mut Phase| Spread::of(&mut phase.latencies).map(|spread| spread.last.p50);
    if let (Some(ours), Some(theirs)) = (last(&mut measured.alone), last(&mut bare.alone)) {
        report.figure("last_ratio", "last receiver (p50), to the bare loop's", ours / theirs, "times");
    }
}
