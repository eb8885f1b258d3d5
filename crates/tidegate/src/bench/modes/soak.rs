//! A soak: everything varies at random, and at the end nothing may have grown.
//!
//! # How small a leak it sees
//! Memory is compared only between like moments: now and then all connections come back, read what waits for them, and
//! only then it is read. A straight line through the last two thirds of these readings, over the connections begun until
//! each, says what one connection leaves behind. By default (500 connections) some 95 are begun a second: in 30 minutes
//! 171,000, and 113,000 of them in the last two thirds. A leak of 100 bytes each is 11,000 KiB there, and one of 40 bytes
//! is still more than the 4,096 KiB that pass as an allocator's unrest (1,500 KiB were seen within a minute). A shorter
//! run sees only larger leaks; the report says how large.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::bench::board::read;
use crate::bench::crowd::Crowd;
use crate::bench::marker::{Clock, MARK_BYTES};
use crate::bench::options::Soak;
use crate::bench::publish::{Pace, Publisher};
use crate::bench::report::{Progress, Report};
use crate::bench::stats::slope;
use crate::bench::target::{Bounds, Target};
use crate::bench::{BenchError, patience, room_for, threads};

/// One choice lasts so long.
const STEP: Duration = Duration::from_millis(250);
/// Readings of memory: one a second, within these.
const READINGS: std::ops::RangeInclusive<u64> = 3..=30;
/// For what was queued to be sent and given back, before a reading.
const SETTLE: Duration = Duration::from_millis(500);
/// Growth over the last two thirds that passes: see above.
const GROWTH_KIB_MAX: f64 = 4_096.0;
/// For the server to see that everybody left.
const LEAVE_MAX: Duration = Duration::from_secs(30);

pub(crate) fn run(options: &Soak) -> Result<Report, BenchError> {
    let (common, count) = (&options.common, options.connections.max(2));
    room_for(count)?;
    let seed = options.seed.unwrap_or_else(rand::random);
    eprintln!("seed {seed}");
    let target = Target::open(common, Bounds::Wide)?;
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
    let (mut steps, mut published, mut samples) = (0_u64, 0_u64, Vec::new());
    let readings = options.seconds.clamp(*READINGS.start(), *READINGS.end());
    for nth in 0..readings {
        let began = Instant::now();
        while began.elapsed().as_secs_f64() < options.seconds as f64 / readings as f64 {
            step(&crowd, &mut random, count);
            steps += 1;
            let (rate, burst) = (random.random_range(1.0..=options.rate.max(1.0)), random.random_range(1..=4));
            let pace = Pace { rate, burst, seconds: STEP.as_secs_f64() };
            let say = || progress.say(|| format!("{nth} of {readings}: {} ready", read(&crowd.board.ready)));
            published += publisher.run(pace, Some(&crowd.board), say)?.sent.len() as u64;
        }
        // As at every other reading: all are there, and all read.
        crowd.stall(0.0);
        crowd.bring_back(count);
        crowd.wait("connections back", |board| &board.ready, count as u64, patience(common), &progress)?;
        std::thread::sleep(SETTLE);
        samples.push((read(&crowd.board.begun) as f64, server.resident_kib() as f64));
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
    report.count("samples", "readings of memory", samples.len() as u64);
    judge(&samples, left, &mut report);
    Ok(report)
}

/// One random choice: the number of connections stays between a half and all.
fn step(crowd: &Crowd, random: &mut StdRng, count: usize) {
    match random.random_range(0..4) {
        0 => {
            crowd
                .drop_share(random.random_range(0.01..0.2), Some(Duration::from_millis(random.random_range(0..2_000))));
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

/// `samples`: connections begun, and KiB.
fn judge(samples: &[(f64, f64)], left: u64, report: &mut Report) {
    let settled = samples.get(samples.len() / 3..).unwrap_or_default();
    let mean = settled.iter().map(|sample| sample.1).sum::<f64>() / (settled.len() as f64).max(1.0);
    let begun = settled.last().zip(settled.first()).map_or(0.0, |(last, first)| last.0 - first.0);
    let slope = slope(settled);
    let growth = slope * begun;
    let is_flat = growth <= GROWTH_KIB_MAX;
    report.figure("mean_kib", "memory, mean of the last two thirds", mean, "KiB");
    report.figure("growth_kib", "its growth over them", growth, "KiB");
    report.figure("left_bytes_each", "that is, a connection begun", slope * 1024.0, "bytes");
    let seen = GROWTH_KIB_MAX * 1024.0 / begun.max(1.0);
    report.figure("seen_bytes_each", "leak a connection from which on this run fails", seen, "bytes");
    report.count("descriptors_left", "descriptors left when all had gone", left);
    report.count("flat", "flat (1 = yes)", u64::from(is_flat));
    if left > 0 {
        report.failure = Some(format!("{left} descriptors are left although everybody has gone"));
    } else if !is_flat {
        report.failure = Some(format!("memory grew by {growth:.0} KiB over the last two thirds"));
    }
    report.caveat(format!(
        "flat: a straight line through the last two thirds of the readings rises by at most {GROWTH_KIB_MAX:.0} KiB"
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Thirty readings over so many connections of which each leaves so many bytes, with 2 MiB of unrest.
    fn judged(begun: f64, leaves_bytes: f64, left: u64) -> Option<String> {
        let reading = |nth: i32| {
            let begun = begun * f64::from(nth) / 29.0;
            (begun, 50_000.0 + begun * leaves_bytes / 1024.0 + f64::from(nth * 7 % 5) * 512.0)
        };
        let samples: Vec<(f64, f64)> = (0..30).map(reading).collect();
        let mut report = Report::new("soak", String::new());
        judge(&samples, left, &mut report);
        report.failure
    }

    #[test]
    fn growth_and_leaks_fail() {
        assert_eq!(judged(171_000.0, 0.0, 0), None);
        assert!(judged(171_000.0, 100.0, 0).unwrap().contains("memory grew"), "half an hour");
        assert_eq!(judged(5_700.0, 100.0, 0), None, "too short to see it");
        assert!(judged(5_700.0, 3_000.0, 0).unwrap().contains("memory grew"), "a minute");
        assert!(judged(171_000.0, 0.0, 1).unwrap().contains("1 descriptors"));
    }
}
