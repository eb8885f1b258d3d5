//! Percentiles of what was measured, and the line through points. Pure.

use serde::Serialize;

/// A distribution in five numbers, in the unit of its values.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Summary {
    pub(crate) count: usize,
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

impl Summary {
    /// `None` of nothing. Sorts the values.
    pub(crate) fn of(values: &mut [f64]) -> Option<Self> {
        values.sort_unstable_by(f64::total_cmp);
        let max = *values.last()?;
        let at = |share| percentile(values, share);
        Some(Self { count: values.len(), p50: at(0.5), p90: at(0.9), p99: at(0.99), max })
    }

    /// Of nanoseconds, in milliseconds.
    pub(crate) fn of_nanos(nanos: &[u64]) -> Option<Self> {
        Self::of(&mut nanos.iter().map(|nanos| *nanos as f64 / 1e6).collect::<Vec<_>>())
    }
}

/// The smallest value that at least `share` of all values do not exceed (nearest rank); 0 of nothing.
fn percentile(sorted: &[f64], share: f64) -> f64 {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied().unwrap_or_default()
}

/// First, median and last of what one publication took to its receivers, over all publications.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spread {
    pub(crate) first: Summary,
    pub(crate) median: Summary,
    pub(crate) last: Summary,
}

impl Spread {
    /// Each element holds one publication's latencies, in microseconds; those that nobody received are left out. The
    /// result is in milliseconds.
    pub(crate) fn of(publications: &mut [Vec<f64>]) -> Option<Self> {
        let (mut first, mut median, mut last) = (Vec::new(), Vec::new(), Vec::new());
        for publication in publications.iter_mut() {
            let Some(summary) = Summary::of(publication) else { continue };
            first.push(publication[0] / 1e3);
            median.push(summary.p50 / 1e3);
            last.push(summary.max / 1e3);
        }
        Some(Self { first: Summary::of(&mut first)?, median: Summary::of(&mut median)?, last: Summary::of(&mut last)? })
    }
}

/// How much `y` grows when `x` grows by one: the least-squares line's slope; 0 where it is not defined.
pub(crate) fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (mean_x, mean_y) = (mean(|point| point.0), mean(|point| point.1));
    let covariance: f64 = points.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    let variance: f64 = points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    if variance > 0.0 { covariance / variance } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let mut values: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        let summary = Summary::of(&mut values).unwrap();
        assert_eq!(summary, Summary { count: 100, p50: 50.0, p90: 90.0, p99: 99.0, max: 100.0 });
        assert_eq!(Summary::of(&mut [7.0]).map(|one| (one.p50, one.p99, one.max)), Some((7.0, 7.0, 7.0)));
        assert_eq!(Summary::of(&mut []), None);
        assert_eq!(Summary::of_nanos(&[1_500_000]).map(|one| one.p50), Some(1.5));
    }

    #[test]
    fn first_median_and_last_are_taken_a_publication() {
        let mut publications = vec![vec![3_000.0, 1_000.0, 2_000.0], vec![], vec![5_000.0]];
        let spread = Spread::of(&mut publications).unwrap();
        assert_eq!((spread.first.count, spread.first.p50, spread.first.max), (2, 1.0, 5.0));
        assert_eq!((spread.median.p50, spread.last.p50), (2.0, 3.0));
        assert!(Spread::of(&mut [vec![]]).is_none());
    }

    #[test]
    fn the_slope_is_that_of_the_line() {
        let line: Vec<(f64, f64)> = (0..10).map(|x| (f64::from(x), 3.0 * f64::from(x) + 2.0)).collect();
        assert!((slope(&line) - 3.0).abs() < 1e-9);
        assert_eq!(slope(&[(1.0, 5.0)]), 0.0);
        assert_eq!(slope(&[]), 0.0);
    }
}
