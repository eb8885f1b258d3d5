//! A soak: everything varies at random, and at the end nothing may have grown.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::bench::board::read;
use crate::bench::crowd::Crowd;
use crate::bench::marker::{Clock, MARK_BYTES};
use crate::bench::options::Soak;
use crate::bench::publish::Publisher;
use crate::bench::report::{Progress, Report};
use crate::bench::stats::slope;
use crate::bench::target::Target;
use crate::bench::{BenchError, patience, room_for, threads};

/// One choice lasts so long.
const STEP: Duration = Duration::from_millis(250);
const SAMPLE_EVERY: Duration = Duration::from_secs(1);
/// Memory is flat if, over the last two thirds, it grows by no more than this share of its mean, or by no more than this.
const GROWTH_SHARE: f64 = 0.1;
const GROWTH_KIB: f64 = 8_192.0;
/// For the server to see that everybody left.
const LEAVE_MAX: Duration = Duration::from_secs(30);

pub(crate) fn run(options: &Soak) -> Result<Report, BenchError> {
    let (common, count) = (&options.common, options.connections.max(2));
    room_for(count)?;
    let seed = options.seed.unwrap_or_else(rand::random);
    eprintln!("seed {seed}");
    let target = Target::open(common)?;
    let server = &target.processes;
    if !server.is_known() {
        return Err(BenchError::Usage("a soak reads the server's memory: name it by --pid".to_owned()));
    }
    target.seed(1)?;
    let progress = Progress::new("soak");
    let (mut random, clock) = (StdRng::seed_from_u64(seed), Clock::start());
    let mut publisher = Publisher::connect(target.publishing(MARK_BYTES * 4, 1)?, 4, clock)?;
    let descriptors = server.descriptors();
    let mut crowd = Crowd::start(target.plan(1, false), threads(common), clock)?;
    crowd.fill(count, common.open_rate, patience(common), &progress)?;
    let (began, mut sampled, mut samples) = (Instant::now(), Instant::now(), Vec::new());
    let (mut steps, mut published) = (0_u64, 0_u64);
    while began.elapsed() < Duration::from_secs(options.seconds) {
        step(&crowd, &mut random, count);
        steps += 1;
        let rate = random.random_range(1.0..=options.rate.max(1.0));
        let burst = random.random_range(1..=4_usize);
        let publications = ((rate * STEP.as_secs_f64()) as usize).max(burst);
        published += publisher.run(rate, burst, publications, Some(&crowd.board))?.sent.len() as u64;
        if sampled.elapsed() >= SAMPLE_EVERY {
            sampled = Instant::now();
            let (seconds, resident) = (began.elapsed().as_secs_f64(), server.resident_kib());
            samples.push((seconds, resident as f64));
            let ready = read(&crowd.board.ready);
            progress
                .say(|| format!("{seconds:.0} s: {ready} ready, {resident} KiB, {} descriptors", server.descriptors()));
        }
    }
    let board = crowd.board.clone();
    drop(crowd);
    let left = left(&target, descriptors);
    let mut report = Report::new("soak", format!("up to {count} connections for {} s, seed {seed}", options.seconds));
    report.count("seed", "seed", seed);
    report.count("steps", "random steps", steps);
    report.count("publications", "publications", published);
    report.count("delivered", "deliveries", read(&board.delivered));
    report.count("begun", "connections begun", read(&board.begun));
    report.count("lost", "cut by the server (those that stall may be)", read(&board.lost));
    report.count("refused", "refused", read(&board.refused));
    report.count("samples", "samples of memory", samples.len() as u64);
    judge(&samples, left, &mut report);
    Ok(report)
}

/// One random choice: the number of connections stays between a half and all.
fn step(crowd: &Crowd, random: &mut StdRng, count: usize) {
    match random.random_range(0..4) {
        0 => {
            crowd.drop_share(random.random_range(0.01..0.2), Some(Duration::from_millis(random.random_range(0..2_000))))
        }
        1 if read(&crowd.board.ready) as usize > count / 2 => crowd.drop_share(random.random_range(0.01..0.1), None),
        2 => crowd.stall(random.random_range(0.0..0.1)),
        _ => {
            let missing = count.saturating_sub(read(&crowd.board.ready) as usize);
            crowd.bring_back(random.random_range(0..=missing));
        }
    }
}

/// Descriptors that the server still holds more than before, once it no longer gives any back.
fn left(target: &Target, before: u64) -> u64 {
    let began = Instant::now();
    loop {
        let left = target.processes.descriptors().saturating_sub(before);
        if left == 0 || began.elapsed() > LEAVE_MAX {
            return left;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn judge(samples: &[(f64, f64)], left: u64, report: &mut Report) {
    let settled = samples.get(samples.len() / 3..).unwrap_or_default();
    let mean = settled.iter().map(|sample| sample.1).sum::<f64>() / (settled.len() as f64).max(1.0);
    let span = settled.last().zip(settled.first()).map_or(0.0, |(last, first)| last.0 - first.0);
    let slope = slope(settled);
    let growth = slope * span;
    let is_flat = growth <= (mean * GROWTH_SHARE).max(GROWTH_KIB);
    report.figure("mean_kib", "memory, mean of the last two thirds", mean, "KiB");
    report.figure("kib_per_minute", "its growth a minute", slope * 60.0, "KiB");
    report.figure("growth_kib", "its growth over them", growth, "KiB");
    report.count("descriptors_left", "descriptors left when all had gone", left);
    report.count("flat", "flat (1 = yes)", u64::from(is_flat));
    if left > 0 {
        report.failure = Some(format!("{left} descriptors are left although everybody has gone"));
    } else if !is_flat {
        report.failure = Some(format!("memory grew by {growth:.0} KiB over the last two thirds"));
    }
    report.caveat("flat: a straight line through the last two thirds rises by at most a tenth of their mean, or 8 MiB");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(grows_kib: f64, left: u64) -> Option<String> {
        let samples: Vec<(f64, f64)> =
            (0..90).map(|at| (f64::from(at), 50_000.0 + grows_kib * f64::from(at))).collect();
        let mut report = Report::new("soak", String::new());
        judge(&samples, left, &mut report);
        report.failure
    }

    #[test]
    fn growth_and_leaks_fail() {
        assert_eq!(judged(0.0, 0), None);
        assert_eq!(judged(10.0, 0), None);
        assert!(judged(500.0, 0).unwrap().contains("memory grew"));
        assert!(judged(0.0, 1).unwrap().contains("1 descriptors"));
    }
}
