//! Many different live queries: how long from a write's commit to the frames, and how long a snapshot takes.

use crate::bench::crowd::Crowd;
use crate::bench::marker::{Clock, MARK_BYTES};
use crate::bench::measure::{Phase, phase, unheard};
use crate::bench::options::Live;
use crate::bench::publish::{Pace, Publisher};
use crate::bench::report::{Progress, Report};
use crate::bench::stats::{Spread, Summary};
use crate::bench::target::{Bounds, ROWS, Target};
use crate::bench::{BenchError, patience, room_for, threads};

const WARM_UP_SECONDS: f64 = 1.0;

pub(crate) fn run(options: &Live) -> Result<Report, BenchError> {
    let Live { common, rate, seconds, bytes, .. } = options;
    let queries = options.queries.max(1);
    let subscribers = options.subscribers.unwrap_or(queries as usize);
    room_for(subscribers)?;
    let progress = Progress::new("live");
    let target = Target::open(common, Bounds::Wide)?;
    if !target.has_rows() {
        return Err(BenchError::Usage("live queries are Tidegate's".to_owned()));
    }
    progress.say(|| "the first rows".to_owned());
    target.seed(queries)?;
    let clock = Clock::start();
    let pace = Pace { rate: *rate, burst: 1, seconds: *seconds };
    let mut publisher = Publisher::connect(target.publishing((*bytes).max(MARK_BYTES), queries)?, 1, clock)?;
    let unheard = unheard(&mut publisher, &target.processes, pace, &progress)?;
    let mut crowd = Crowd::start(target.plan(queries, true), threads(common), clock)?;
    crowd.fill(subscribers, common.open_rate, patience(common), &progress)?;
    let opening = crowd.take();
    // Connection i has query i mod queries, and publication p concerns query p mod queries.
    let (all, queries64) = (subscribers as u64, u64::from(queries));
    let receivers = |number: u32| {
        let group = u64::from(number) % queries64;
        (all + queries64 - 1 - group) / queries64
    };
    let warm_up = Pace { seconds: WARM_UP_SECONDS, ..pace };
    phase(&crowd, &mut publisher, &target.processes, warm_up, receivers, &progress)?;
    let measured = phase(&crowd, &mut publisher, &target.processes, pace, receivers, &progress)?;
    let mut stretch = Phase { unheard, ..measured };
    if let Some(trouble) = publisher.trouble() {
        return Err(BenchError::Publisher(trouble.to_owned()));
    }
    let via = target.protocol;
    let about = format!(
        "{subscribers} connections with {queries} different live queries of {ROWS} rows over {via:?}, {rate} writes a second for {seconds} s"
    );
    let mut report = Report::new("live", about);
    let published = &stretch.published;
    let mut since_commit: Vec<Vec<f64>> = Vec::with_capacity(stretch.latencies.len());
    for ((latencies, sent), answered) in stretch.latencies.iter().zip(&published.sent).zip(&published.answered) {
        let commit = answered.saturating_sub(*sent) as f64 / 1e3;
        since_commit.push(latencies.iter().filter(|_| *answered > 0).map(|took| took - commit).collect());
    }
    report.spread("commit_", "after the commit's answer: ", Spread::of(&mut since_commit));
    stretch.tell("", "", &target.processes, &mut report);
    report.times("snapshot_ms", "subscribe to snapshot", Summary::of_nanos(&opening.readies));
    report.caveat("after the commit's answer: from reading the 200 to reading the frame; it may be negative, for both leave the server together");
    report.caveat("the other latencies count from the send of the write, its fsync included");
    Ok(report)
}
