//! One publication to many subscribers.

use crate::bench::crowd::Crowd;
use crate::bench::marker::{Clock, MARK_BYTES};
use crate::bench::measure::{Phase, phase, unheard};
use crate::bench::options::{Common, Fanout, Protocol};
use crate::bench::proc::Processes;
use crate::bench::publish::{Pace, Publisher};
use crate::bench::report::{Progress, Report};
use crate::bench::started::Started;
use crate::bench::target::{Bounds, Target};
use crate::bench::{BenchError, patience, room_for, threads};

/// A share of the measurement, and its least, before it.
const WARM_UP: f64 = 0.2;
const WARM_UP_MIN: f64 = 1.0;

/// A server's stretches: each publication alone, and in bursts if that was asked for.
struct Measured {
    alone: Phase,
    backlogs: Vec<Phase>,
}

pub(crate) fn run(options: &Fanout) -> Result<Report, BenchError> {
    let Fanout { common, subscribers, rate, seconds, bytes, .. } = options;
    room_for(*subscribers)?;
    let progress = Progress::new("fanout");
    let target = Target::open(common, Bounds::Wide)?;
    target.seed(1)?;
    let via = target.protocol;
    let about = format!(
        "{rate} publications a second of {bytes} bytes to {subscribers} subscribers over {via:?}, for {seconds} s"
    );
    let mut report = Report::new("fanout", about);
    report.count("subscribers", "subscribers", *subscribers as u64);
    let mut measured = measure(&target, options, *bytes, &progress)?;
    tell(&mut measured, "", "", options, &target.processes, &mut report);
    if options.raw_baseline {
        let mut bare = baseline(options, measured.alone.bytes_each(), &progress)?;
        tell(&mut bare.0, "bare_", "bare send(): ", options, &bare.1, &mut report);
        ratio(&mut measured, &mut bare.0, &mut report);
    }
    if target.is_tidegate() && !target.has_rows() {
        report.caveat(
            "a publication is a request of HTTP of its own: the server's CPU where it says all in has that in it",
        );
    }
    if target.has_rows() {
        report.caveat("a publication is a row written through the API and committed to disk: the latencies have that in them, and the server's CPU where it says all in");
        if !options.backlog.is_empty() {
            report.caveat("before each burst one write is sent that nobody hears: the burst gathers behind its commit and is committed as one");
        }
    }
    report.caveat("server, clients and publisher share the machine's cores: with few of them a latency has waiting in it that clients elsewhere would not cause");
    report.caveat("times are from before the write of the request to after the read of the frame, by one clock (monotonic) in one process");
    Ok(report)
}

fn measure(target: &Target, options: &Fanout, bytes: usize, progress: &Progress) -> Result<Measured, BenchError> {
    let Fanout { common, subscribers, rate, seconds, backlog, .. } = options;
    let (clock, server) = (Clock::start(), &target.processes);
    let bursts: Vec<usize> = [1].into_iter().chain(backlog.iter().copied()).collect();
    let paces: Vec<Pace> = bursts.iter().map(|burst| Pace { rate: *rate, burst: *burst, seconds: *seconds }).collect();
    let publishing = target.publishing(bytes.max(MARK_BYTES), 1)?;
    let mut publisher = Publisher::connect(publishing, bursts.into_iter().max().unwrap_or(1), clock)?;
    let unheard = paces.iter().map(|pace| unheard(&mut publisher, server, *pace, progress));
    let unheard = unheard.collect::<Result<Vec<_>, _>>()?;
    let mut crowd = Crowd::start(target.plan(1, true), threads(common), clock)?;
    crowd.fill(*subscribers, common.open_rate, patience(common), progress)?;
    let everybody = |_| *subscribers as u64;
    let mut stretches = Vec::new();
    for (pace, unheard) in paces.into_iter().zip(unheard) {
        let warm_up = Pace { seconds: (seconds * WARM_UP).max(WARM_UP_MIN), ..pace };
        phase(&crowd, &mut publisher, server, warm_up, everybody, progress)?;
        let measured = phase(&crowd, &mut publisher, server, pace, everybody, progress)?;
        stretches.push(Phase { unheard, ..measured });
    }
    if let Some(trouble) = publisher.trouble() {
        return Err(BenchError::Publisher(trouble.to_owned()));
    }
    let backlogs = stretches.split_off(1);
    let alone = stretches.pop().ok_or_else(|| BenchError::Publisher("nothing was measured".to_owned()))?;
    Ok(Measured { alone, backlogs })
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
    let target = Target::open(&common, Bounds::Wide)?;
    let options = Fanout { common, ..options.clone() };
    Ok((measure(&target, &options, bytes.round() as usize, progress)?, target.processes))
}

fn tell(measured: &mut Measured, key: &str, label: &str, options: &Fanout, server: &Processes, report: &mut Report) {
    measured.alone.tell(key, label, server, report);
    let (_, alone) = measured.alone.cpu_us();
    for (backlog, burst) in measured.backlogs.iter_mut().zip(&options.backlog) {
        let (key, label) = (format!("{key}backlog_{burst}_"), format!("{label}{burst} at once: "));
        backlog.tell(&key, &label, server, report);
        let (_, each) = backlog.cpu_us();
        if server.is_known() && each > 0.0 {
            report.figure(
                &format!("{key}cheaper"),
                &format!("{label}cheaper a frame than alone"),
                alone / each,
                "times",
            );
        }
    }
}

/// How the server stands to the bare loop.
fn ratio(measured: &mut Measured, bare: &mut Measured, report: &mut Report) {
    use crate::bench::stats::Spread;
    let (ours, bares) = (measured.alone.cpu_us().1, bare.alone.cpu_us().1);
    if bares > 0.0 {
        let cpu = ours / bares;
        report.figure("cpu_ratio", "server CPU a frame, to the bare loop's", cpu, "times");
    }
    let last = |phase: &mut Phase| Spread::of(&mut phase.latencies).map(|spread| spread.last.p50);
    if let (Some(ours), Some(theirs)) = (last(&mut measured.alone), last(&mut bare.alone)) {
        report.figure("last_ratio", "last receiver (p50), to the bare loop's", ours / theirs, "times");
    }
}
