//! How large this process is.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::sleep;

use crate::EdgeMetrics;
use crate::admission::Admission;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(1);

/// Tells `admission` once a second how large the process is, until dropped; returns, with one warning, where the system
/// does not say.
pub(crate) async fn watch(admission: &Admission, metrics: &EdgeMetrics) {
    loop {
        let resident = match resident_bytes() {
            Ok(resident) => resident,
            Err(error) => {
                tracing::warn!(%error, "the system does not tell how large the process is; edge.max_memory_bytes has no effect");
                0
            }
        };
        metrics.memory.store(resident, Ordering::Relaxed);
        admission.set_memory(resident);
        if resident == 0 {
            return;
        }
        sleep(EVERY).await;
    }
}

fn resident_bytes() -> io::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    parse(&status).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no VmRSS in /proc/self/status"))
}

/// `VmRSS:      1234 kB`, a line of `/proc/self/status`; `statm` has the same in pages of unknown size.
fn parse(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim_end().parse::<u64>().ok()?.checked_mul(1024)
}
