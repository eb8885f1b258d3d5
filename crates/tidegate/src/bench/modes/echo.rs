//! Round trips of messages.

use std::time::Duration;

use crate::bench::board::read;
use crate::bench::crowd::Crowd;
use crate::bench::marker::Clock;
use crate::bench::measure::Meter;
use crate::bench::options::{Echo, Protocol};
use crate::bench::plan::Plan;
use crate::bench::report::{Progress, Report};
use crate::bench::stats::Summary;
use crate::bench::target::{Bounds, Target};
use crate::bench::{BenchError, patience, room_for, threads};

/// An event that nobody handles: its reply has the `id`.
const EVENT: &str = r#"{"event":"bench.echo","id":"{mark}"}"#;
const WARM_UP: Duration = Duration::from_secs(1);
/// For the answers that are under way at the end.
const LAST: Duration = Duration::from_millis(500);

pub(crate) fn run(options: &Echo) -> Result<Report, BenchError> {
    let (common, count) = (&options.common, options.connections);
    room_for(count)?;
    let target = Target::open(common, Bounds::Wide)?;
    let progress = Progress::new("echo");
    let default = match target.protocol {
        Protocol::Events | Protocol::Topic => EVENT,
        Protocol::Ws => "{mark}",
        Protocol::Live | Protocol::LiveSse | Protocol::LiveNdjson | Protocol::Sse | Protocol::Centrifugo => {
            return Err(BenchError::Usage("nothing comes back there; use --via events or a ws:// server".to_owned()));
        }
    };
    let message = options.message.clone().unwrap_or_else(|| default.to_owned());
    let plan = target.plan(1, false);
    let (hello, ready) = if target.is_tidegate() { (None, None) } else { (plan.hello.clone(), plan.ready.clone()) };
    let mut crowd = Crowd::start(Plan { hello, ready, echo: Some(message), ..plan }, threads(common), Clock::start())?;
    crowd.fill(count, common.open_rate, patience(common), &progress)?;
    crowd.echo(Some(options.rate));
    progress.say(|| "warming up".to_owned());
    std::thread::sleep(WARM_UP);
    drop(crowd.take());
    let (meter, sent) = (Meter::start(&target.processes), read(&crowd.board.sent));
    progress.say(|| format!("{count} connections send for {} s", options.seconds));
    std::thread::sleep(Duration::from_secs_f64(options.seconds));
    let (samples, used) = (crowd.take(), meter.stop(&target.processes));
    crowd.echo(None);
    std::thread::sleep(LAST);
    let (all_sent, all_back) = (read(&crowd.board.sent), read(&crowd.board.messages));
    let paced = if options.rate > 0.0 {
        format!("{} messages a second", options.rate)
    } else {
        "each again at once".to_owned()
    };
    let mut report = Report::new(
        "echo",
        format!("{count} connections over {:?}, {paced}, for {} s", target.protocol, options.seconds),
    );
    let trips = samples.trips.len() as u64;
    report.count("trips", "round trips", trips);
    report.count("sent", "messages sent", read(&crowd.board.sent) - sent);
    report.count("unanswered", "unanswered at the end", all_sent.saturating_sub(all_back));
    report.figure("per_second", "round trips a second", trips as f64 / used.wall.as_secs_f64(), "");
    report.times("trip_ms", "round trip", Summary::of_nanos(&samples.trips));
    if target.processes.is_known() {
        let cpu = used.server.as_secs_f64() * 1e6 / (trips as f64).max(1.0);
        report.figure("cpu_us_each", "server CPU a round trip", cpu, "µs");
    }
    report.count("lost", "connections lost", read(&crowd.board.lost));
    used.tell("", "", &target.processes, &mut report);
    if options.rate == 0.0 {
        report.caveat(
            "each connection waits for its answer before it sends again: a slow server gets less load (closed loop)",
        );
    }
    Ok(report)
}
