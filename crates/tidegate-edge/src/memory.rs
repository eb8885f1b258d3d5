//! How large this process is, for admission and for whoever watches it.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::sleep;

use crate::EdgeMetrics;
use crate::admission::Admission;

/// Between two looks, in which no more can come than `connections_per_second`.
const EVERY: Duration = Duration::from_secs(1);

/// Tells `admission` once a second how large the process is, until it is dropped. Where that can't be read, the limit is off
/// from then on, with one warning, and this returns: to refuse everybody because a file is missing would be worse.
pub(crate) async fn watch(admission: &Admission, metrics: &EdgeMetrics) {
    while tell(admission, metrics, &resident_bytes()) {
        sleep(EVERY).await;
    }
}

/// Whether to look again.
fn tell(admission: &Admission, metrics: &EdgeMetrics, resident: &io::Result<u64>) -> bool {
    let bytes = *resident.as_ref().unwrap_or(&0);
    metrics.memory.store(bytes, Ordering::Relaxed);
    admission.set_memory(bytes);
    if let Err(error) = resident
        && admission.limits_memory()
    {
        tracing::warn!(%error, "how large the process is can't be read: edge.max_memory_bytes has no effect");
    }
    resident.is_ok()
}

/// Bytes of this process that are in memory.
///
/// # Errors
/// The system has no `/proc`, or another one than Linux.
pub(crate) fn resident_bytes() -> io::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    parse(&status).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no VmRSS in /proc/self/status"))
}

/// Of the line `VmRSS:     1234 kB`. `/proc/self/statm` has the same in pages, whose size it does not tell.
fn parse(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim_end().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;
    use crate::{EdgeConfig, Refused};

    #[test]
    fn the_size_is_read_where_the_system_tells() {
        assert_eq!(parse("Name:\ttidegate\nVmRSS:\t   51200 kB\nThreads:\t4\n"), Some(50 << 20));
        for none in ["", "VmRSS:", "VmRSS: many kB", "VmRSS: 1 MB", "VmRSS: 18446744073709551615 kB"] {
            assert_eq!(parse(none), None, "{none}");
        }
        if cfg!(target_os = "linux") {
            assert!((1 << 20..1 << 40).contains(&resident_bytes().unwrap()));
        }
    }

    #[test]
    fn each_look_counts_and_a_failed_one_lets_everybody_in() {
        let config = EdgeConfig { max_memory_bytes: 1_000, ..EdgeConfig::default() };
        let (now, metrics) = (Instant::now(), EdgeMetrics::default());
        let admission = Admission::new(&config, now);
        let after = |resident| {
            let again = tell(&admission, &metrics, &resident);
            (again, metrics.memory.load(Ordering::Relaxed), admission.connection(false, now).map(drop))
        };
        assert_eq!(after(Ok(999)), (true, 999, Ok(())));
        assert_eq!(after(Ok(1_000)), (true, 1_000, Err(Refused::Memory)));
        assert_eq!(after(Err(io::ErrorKind::NotFound.into())), (false, 0, Ok(())));
    }
}
