//! `tidegate import` of a CSV file, schema inferred: rows a second, and the most memory that the process ever had. Up to
//! some 500,000 rows the store's caches and log are still filling; beyond that memory does not grow with the file.
#![allow(clippy::unwrap_used, reason = "a bench fails by panicking")]

use std::fs::File;
use std::io::{BufWriter, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SIZES: [u32; 3] = [100_000, 500_000, 2_000_000];
/// Between looks at the process. The peak is the system's own count, so what is missed is the last moment only.
const LOOK: Duration = Duration::from_millis(5);
const PATIENCE: Duration = Duration::from_secs(600);

fn generate(path: &Path, rows: u32) {
    let mut file = BufWriter::new(File::create(path).unwrap());
    writeln!(file, "id,name,kind,temp,seen,n").unwrap();
    for row in 0..rows {
        let kind = ["pump", "valve", "motor", "fan"][row as usize % 4];
        let spread = row.wrapping_mul(0x9E37_79B9);
        let (temp, minute, second) = (f64::from(spread >> 12) / 1e4, spread % 60, row % 60);
        let seen = format!("2026-01-02T03:{minute:02}:{second:02}Z");
        writeln!(file, "a-{row:07},a name of usual length {row},{kind},{temp},{seen},{spread}").unwrap();
    }
    file.into_inner().unwrap().sync_all().unwrap();
}

/// The most that the process ever had resident, in KiB; 0 where the system does not say.
fn peak_kib(child: &Child) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
    peak.unwrap_or_default()
}

fn import(rows: u32) {
    let directory = tempfile::tempdir().unwrap();
    let csv = directory.path().join("rows.csv");
    generate(&csv, rows);
    let bytes = std::fs::metadata(&csv).unwrap().len();
    let began = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(["import", "rows.csv", "--entity", "asset", "--key", "id", "--data-dir", "data", "--json"])
        .current_dir(directory.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut peak = 0;
    let status = loop {
        peak = peak.max(peak_kib(&child));
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if began.elapsed() > PATIENCE {
            child.kill().unwrap();
        }
        std::thread::sleep(LOOK);
    };
    let took = began.elapsed().as_secs_f64();
    let mut said = String::new();
    child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(status.success() && said.contains(&format!(r#""rows":{rows},"#)), "{status}: {said}");
    let (megabytes, peak, rate) = (bytes as f64 / 1e6, peak as f64 / 1024.0, f64::from(rows) / took);
    println!("{rows:>10}{megabytes:>12.1}{took:>10.2}{rate:>12.0}{peak:>16.1}");
}

fn main() {
    println!("{:>10}{:>12}{:>10}{:>12}{:>16}", "rows", "file, MB", "seconds", "rows/s", "peak RSS, MiB");
    SIZES.into_iter().for_each(import);
}
